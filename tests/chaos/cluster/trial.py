"""One run of the kill matrix: from its first process to its last, and what was paid, lost or done twice."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..compositions.lives import Ending, Order, heard, is_stopped
from ..compositions.model import Moment
from ..living import forked
from .client import Models
from .databases import Database, PostgresDatabase, SqliteDatabase, contents
from .lives import HEARTBEAT_S, LIFE_S, Cut, Place, live

MODES = ("arun", "arun", "ainvoke", "invoke", "astream")
KINDS = ("call", "commit", "effect", "review", "zombie", "deploy", "database")
AGAIN = 0.3  # the chance that the life which goes on is killed, too
Key = tuple[str, ...]


@dataclass
class Tally:
    """What was counted in some trials. What stands behind `superseded` must stay zero."""

    trials: int = 0
    kills: int = 0
    asked: int = 0
    in_flight: int = 0
    repeated: int = 0
    superseded: int = 0  # answers of zombies, on record
    beyond: int = 0  # repeated, though not in flight when their process was stopped
    lost: int = 0  # answers that were on record, runs and reviews that did not end
    different: int = 0  # final states
    twice: int = 0  # effects
    doubled: int = 0  # calls with two answers
    unfenced: int = 0  # what a zombie asked or wrote, and its answers that are not on record
    errors: int = 0

    def __iadd__(self, other: Tally) -> Tally:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self

    @property
    def faults(self) -> int:
        return sum(getattr(self, each.name) for each in fields(self)[6:])

    def row(self) -> list[str]:
        return [str(getattr(self, each.name)) for each in fields(self)]


HEADINGS = [each.name.replace("_", " ") for each in fields(Tally)]


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run asks, by the requests' hashes, does and ends with, and how often it waits."""

    values: Mapping[str, str]
    logical: Counter[str]
    effects: Counter[str]
    waits: int


@dataclass
class Trial:
    """Runs one composition in a cell, and judges what was left."""

    place: Place
    database: Database
    models: Models
    reference: Reference
    luck: random.Random
    tally: Tally = field(default_factory=lambda: Tally(trials=1))
    faults: list[str] = field(default_factory=list)
    _life: int = 0
    _asked: int = 0
    _known: set[Key] = field(default_factory=set)
    _open: list[dict[str, Any]] = field(default_factory=list)
    _answered: set[Key] = field(default_factory=set)
    _in_flight: Counter[str] = field(default_factory=Counter)
    _stopped_at: float = 0.0

    def run(self, kind: str) -> Tally:
        """Disturb the run as the cell says, and then go on until it has ended."""
        ended = self._disturbed(kind)
        for _ in range(3):
            if ended.status == "done" or self.luck.random() > AGAIN:
                break
            ended = self._disturbed("call")
        if ended.status != "done":
            ended = self._lived(self._order())
        self._judge(ended)
        return self.tally

    def _fault(self, kind: str, text: str, times: int = 1) -> None:
        setattr(self.tally, kind, getattr(self.tally, kind) + times)
        self.faults.append(f"{kind}: {text}")

    def tell(self) -> None:
        """Write what was asked, and what is on record of it, into the folder of the trial."""
        calls = "SELECT started_at, status, step, task, request_hash, problem FROM calls ORDER BY 1"
        told = {
            "faults": self.faults,
            "asked": self.models.asked(self.place.run),
            "calls": self.database.rows(calls),
            "runs": self.database.rows("SELECT * FROM runs"),
        }
        text = json.dumps(told, default=str, indent=1)
        (self.place.path / "told.json").write_text(text, encoding="utf-8")

    # Lives

    def _order(self, **changes: Any) -> Order:
        self._life += 1
        return Order(self._life, thread=self.place.thread, mode=self.luck.choice(MODES), **changes)

    def _some(self) -> int:
        """Return the number of one of the questions that are left."""
        return self.luck.randint(1, max(1, self.reference.logical.total() - len(self._known)))

    def _disturbed(self, kind: str) -> Ending:
        if kind in ("call", "deploy"):
            order = self._order()
            number = signal.SIGKILL if kind == "call" else signal.SIGTERM
            self.models.arm(self.place.run, order.life, self._some(), number)
            return self._lived(order)
        if kind == "commit":
            return self._lived(self._order(moment=Moment(signal.SIGKILL, self._some(), committed=True)))
        if kind == "effect":
            most = max(1, self.reference.effects.total())
            cut = Cut(effect=self.luck.randint(1, most), happens=self.luck.random() < 0.5)
            return self._lived(self._order(), cut)
        if kind == "review":
            return self._parked()
        return self._stood_still() if kind == "zombie" else self._restarted()

    def _lived(self, order: Order, cut: Cut = Cut()) -> Ending:  # noqa: B008 - it is frozen
        with forked(live, self.place, order, cut) as (process, pipe):
            ended = heard(process, pipe, time.monotonic() + LIFE_S, order)
        self._count()
        return self._noted(ended)

    def _noted(self, ended: Ending) -> Ending:
        self.tally.kills += ended.status in ("killed", "stopped")
        if ended.status in ("failed", "away"):
            self._fault("errors", ended.problem)
        return ended

    def _parked(self) -> Ending:
        """Kill a process while its run waits for a person."""
        order = self._order(leaves=True)
        with forked(live, self.place, order, Cut(parked=True)) as (process, pipe):
            ended = heard(process, pipe, time.monotonic() + LIFE_S, order)
            process.kill()
            process.join()
        self._count()
        if ended.status != "interrupted":
            return self._noted(ended)
        return self._noted(Ending("killed"))

    def _restarted(self) -> Ending:
        """Restart the database as after a crash, while the run is at some question."""
        order, number = self._order(), self._asked + self._some()
        assert isinstance(self.database, PostgresDatabase)
        with forked(live, self.place, order, Cut()) as (process, pipe):
            deadline = time.monotonic() + LIFE_S
            while len(self.models.asked(self.place.run)) < number and time.monotonic() < deadline:
                if pipe.poll(0.01) and (said := pipe.recv()) != "ready":
                    self._count()
                    return self._noted(said)
            self.database.restart()
            self.tally.kills += 1
            ended = heard(process, pipe, deadline, order)
        self._count()
        if ended.status == "failed":
            self._fault("errors", ended.problem)
        return ended

    def _stood_still(self) -> Ending:
        """Stop a process for longer than its lease lives, have another one take over, and let it go on."""
        first = self._order()
        self.models.arm(self.place.run, first.life, self._some(), signal.SIGSTOP)
        with forked(live, self.place, first, Cut()) as (process, pipe):
            deadline = time.monotonic() + LIFE_S
            while not is_stopped(process.pid):
                if pipe.poll(0.005) and (said := pipe.recv()) != "ready":
                    self._count()
                    return self._noted(said)
                if time.monotonic() > deadline:
                    self._fault("errors", "It was neither stopped nor did it end.")
                    return Ending("failed")
            self._stopped_at = time.time()
            time.sleep(HEARTBEAT_S * 1.2)
            self._count()
            late = self.luck.random() < 0.5
            second = self._order()
            with forked(live, self.place, second, Cut()) as (other, other_pipe):
                self._until_it_asks(second.life, other, other_pipe, late=late)
                if late:
                    ended = heard(other, other_pipe, deadline, second)
                before = contents(self.database) if late else None
                os.kill(process.pid, signal.SIGCONT)
                woken = heard(process, pipe, time.monotonic() + LIFE_S / 2, first)
                if not late:
                    ended = heard(other, other_pipe, deadline, second)
        self.tally.kills += 1
        self._count()
        self._check_fence(first.life, second.life, woken, before)
        if ended.status in ("away", "failed") and "locked" not in ended.problem:
            self._fault("errors", ended.problem)
        return ended

    def _until_it_asks(self, life: int, process: Any, pipe: Any, *, late: bool) -> None:
        deadline = time.monotonic() + LIFE_S
        while not late and process.is_alive() and time.monotonic() < deadline:
            if any(line["life"] == life for line in self.models.asked(self.place.run)):
                break
            time.sleep(0.01)

    # What may not happen

    def _committed(self) -> dict[Key, float]:
        """Return the keys of the answers on record, and when the calls began that brought them."""
        sql = (
            "SELECT thread_id, task, request_hash, occurrence, started_at FROM calls "
            "WHERE status IN ('answered', 'rejected')"
        )
        return {tuple(map(str, key)): float(began) for *key, began in self.database.rows(sql)}

    def _count(self, *victims: int) -> None:
        """Compare what was asked since with what is on record; `victims` are the lives that ended, or all.

        What is on record is read first: what is asked and answered meanwhile by others counts the next time.
        Of several that asked one thing, one was answered. Another one was in flight if its life is a victim,
        or another claim came after its own, as where a life has no time to renew it.
        """
        now, lines = self._committed(), self.models.asked(self.place.run)
        gone = self._known - now.keys()
        if gone:
            self._fault("lost", f"{len(gone)} answers that were on record are gone: {gone}", len(gone))
        fresh = lines[self._asked :]
        committed = {_key(line): line["at"] for line in reversed(self._notes("committed"))}
        for line in fresh:
            if _key(line) in self._known or committed.get(_key(line), math.inf) < line["looked"]:
                self._fault("beyond", f"life {line['life']} asked {line['step']} again: it was on record")
            if line["call"][1] not in self.reference.logical:
                self._fault("different", f"{line['step']} asked what the undisturbed run never asked")
        self._open += fresh
        answered = self._answers(now)
        claimed = max((line["at"] for line in self._notes("claimed")), default=0.0)
        left = []
        for line in self._open:
            if answered.get(_key(line)) is line:
                continue
            if line["life"] in victims or (not victims and claimed > line["checked"]):
                self._in_flight[str(line["call"][1])] += 1
            else:
                left.append(line)
        self._open, self._asked, self._known = left, len(lines), {*now}

    def _answers(self, now: Mapping[Key, float]) -> dict[Key, dict[str, Any]]:
        """Return which of the open questions got the answers on record: by when their calls began.

        A process that is stopped while it sends a question sends it when it wakes: after the answer came.
        And who is called off while its answer is committed never notes the commit.
        """
        answered: dict[Key, dict[str, Any]] = {}
        for line in self._open:
            key = _key(line)
            if key not in now or key in self._answered or line["looked"] > now[key]:
                continue
            if key not in answered or line["looked"] > answered[key]["looked"]:
                answered[key] = line
        self._answered |= answered.keys()
        return answered

    def _notes(self, what: str) -> list[dict[str, Any]]:
        """Return what the lives noted of their claims, or of the answers that they committed."""
        return [line for line in self.place.lines() if what in line]

    def _check_fence(
        self, first: int, second: int, woken: Ending, before: Mapping[str, list[str]] | None
    ) -> None:
        claims = self._notes("claimed")
        taken = min(
            (line["at"] for line in claims if line["life"] == second and line["at"] > self._stopped_at),
            default=math.inf,
        )
        asked = [line for line in self.models.asked(self.place.run) if line["life"] == first]
        late = [line["step"] for line in asked if _owner(claims, line["checked"]) != first]
        if late:
            self._fault("unfenced", f"the zombie asked {late} after it was taken over", len(late))
        if taken == math.inf:
            return  # nobody could, as while it held a file's lock, or came to it before it woke
        if before is not None:
            for table, rows in contents(self.database).items():
                if rows != before[table]:
                    changed = {*rows} ^ {*before[table]}
                    self._fault("unfenced", f"the zombie wrote to {table}: {changed!s:.600}")
        statuses = Counter(row[0] for row in self.database.rows("SELECT status FROM calls"))
        self.tally.superseded += statuses["superseded"]
        missing = [] if woken.status == "done" else self._not_on_record(first)
        if missing:
            self._fault("unfenced", f"the zombie's answers to {missing} are not on record ({woken.status})")

    def _not_on_record(self, life: int) -> list[str]:
        """Return what a life asked of which no answer of its own is on record, superseded ones included.

        An answer that nobody else asked for is its own, though it stood still before it was told of the
        commit: with its event loop in a thread, a busy machine stops it some answers after the signal.
        """
        sql = "SELECT thread_id, task, request_hash, occurrence FROM calls "
        late = {
            tuple(map(str, row))
            for row in self.database.rows(f"{sql} WHERE status IN ('superseded', 'failed')")
        }
        lines, committed = self.models.asked(self.place.run), {*self._committed()}
        others = {_key(line) for line in lines if line["life"] != life}
        kept = late | (committed - others)
        return [line["step"] for line in lines if line["life"] == life and _key(line) not in kept]

    def _judge(self, ended: Ending) -> None:
        if ended.status != "done" or ended.values is None:
            self._fault("lost", f"the run does not end: {ended.status} {ended.problem:.600}")
        else:
            for name, value in self.reference.values.items():
                if ended.values.get(name) != value:
                    found = str(ended.values.get(name))
                    self._fault("different", f"{name} is {found:.200}, expected {value:.200}")
        lines = self.models.asked(self.place.run)
        asked = Counter(str(line["call"][1]) for line in lines)
        repeated = asked - self.reference.logical
        beyond = repeated - self._in_flight
        self.tally.asked, self.tally.repeated = len(lines), repeated.total()
        self.tally.in_flight = self._in_flight.total()
        if beyond:
            asks = [
                f"life {line['life']} at {line['at']:.3f}: {line['step']} {line['call']}"
                for line in lines
                if line["call"][1] in beyond
            ]
            self._fault("beyond", f"{beyond.total()} questions asked again: {asks}", beyond.total())
        doubled = self.database.rows(
            "SELECT count(*) FROM calls WHERE status = 'answered' "
            "GROUP BY thread_id, task, request_hash, occurrence HAVING count(*) > 1"
        )
        if doubled:
            self._fault("doubled", "calls have two answers", len(doubled))
        happened = Counter(self.place.happened())
        built = self.place.composition()
        for line, times in happened.items():
            if times > 1 and not built.repeats[line.partition(" ")[0]]:
                self._fault("twice", f"{line} happened {times} times", times - 1)
        missing = self.reference.effects - Counter(line.rpartition(" ")[0] for line in happened)
        if missing and ended.status == "done":
            self._fault("lost", f"effects that never happened: {missing}")


def _owner(claims: Iterable[Mapping[str, Any]], at: float) -> int | None:
    """Return the life that claimed the thread last before a moment."""
    before = [(line["at"], line["life"]) for line in claims if line["at"] <= at]
    return max(before)[1] if before else None


def _key(line: Mapping[str, Any]) -> Key:
    """Return the key of a call that was asked, or committed."""
    return tuple(map(str, line["committed"] if "committed" in line else (line["thread"], *line["call"])))


def undisturbed(place: Place, models: Models) -> Reference | str:
    """Return what a run asks and ends with if nobody disturbs it, or why it does not end."""
    with forked(live, place, Order(0, patient=True), Cut()) as (process, pipe):
        ended = heard(process, pipe, time.monotonic() + LIFE_S)
    if ended.status != "done" or ended.values is None:
        return f"The undisturbed run {ended.status}: {ended.problem}"
    sql = "SELECT request_hash FROM calls WHERE status IN ('answered', 'rejected')"
    database = SqliteDatabase(Path(place.address))
    logical = Counter(str(key) for (key,) in database.rows(sql))
    effects = Counter(line.rpartition(" ")[0] for line in place.happened())
    ((waits,),) = database.rows("SELECT count(*) FROM writes WHERE channel = '__interrupt__'")
    return Reference(ended.values, logical, effects, waits)


Fits = Callable[[Reference, Place], bool]
FITS: Mapping[str, Fits] = {
    "effect": lambda reference, place: reference.effects.total() > 0,
    "review": lambda reference, place: reference.waits > 0,
}
