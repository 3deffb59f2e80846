"""One composition, from its first life to its last: what happens to it, and what may not."""

from __future__ import annotations

import json
import math
import random
import shutil
import signal
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .lives import MODES, THREAD, Ending, Folder, Order, TakeOver, lived, taken_over
from .model import ARRIVALS, Moment, Question
from .states import TOKEN

DISTURBANCES = ("kill", "kill", "moment", "moment", "moment", "term", "ctrl-c", "budget", "budget", "tight",
                "supersteps", "leave", "stop")  # fmt: skip
FORKS = ("whole", "at", "call", "answer")
Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class Fault:
    """What may not happen, by its kind."""

    kind: str
    text: str


@dataclass(frozen=True)
class Committed:
    """An answer on record."""

    key: Key
    step: str
    source: str
    asked: frozenset[str]
    answer: frozenset[str]


@dataclass(frozen=True)
class Reference:
    """What an uninterrupted run asks, by the requests' hashes, and what its state is in the end."""

    values: Mapping[str, str]
    logical: Counter[str]
    seconds: float
    questions: Mapping[str, Question]


@dataclass
class Ledger:
    """What one thread has asked so far, what it may ask, and what was under way when a life ended."""

    allowed: Counter[str]
    asked: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)


class Trial:
    """Runs a composition through some lives, and judges each."""

    def __init__(self, folder: Folder, disturbances: tuple[str, ...] = DISTURBANCES) -> None:
        self.folder = folder
        self.faults: list[Fault] = []
        self.counts: Counter[str] = Counter()
        self._luck = random.Random(f"plan {folder.seed}")
        self._disturbances = disturbances
        self._life = 0
        self._lines = 0
        self._known: dict[Key, Committed] = {}
        self._answered: dict[tuple[str, ...], float] = {}
        self._ledgers: dict[str, Ledger] = {}
        self._forks = 0

    def run(self) -> list[Fault]:
        """Return all faults."""
        reference = self._uninterrupted()
        if reference is None:
            return self.faults
        self._reference = reference
        self._ledgers[THREAD] = Ledger(reference.logical)
        for _ in range(self._luck.randint(1, 4)):
            ended = self._disturbed(self._luck.choice(self._disturbances))
            if ended.status == "done":
                break
            if self._luck.random() < 0.2:
                self._fork()
        self._finished(self._go(self._order()))
        if self._luck.random() < 0.5:
            self._fork()
        self._finished(self._go(self._order()))  # another process reads what is there
        self.counts["replayed"] += replays(self.folder.database)
        self._check_effects()
        return self.faults

    def _fault(self, kind: str, text: str) -> None:
        self.faults.append(Fault(kind, text))

    # Lives

    def _uninterrupted(self) -> Reference | None:
        folder = replace(self.folder, path=self.folder.path / "reference")
        folder.path.mkdir()
        ended = lived(folder, Order(0, patient=True, arrival="burst"))
        if ended.status != "done" or ended.values is None:
            self._fault("error", f"The uninterrupted run {ended.status}: {ended.problem}")
            return None
        logical = Counter(each.key[2] for each in committed(folder.database).values())
        self._effects = Counter(folder.happened())
        return Reference(ended.values, logical, ended.seconds, folder.composition().questions)

    def _order(self, **changes: Any) -> Order:
        self._life += 1
        luck = self._luck
        return Order(self._life, mode=luck.choice(MODES), arrival=luck.choice(ARRIVALS), **changes)

    def _moment(self, number: int) -> Moment:
        left = self._reference.logical.total() - len(self._known)
        after = self._luck.randint(1, max(1, left))
        delay_s = self._luck.choice((0.0, self._luck.uniform(0, 0.015)))
        return Moment(number, after, delay_s, committed=self._luck.random() < 0.5)

    def _disturbed(self, kind: str) -> Ending:
        luck = self._luck
        self.counts[kind] += 1
        if kind == "kill":
            return self._go(self._order(kill_after_s=luck.uniform(0, self._reference.seconds)))
        if kind in ("moment", "term", "ctrl-c"):
            number = {"moment": signal.SIGKILL, "term": signal.SIGTERM, "ctrl-c": signal.SIGINT}[kind]
            return self._go(self._order(moment=self._moment(number)))
        if kind == "budget":
            calls = len(self._known) + luck.randint(
                0, max(1, self._reference.logical.total() - len(self._known))
            )
            return self._go(replace(self._order(), budget={"calls": calls}))
        if kind == "supersteps":
            return self._go(replace(self._order(), budget={"supersteps": luck.randint(1, 6)}))
        if kind == "stop":
            return self._stopped()
        return self._go(self._order(tight=kind == "tight", leaves=kind == "leave"))

    def _go(self, order: Order) -> Ending:
        """Let one life run, and count."""
        if order.budget is None and order.thread == THREAD:
            order = replace(order, budget={})  # lifts the limits that an earlier life left
        ended = lived(self.folder, order)
        self._count({order.life: order})
        self._judge(order, ended)
        return ended

    def _stopped(self) -> Ending:
        first = self._order(moment=self._moment(signal.SIGSTOP), short_claims=True, budget={})
        second = self._order(short_claims=True, budget={})
        met = taken_over(self.folder, first, second, self._luck.choice((0.0, 0.05, 0.5)))
        orders = {first.life: first, second.life: second}
        if isinstance(met, Ending):
            self._count(orders)
            self._judge(first, met)
            return met
        self.counts["taken over"] += met.second.status not in ("busy", "failed")
        self._count(orders, met)
        if "StoreError" in met.second.problem and "lock" in met.second.problem:
            self.counts["locked out"] += (
                1  # the first was stopped while it wrote: nobody else can, and says so
            )
        else:
            self._judge(second, met.second)
        if met.first.status == "failed" and "StepgraphError" not in met.first.problem:
            self.counts["first failed"] += 1
        return met.second

    def _fork(self) -> None:
        """Fork the thread, and run the fork to its end, which must be that of the thread."""
        luck = self._luck
        how = luck.choice(FORKS)
        self._forks += 1
        thread = f"fork-{self._forks}"
        done = Counter(key[2] for key in self._known if key[0] == THREAD)
        allowed = self._reference.logical - done if how == "whole" else self._reference.logical
        self._ledgers[thread] = Ledger(allowed)
        order = replace(self._order(thread=thread, fork=how, seed=luck.randrange(1000)), budget={})
        if luck.random() < 0.3:
            order = replace(order, moment=self._moment(signal.SIGKILL))
        ended = self._go(order)
        self.counts["fork" if ended.status != "skipped" else "no fork"] += 1
        if ended.status == "skipped":
            return
        if ended.status == "killed":
            ended = self._go(self._order(thread=thread, budget={}))
        self._finished(ended, thread)

    # What may not happen

    def _count(self, orders: Mapping[int, Order], met: TakeOver | None = None) -> None:
        """Compare what these lives asked with what was on record when they began."""
        lines = self.folder.lines()
        fresh, self._lines = lines[self._lines :], len(lines)
        now = committed(self.folder.database)
        for key, answer in self._known.items():
            if key not in now:
                self._fault("lost", f"{answer.step} {key}: it was committed, and is gone")
        # A stopped process may have a call under way that another one, which takes its thread over, asks
        # again: nobody can know of it. But whoever looks after an answer was committed finds it, and whoever
        # has lost its claim finds that out before it asks.
        for line in fresh:
            if "committed" in line:
                self._answered.setdefault(tuple(line["committed"]), line["at"])
        first, last = min(orders), max(orders)
        taken = min(
            (line["at"] for line in fresh if "claimed" in line and line["life"] == last and met is not None),
            default=math.inf,
        )
        seen: set[Key] = set()
        for line in fresh:
            if "call" not in line:
                continue
            thread, step, life = line["thread"], line["step"], line["life"]
            key: Key = (thread, *line["call"])
            ledger = self._ledgers[thread]
            if life == first and line["checked"] > taken:
                self._fault("fence", f"life {life} asked {step} after life {last} had taken over")
            if key in self._known or self._answered.get(key, math.inf) < line["looked"]:
                self._fault("repaid", f"life {life} asked {step} {key}, which was committed")
            ledger.asked[key[2]] += 1
            if key not in now or key in seen:
                ledger.in_flight[key[2]] += 1
            seen.add(key)
            if key[2] not in self._reference.logical:
                self._fault("different", f"life {life} asked {step} what the reference never asked")
            self.counts["calls"] += 1
        for thread, ledger in self._ledgers.items():
            known = Counter({each: n for each, n in ledger.asked.items() if each in self._reference.logical})
            more = known - ledger.allowed - ledger.in_flight
            if more:
                steps = sorted({line["step"] for line in lines if "step" in line and line["call"][1] in more})
                self._fault(
                    "repaid", f"{thread}: {more.total()} calls beyond those of the reference: {steps}"
                )
                ledger.asked -= more
        self._known = now

    def _judge(self, order: Order, ended: Ending) -> None:
        self.counts[ended.status] += 1
        if ended.status == "failed":
            self._fault("error", f"life {order.life} ({order.mode}): {ended.problem}")
        if ended.status == "busy":
            self._fault("error", f"life {order.life} ({order.mode}): {ended.problem}")
        if ended.status in ("partial", "interrupted") and ended.values is not None:
            for text in self._missing(order.thread, ended.values):
                self._fault("partial", f"life {order.life} ({order.mode}), {ended.status}: {text}")

    def _finished(self, ended: Ending, thread: str = THREAD) -> None:
        if ended.status != "done" or ended.values is None:
            if ended.status != "failed":
                self._fault("error", f"{thread} did not end: {ended.status} {ended.problem}")
            return
        for name, value in self._reference.values.items():
            found = ended.values.get(name)
            if found != value:
                self._fault("different", f"{thread}: {name} is {found:.200}, expected {value:.200}")

    def _missing(self, thread: str, values: Mapping[str, str]) -> Iterator[str]:
        """Yield the paid answers that are in no field, and in no question whose answer is.

        Each question shows the whole state, so what a later answer took the place of is in its question.
        """
        rows = [row for key, row in self._known.items() if key[0] == thread]
        counted = votes_counted(self.folder.database)
        there = {found for text in values.values() for found in TOKEN.findall(text)}
        while True:
            used = {
                token
                for row in rows
                if row.answer <= there or self._reference.questions[row.step].hidden
                for token in row.asked
            }
            if used <= there:
                break
            there |= used
        for row in rows:
            question = self._reference.questions[row.step]
            hidden = question.hidden and not (
                question.vote and votes_of(row, question.vote).isdisjoint(counted)
            )
            kept = hidden or row.answer <= there or was_replaced(self.folder.database, thread, row.answer)
            if question.kind in ("text", "plan") and not kept:
                yield f"the answer of {row.step} at {row.key[1]!r} is missing"
        for name, text in values.items():
            for row in rows:
                question = self._reference.questions[row.step]
                if (
                    name.startswith("text")
                    and question.level
                    and row.answer
                    and row.answer <= set(TOKEN.findall(text))
                ):
                    yield f"{name} holds what the worker's step {row.step} wrote"

    def _check_effects(self) -> None:
        lines = Counter(self.folder.happened())
        for line in self._effects - lines:
            self._fault("effect", f"{line} never happened")
        built = self.folder.composition()
        for line, times in lines.items():
            allowed = 1 if not built.repeats[line.partition(" ")[0]] else 1 + self._life
            if times > allowed:
                self._fault("effect", f"{line} happened {times} times")


def committed(file: Path) -> dict[Key, Committed]:
    """Return the answers on record, read from a copy: SQLite repairs a file when it is opened.

    Raises sqlite3.DatabaseError where it is damaged.
    """
    rows = read(
        file,
        "SELECT thread_id, task, request_hash, occurrence, step, source, messages, answer "
        "FROM calls WHERE status IN ('answered', 'rejected')",
    )
    return {
        tuple(key): Committed(
            tuple(key),
            step,
            source,
            frozenset(TOKEN.findall(messages)),
            frozenset(TOKEN.findall(answer or "")),
        )
        for *key, step, source, messages, answer in rows
    }


def votes_counted(file: Path) -> set[str]:
    """Return the tasks of the votes that have given up what the losers wrote."""
    rows = read(file, "SELECT task FROM node_runs WHERE node = 'count' AND status = 'done'")
    return {task.rpartition("|")[0] for (task,) in rows}


def was_replaced(file: Path, thread: str, answer: frozenset[str]) -> bool:
    """Tell whether a node wrote an answer to a field that another one, which asked nothing, wrote again."""
    rows = read(
        file,
        f"SELECT output FROM node_runs WHERE thread_id = '{thread}' AND status = 'done' ORDER BY ended_at",
    )
    had: dict[str, bool] = {}
    for (output,) in rows:
        written = json.loads(output or "null")
        for name, value in written.items() if isinstance(written, dict) else ():
            has = answer <= set(TOKEN.findall(json.dumps(value)))
            if has or name in had:
                had[name] = has
    return bool(had) and not any(had.values())


def votes_of(row: Committed, vote: str) -> set[str]:
    """Return the task of the vote that an answer belongs to.

    A vote that is a branch has the branch's name: then it is one of the tasks around the answer, or the whole
    graph, whose task is empty.
    """
    parts = row.key[1].split("|")
    inside = [number for number, part in enumerate(parts) if part.partition(":")[0] == vote]
    if inside:
        return {"|".join(parts[: inside[-1] + 1])}
    return {"|".join(parts[:number]) for number in range(len(parts))}


def read(file: Path, sql: str) -> list[tuple[Any, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            source = file.with_name(file.name + suffix)
            if source.exists():
                shutil.copy(source, folder)
        with closing(sqlite3.connect(Path(folder, file.name))) as connection:
            try:
                return connection.execute(sql).fetchall()
            except sqlite3.OperationalError:  # killed before it had made the tables
                return []


def replays(file: Path) -> int:
    """Return how many answers came from the journal when a node ran again."""
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM replays").fetchone()[0])
