"""A thread's record as spans: its traces, the node executions in them, and every model call.

Nothing is kept twice: the journal is the local store, and spans are made of its rows. Their ids follow
from what they stand for, so that the same span always has the same id, however often it is made or sent,
and what a resume adds joins the trace.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ...state.names import path_of
from .lineage import levels
from .plain_checkpoints import START
from .tree import Row

Query = Callable[[str, Sequence[Any]], list[Row]]
Kind = Literal["run", "node", "call"]

REPLAYED = "replayed"
UNFINISHED = "unfinished"
_BATCH = 500


@dataclass(frozen=True)
class Trace:
    """What all spans of one trace have in common. A thread's new input begins a new trace."""

    id: str
    thread_id: str
    number: int
    name: str
    user: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Row = field(default_factory=dict)
    environment: str | None = None
    version: str | None = None
    parent_thread: str | None = None


@dataclass(frozen=True)
class Span:
    """One invocation of the graph, one node execution or one attempt at a model call.

    `row` is the journal's record of it. `source` says of a call where the answer came from: model,
    coalesced, cache, copied, override, or replayed. `status` is done, failed, interrupted, partial, running,
    or unfinished, where the process died in it. Times are Unix seconds.
    """

    trace: Trace
    kind: Kind
    id: str
    parent_id: str | None
    name: str
    path: str
    task: str
    status: str
    started_at: float
    ended_at: float
    row: Row
    error: str | None = None
    decision: Row | None = None
    checkpoint_id: str | None = None
    source: str = "model"

    @property
    def cost_usd(self) -> float | None:
        """What the call cost here: nothing, if the answer was there already; None if nobody knows."""
        if self.source != "model" or self.row.get("status") == "failed":
            return self.row.get("cost_usd") or 0.0 if self.source == "model" else 0.0
        return self.row.get("cost_usd")


def trace_id(thread_id: str, created_at: float, number: int) -> str:
    """Return the id of a thread's trace: that which Langfuse makes of the seed."""
    seed = f"{thread_id} {created_at!r} {number}"
    return hashlib.sha256(seed.encode("utf-8", "replace")).digest()[:16].hex()


def _span_id(trace: Trace, *parts: object) -> str:
    seed = "\0".join(map(str, (trace.id, *parts)))
    return hashlib.sha256(seed.encode("utf-8", "replace")).digest()[:8].hex()


def outer_task(task: str) -> str:
    """Return the node execution around one, "" for one of the outermost graph."""
    inner = list(levels(task))
    return inner[-2].task if len(inner) > 1 else ""


class Assembler:
    """Puts the spans of one thread together, as its records come in.

    `add` returns the spans that are finished by what came in, `finish` those that nothing more will
    come for. Calls are given as light rows: id, task, started_at, latency_s.
    """

    def __init__(self, run: Row) -> None:
        self._run = run
        self._invocations: list[Row] = []
        self._starts: list[float] = []
        self._traces: dict[int, Trace] = {}
        self._ends: dict[tuple[str, int], int] = defaultdict(int)
        self._waiting: dict[str, list[tuple[float, Row]]] = defaultdict(list)
        self._done: set[str] = set()
        self._unfinished: dict[str, Span] = {}

    def know(self, invocations: Sequence[Row]) -> None:
        """Take in the thread's invocations, as they are known by now."""
        self._invocations = list(invocations) or [_only_invocation(self._run)]
        self._starts = [row["started_at"] for row in self._invocations]
        for row in self._invocations:
            if row["trace"] not in self._traces:
                self._traces[row["trace"]] = _trace_of(self._run, row)

    def add(self, node_runs: Iterable[Row], calls: Iterable[Row], replays: Iterable[Row]) -> list[Span]:
        for call in calls:
            self._waiting[call["task"]].append((call["started_at"], call))
        for replay in replays:
            self._waiting[replay["task"]].append((replay["replayed_at"], replay))
        spans: list[Span] = []
        for node_run in node_runs:
            invocation = self._invocation_at(node_run["started_at"])
            span = self._node(node_run["task"], invocation, node_run)
            taken = self._take(node_run["task"], span, node_run["ended_at"])
            if taken or node_run["node"] != START or node_run["status"] != "done":
                spans += [*taken, span]
            self._unfinished.pop(span.id, None)
            self._ends[node_run["task"], invocation["id"]] += 1
        return spans

    def finish(self, *, alive: bool) -> list[Span]:
        """Return what is left: invocations that ended, and what a death of the process cut short.

        `alive` says that the last invocation is still under way, so that its rest may come yet.
        """
        spans: list[Span] = []
        last = self._invocations[-1]
        open_id = last["id"] if alive and last["ended_at"] is None else None
        for task in list(self._waiting):
            for at, _ in sorted(self._waiting[task], key=lambda item: item[0]):
                invocation = self._invocation_at(at)
                if invocation["id"] == open_id or not self._waiting[task]:
                    continue
                parent = self._node(task, invocation, None) if task else None
                spans += self._take(task, parent or self._root(invocation), self._end_of(invocation))
        by_time = sorted(self._unfinished.values(), key=lambda span: span.started_at)
        for span in by_time:
            if self._invocation_at(span.started_at)["id"] != open_id and span.id not in self._done:
                inside = [s for s in spans if s.parent_id == span.id] + [
                    s for s in by_time if s.parent_id == span.id
                ]
                ended = max([span.ended_at, *(s.ended_at for s in inside)])
                spans.append(replace(span, ended_at=ended))
        for invocation in self._invocations:
            if invocation["id"] != open_id:
                spans.append(self._root(invocation))
        fresh = [span for span in spans if span.id not in self._done]
        self._done |= {span.id for span in fresh}
        return fresh

    def _take(self, task: str, parent: Span, until: float) -> list[Span]:
        """Return the calls and replays of a node execution that have not been taken before."""
        invocation = self._invocation_at(parent.started_at)
        mine: list[tuple[float, Row]] = []
        rest: list[tuple[float, Row]] = []
        for at, row in self._waiting.pop(task, ()):
            fits = at <= until and self._invocation_at(at)["id"] == invocation["id"]
            (mine if fits else rest).append((at, row))
        if rest:
            self._waiting[task] = rest
        return [self._call(row, at, parent) for at, row in sorted(mine, key=lambda item: item[0])]

    def _call(self, row: Row, at: float, parent: Span) -> Span:
        replay = "call_id" in row
        # The word in the id of a replay stays "hit": with another one, older files would be sent twice.
        kind = "hit" if replay else "call"
        return Span(
            trace=parent.trace,
            kind="call",
            id=_span_id(parent.trace, kind, row["id"]),
            parent_id=parent.id,
            name="",
            path=path_of(row["task"]),
            task=row["task"],
            status="done",
            started_at=at,
            ended_at=at if replay else at + row["latency_s"],
            row={"id": row["call_id"] if replay else row["id"]},
            source=REPLAYED if replay else "model",
        )

    def _node(self, task: str, invocation: Row, node_run: Row | None) -> Span:
        """Return the span of a task's execution that is under way or has just ended."""
        trace = self._traces[invocation["trace"]]
        number = self._ends[task, invocation["id"]]
        around = outer_task(task)
        started = node_run["started_at"] if node_run else self._first(task, invocation)
        span = Span(
            trace=trace,
            kind="node",
            id=_span_id(trace, "node", task, invocation["id"], number),
            parent_id=self._root(invocation).id,
            name=path_of(task).rsplit("/", 1)[-1],
            path=path_of(task),
            task=task,
            status=node_run["status"] if node_run else UNFINISHED,
            started_at=started,
            ended_at=node_run["ended_at"] if node_run else started,
            row=node_run or {},
            error=node_run["error"] if node_run else None,
        )
        if around:
            number = self._ends[around, invocation["id"]]
            parent_id = _span_id(trace, "node", around, invocation["id"], number)
            span = replace(span, parent_id=parent_id)
            outer = self._unfinished.get(parent_id)
            if outer is None:
                outer = replace(self._node(around, invocation, None), started_at=started)
            self._unfinished[parent_id] = replace(outer, ended_at=max(outer.ended_at, span.ended_at))
        if node_run is None:
            self._unfinished.setdefault(span.id, span)
        return span

    def _first(self, task: str, invocation: Row) -> float:
        times = [at for at, _ in self._waiting.get(task, ()) if self._invocation_at(at) is invocation]
        return min(times, default=invocation["started_at"])

    def _root(self, invocation: Row) -> Span:
        trace = self._traces[invocation["trace"]]
        first = next(row for row in self._invocations if row["trace"] == invocation["trace"])
        resumed = first["id"] != invocation["id"]
        over = invocation["ended_at"] is not None
        return Span(
            trace=trace,
            kind="run",
            id=_span_id(trace, "run", invocation["id"]),
            parent_id=_span_id(trace, "run", first["id"]) if resumed else None,
            name=f"{trace.name} (resumed)" if resumed else trace.name,
            path="",
            task="",
            status=invocation["status"] if over else UNFINISHED,
            started_at=invocation["started_at"],
            ended_at=invocation["ended_at"] if over else self._end_of(invocation),
            row={**invocation, "resumed": resumed, "budget": self._run.get("budget")},
            error=invocation["error"],
        )

    def _end_of(self, invocation: Row) -> float:
        """Return when an invocation ended, or was last heard of."""
        if invocation["ended_at"] is not None:
            return float(invocation["ended_at"])
        later = [start for start in self._starts if start > invocation["started_at"]]
        return float(min(later, default=max(self._run["updated_at"], invocation["started_at"])))

    def _invocation_at(self, at: float) -> Row:
        return self._invocations[max(0, bisect_right(self._starts, at) - 1)]


def _only_invocation(run: Row) -> Row:
    """Return what stands for the invocations of a thread that has none, but calls outside of any graph."""
    over = run["status"] not in ("queued", "running")
    blank = dict.fromkeys(("output", "error", "user", "environment", "version"))
    return {
        **blank,
        "id": 0,
        "trace": 0,
        "graph": run["graph"],
        "input": run["input"],
        "status": run["status"],
        "error": run["error"],
        "tags": "[]",
        "metadata": "{}",
        "started_at": run["started_at"],
        "ended_at": run["updated_at"] if over else None,
    }


def _trace_of(run: Row, first: Row) -> Trace:
    thread, number = run["thread_id"], first["trace"]
    return Trace(
        id=trace_id(thread, run["started_at"], number),
        thread_id=thread,
        number=number,
        name=first["graph"] or run["graph"] or "run",
        user=first["user"],
        tags=tuple(json.loads(first["tags"] or "[]")),
        metadata=json.loads(first["metadata"] or "{}"),
        environment=first["environment"],
        version=first["version"],
        parent_thread=run["parent_thread"],
    )


def filled(spans: Sequence[Span], query: Query) -> Iterator[Span]:
    """Yield the spans with all that the record says of them: answers, decisions, checkpoints."""
    nodes = [span for span in spans if span.kind == "node"]
    thread = spans[0].trace.thread_id if spans else ""
    asked = [span.row["id"] for span in spans if span.kind == "call"]
    calls = {row["id"]: row for row in _rows(query, "calls", "id", asked)}
    decisions = _rows(query, "decisions", "task", [span.task for span in nodes], thread)
    decided = {row["task"]: row for row in decisions}
    checkpoints = _checkpoints(query, thread, nodes)
    for span in spans:
        if span.kind == "call":
            if span.row["id"] in calls:
                yield _filled_call(span, calls[span.row["id"]])
        elif span.kind == "node":
            kept = checkpoints.get(span.task)
            yield replace(span, decision=decided.get(span.task), checkpoint_id=kept)
        elif span.row["budget"]:
            yield replace(span, row={**span.row, **_spent(query, span)})
        else:
            yield span


def _spent(query: Query, span: Span) -> Row:
    """Return what of its budget a thread had spent when an invocation ended, and what was left."""
    (spent,) = query(
        "SELECT count(*) AS calls, coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0) "
        "AS tokens, coalesce(sum(cost_usd), 0.0) AS usd FROM calls "
        "WHERE thread_id = ? AND source = 'model' AND started_at <= ?",
        (span.trace.thread_id, span.ended_at),
    )
    limits = json.loads(span.row["budget"])
    left = {name: limits[name] - spent[name] for name in spent if name in limits}
    return {"budget_spent": json.dumps(spent), "budget_left": json.dumps(left)}


def _filled_call(span: Span, row: Row) -> Span:
    path, step = span.path, row["step"]
    named = path if path.rsplit("/", 1)[-1] == step or not step else f"{path}/{step}" if path else step
    replayed = span.source == REPLAYED
    return replace(
        span,
        name=named,
        status="failed" if row["status"] == "failed" else "done",
        error=row["problem"] if row["status"] == "failed" else None,
        row=row,
        source=REPLAYED if replayed else row["source"],
    )


def _rows(
    query: Query, table: str, column: str, values: Sequence[Any], thread: str | None = None
) -> Iterator[Row]:
    only = "" if thread is None else "thread_id = ? AND "
    for start in range(0, len(values), _BATCH):
        some = [*([] if thread is None else [thread]), *values[start : start + _BATCH]]
        marks = ", ".join("?" * len(values[start : start + _BATCH]))
        yield from query(f"SELECT * FROM {table} WHERE {only}{column} IN ({marks})", some)


def _checkpoints(query: Query, thread: str, nodes: Sequence[Span]) -> dict[str, str]:
    """Return, by task, the checkpoint after which each node execution ran, as far as the file holds it."""
    places = {span.task: list(levels(span.task))[-1:] for span in nodes}
    namespaces = sorted({place[0].ns for place in places.values() if place})
    found: dict[tuple[str, str], str] = {}
    for start in range(0, len(namespaces), _BATCH):
        some = namespaces[start : start + _BATCH]
        sql = (
            "SELECT DISTINCT checkpoint_ns, task_id, checkpoint_id FROM writes WHERE thread_id = ? "
            f"AND checkpoint_ns IN ({', '.join('?' * len(some))})"
        )
        for row in query(sql, (thread, *some)):
            found[row["checkpoint_ns"], row["task_id"]] = row["checkpoint_id"]
    pairs = ((task, found.get((p[0].ns, p[0].task_id))) for task, p in places.items() if p)
    return {task: checkpoint for task, checkpoint in pairs if checkpoint is not None}


RUN = "SELECT * FROM runs WHERE thread_id = ?"
INVOCATIONS = "SELECT * FROM invocations WHERE thread_id = ? ORDER BY id"
NODE_RUNS = "SELECT * FROM node_runs WHERE thread_id = ? AND id > ? ORDER BY id"
CALLS = "SELECT rowid, id, task, started_at, latency_s FROM calls WHERE thread_id = ? AND rowid > ?"
REPLAYS = "SELECT * FROM replays WHERE thread_id = ? AND id > ?"


def read_spans(query: Query, thread_id: str, *, alive: bool = False) -> list[Span]:
    """Return all spans of a thread, in the order in which they began; none for an unknown thread.

    With `alive`, what is still under way is left out, else it counts as unfinished.
    """
    found = filled(assembled(query, thread_id, alive=alive), query)
    order = {"run": 0, "node": 1, "call": 2}
    return sorted(found, key=lambda s: (s.started_at, order[s.kind], s.path.count("/")))


def assembled(query: Query, thread_id: str, *, alive: bool = False) -> list[Span]:
    """Return the spans of a thread in their places, still without what `filled` reads."""
    runs = query(RUN, (thread_id,))
    if not runs:
        return []
    assembler = Assembler(runs[0])
    assembler.know(query(INVOCATIONS, (thread_id,)))
    found = assembler.add(
        query(NODE_RUNS, (thread_id, 0)), query(CALLS, (thread_id, 0)), query(REPLAYS, (thread_id, 0))
    )
    return found + assembler.finish(alive=alive)
