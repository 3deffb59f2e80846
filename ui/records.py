"""What the pages show of the record: a page of the list, and one run with all its spans."""

from __future__ import annotations

import json
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Lock
from typing import Any

from ..state.names import PRIVATE
from ..state.session.session import Session
from ..tracing.record.attributes import changed_fields, cut_text
from ..tracing.record.spans import UNFINISHED, Span, read_spans
from ..tracing.record.threads import Order, Search, Thread, count_threads, find_thread, list_threads
from ..tracing.record.tree import Row
from ..tracing.record.waterfall import Bar, bars_of
from .timelines import Timeline

PAGE = 50
KEPT = 4
RUNNING = "running"

_VERSION = """
SELECT (SELECT updated_at FROM runs WHERE thread_id = ?1) AS a,
       (SELECT max(id) FROM node_runs WHERE thread_id = ?1) AS b,
       (SELECT max(rowid) FROM calls WHERE thread_id = ?1) AS c,
       (SELECT max(id) FROM replays WHERE thread_id = ?1) AS d,
       (SELECT max(id) FROM decisions WHERE thread_id = ?1) AS e,
       (SELECT count(*) FROM scores WHERE thread_id = ?1) AS f,
       (SELECT max(id) FROM invocations WHERE thread_id = ?1) AS g
"""


@dataclass(frozen=True)
class Listing:
    """One page of the list of runs."""

    threads: Sequence[Thread]
    states: Mapping[str, str]
    graphs: Mapping[str, str | None]
    number: int
    total: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PAGE))


@dataclass(frozen=True)
class Limit:
    """One limit of a run's budget; `left` is None where an unknown cost makes it unknown."""

    resource: str
    allowed: float
    spent: float
    left: float | None


@dataclass(frozen=True)
class Wrote:
    """A field of what the run returned, and the step that first gave it that value for good."""

    name: str
    value: Any
    by: Span | None


@dataclass(frozen=True)
class Run:
    """One thread, with its spans in their places. `state` is its status, or "unfinished" if it died."""

    thread: Thread
    state: str
    live: bool
    version: str
    spans: Sequence[Span]
    shape: Row | None
    limits: Sequence[Limit]
    scores: Mapping[str | None, Sequence[Row]]
    bars: Sequence[Bar] = field(repr=False)

    @cached_property
    def by_id(self) -> dict[str, Bar]:
        return {bar.span.id: bar for root in self.bars for bar in root.walk()}

    @cached_property
    def timeline(self) -> Timeline:
        return Timeline([span for span in self.spans if span.kind == "run"])

    @cached_property
    def steps(self) -> list[Bar]:
        """The node executions, in the order of the waterfall."""
        return [bar for bar in self.by_id.values() if bar.span.kind == "node"]

    @cached_property
    def wrote(self) -> list[Wrote]:
        """The run's last output, field by field."""
        outputs = [json.loads(s.row["output"]) for s in self.spans if s.kind == "run" and s.row.get("output")]
        if not outputs or not isinstance(outputs[-1], dict) or cut_text(outputs[-1]):
            return [Wrote("output", outputs[-1], None)] if outputs else []
        fields = {n: v for n, v in outputs[-1].items() if not n.startswith((PRIVATE, "__"))}
        by: dict[str, Span | None] = {}
        leaves = [bar.span for bar in self.steps if not any(i.span.kind == "node" for i in bar.inner)]
        for span in sorted(leaves, key=lambda span: span.ended_at):
            changed = changed_fields(span.row)
            made = json.loads(span.row["output"]) if changed else {}
            for name in changed or ():
                same = name in fields and made[name] == fields[name]
                by[name] = (by.get(name) or span) if same else None
        return [Wrote(name, value, by.get(name)) for name, value in fields.items()]


class Reader:
    """Reads runs from a session; the last few are kept as long as nothing is added to them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: OrderedDict[str, Run] = OrderedDict()
        self._lock = Lock()

    @property
    def place(self) -> str:
        return str(self._session.path)

    def listing(self, search: Search, order: Order, number: int) -> Listing:
        """Return a page of the list, the first being 1."""
        total = count_threads(self._session.journal, search)
        number = min(max(1, number), max(1, -(-total // PAGE)))
        offset = (number - 1) * PAGE
        found = list_threads(self._session.journal, PAGE, offset=offset, search=search, order=order)
        states = {thread.thread_id: self._state(thread)[0] for thread in found}
        return Listing(found, states, self._graphs(list(states)), number, total)

    def _graphs(self, threads: Sequence[str]) -> dict[str, str | None]:
        """Return the names of the graphs that ran last; the record of a thread need not say what to load."""
        marks = ", ".join("?" * len(threads))
        sql = f"SELECT thread_id, graph FROM invocations WHERE thread_id IN ({marks}) ORDER BY id"
        rows = self._session.journal.query(sql, threads)
        return {**dict.fromkeys(threads), **{row["thread_id"]: row["graph"] for row in rows}}

    def list_version(self) -> str:
        """Return what changes whenever the list does."""
        sql = "SELECT count(*) AS n, max(updated_at) AS at, (SELECT max(rowid) FROM calls) AS c FROM runs"
        return json.dumps(list(self._session.journal.query(sql)[0].values()))

    def _state(self, thread: Thread) -> tuple[str, bool]:
        if thread.status not in (RUNNING, "queued"):
            return thread.status, False
        live = self._session.claims.is_run(thread.thread_id)
        return (RUNNING if live else UNFINISHED if thread.status == RUNNING else thread.status), live

    def version(self, thread_id: str) -> str:
        """Return what changes whenever something is added to a run."""
        (row,) = self._session.journal.query(_VERSION, (thread_id,))
        live = self._session.claims.is_run(thread_id)
        return json.dumps([*row.values(), live])

    def run(self, thread_id: str) -> Run:
        """Return a run as it is now. Raises InputError for an unknown one."""
        thread = find_thread(self._session.journal, thread_id)
        version = self.version(thread_id)
        with self._lock:
            kept = self._kept.get(thread_id)
            if kept is not None and kept.version == version and not kept.live:
                self._kept.move_to_end(thread_id)
                return kept
        run = self._read(thread, version)
        with self._lock:
            self._kept[thread_id] = run
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return run

    def _read(self, thread: Thread, version: str) -> Run:
        journal, thread_id = self._session.journal, thread.thread_id
        state, live = self._state(thread)
        spans = read_spans(journal.query, thread_id)
        if live:
            spans = list(_under_way(spans, time.time()))
        scores: dict[str | None, list[Row]] = defaultdict(list)
        for row in journal.query("SELECT * FROM scores WHERE thread_id = ? ORDER BY scored_at", (thread_id,)):
            scores[row["span"]].append(row)
        (run,) = journal.query("SELECT fingerprint FROM runs WHERE thread_id = ?", (thread_id,))
        return Run(
            thread=thread,
            state=state,
            live=live,
            version=version,
            spans=spans,
            shape=json.loads(run["fingerprint"]) if run["fingerprint"] else None,
            limits=list(self._limits(thread_id)),
            scores=scores,
            bars=bars_of(spans),
        )

    def _limits(self, thread_id: str) -> Iterator[Limit]:
        allowed = json.loads(self._session.journal.budget_of(thread_id) or "{}")
        if not allowed:
            return
        cost = self._session.spent(thread_id)
        seconds = self._session.ran_s(thread_id) if "seconds" in allowed else 0.0
        spent = {"calls": cost.calls, "tokens": cost.tokens, "usd": cost.known_usd, "seconds": seconds}
        for resource, limit in allowed.items():
            if resource in spent and isinstance(limit, (int, float)):
                left = None if resource == "usd" and cost.unknown else limit - spent[resource]
                yield Limit(resource, limit, spent[resource], left)


def _under_way(spans: Sequence[Span], now: float) -> Iterator[Span]:
    """Yield the spans of a run that is going on; what is not finished in its last invocation runs."""
    began = max((span.started_at for span in spans if span.kind == "run"), default=0.0)
    for span in spans:
        if span.status == UNFINISHED and span.started_at >= began:
            yield replace(span, status=RUNNING, ended_at=now)
        else:
            yield span
