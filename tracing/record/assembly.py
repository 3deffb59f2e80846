"""Puts a thread's spans together from the rows of its record, all at once or as they come in."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

from ...state.names import path_of
from ...state.statuses import UNFINISHED
from .plain_checkpoints import START
from .spans import REPLAYED, Row, Span, Trace, outer_task, span_id, trace_id


class SpanBuilder:
    """Puts the spans of one thread together, as its records come in.

    `add` returns the spans that are finished by what came in, `finish` those that nothing more will
    come for. Calls and retrievals are given as light rows: kind, id, task, started_at, latency_s.

    A node's row is written when the node ends, after the rows of its calls and of the nodes in it. So the
    id of an outer node that is still open must be known before its row is: it is made of the task, the
    invocation, and how often the task has ended there before (`_ends`).
    """

    def __init__(self, run: Row) -> None:
        self._run = run
        self._invocations: list[Row] = []
        self._starts: list[float] = []
        self._traces: dict[int, Trace] = {}
        self._root_ids: dict[object, str] = {}
        self._ends: dict[tuple[str, int], int] = defaultdict(int)
        self._waiting: dict[str, list[tuple[float, Row]]] = defaultdict(list)
        self._unfinished: dict[str, Span] = {}

    def know(self, invocations: Sequence[Row]) -> None:
        """Take in the thread's invocations, as they are known by now."""
        self._invocations = [
            {**row, "id": _id_where_it_began(row)} for row in invocations or [_only_invocation(self._run)]
        ]
        self._starts = [row["started_at"] for row in self._invocations]
        for row in self._invocations:
            if row["trace"] not in self._traces:
                self._traces[row["trace"]] = _trace_of(self._run, row)

    def add(self, node_runs: Iterable[Row], calls: Iterable[Row], replays: Iterable[Row]) -> list[Span]:
        for call in calls:  # and retrievals
            self._waiting[call["task"]].append((call["started_at"], call))
        for replay in replays:
            self._waiting[replay["task"]].append((replay["replayed_at"], replay))
        spans: list[Span] = []
        for node_run in node_runs:
            invocation = self._invocation_at(node_run["started_at"])
            span = self._node(node_run["task"], invocation, node_run)
            taken = self._take(node_run["task"], span, node_run["ended_at"])
            # LangGraph's own first node says nothing, unless a call was made in it or it went wrong.
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
        # Calls without a node's row: the process died in their node. Each such node becomes a span, once
        # for every invocation that it was cut short in.
        for task in list(self._waiting):
            for at, _ in sorted(self._waiting[task], key=lambda item: item[0]):
                invocation = self._invocation_at(at)
                if invocation["id"] == open_id or not self._waiting[task]:
                    continue
                parent = self._node(task, invocation, None) if task else None
                spans += self._take(task, parent or self._root(invocation), self._end_of(invocation))
        by_time = sorted(self._unfinished.values(), key=lambda span: span.started_at)
        for span in by_time:
            if self._invocation_at(span.started_at)["id"] != open_id:
                inside = [s for s in spans if s.parent_id == span.id] + [
                    s for s in by_time if s.parent_id == span.id
                ]
                ended = max([span.ended_at, *(s.ended_at for s in inside)])
                spans.append(span.but(ended_at=ended))
        for invocation in self._invocations:
            if invocation["id"] != open_id:
                spans.append(self._root(invocation))
        return spans

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
        kind = "hit" if replay else row["kind"]
        return Span(
            trace=parent.trace,
            kind="call" if replay else row["kind"],
            id=span_id(parent.trace, kind, _id_where_it_began(row)),
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
        trace, path = self._traces[invocation["trace"]], path_of(task)
        number = self._ends[task, invocation["id"]]
        around = outer_task(task)
        started = node_run["started_at"] if node_run else self._first(task, invocation)
        span = Span(
            trace=trace,
            kind="node",
            id=span_id(trace, "node", task, invocation["id"], number),
            parent_id=self._root_id(invocation),
            name=path.rpartition("/")[2],
            path=path,
            task=task,
            status=node_run["status"] if node_run else UNFINISHED,
            started_at=started,
            ended_at=node_run["ended_at"] if node_run else started,
            row=node_run or {},
            error=node_run["error"] if node_run else None,
        )
        if around:
            # The outer node is open: it is at least as long as what is in it, whether it ends or not.
            number = self._ends[around, invocation["id"]]
            parent_id = span_id(trace, "node", around, invocation["id"], number)
            span = span.but(parent_id=parent_id)
            outer = self._unfinished.get(parent_id)
            if outer is None:
                outer = self._node(around, invocation, None).but(started_at=started)
            self._unfinished[parent_id] = outer.but(ended_at=max(outer.ended_at, span.ended_at))
        if node_run is None:
            self._unfinished.setdefault(span.id, span)
        return span

    def _first(self, task: str, invocation: Row) -> float:
        times = [at for at, _ in self._waiting.get(task, ()) if self._invocation_at(at) is invocation]
        return min(times, default=invocation["started_at"])

    def _root_id(self, invocation: Row) -> str:
        number = invocation["id"]
        if number not in self._root_ids:
            self._root_ids[number] = span_id(self._traces[invocation["trace"]], "run", number)
        return self._root_ids[number]

    def _root(self, invocation: Row) -> Span:
        trace = self._traces[invocation["trace"]]
        first = next(row for row in self._invocations if row["trace"] == invocation["trace"])
        resumed = first["id"] != invocation["id"]
        over = invocation["ended_at"] is not None
        return Span(
            trace=trace,
            kind="run",
            id=self._root_id(invocation),
            parent_id=self._root_id(first) if resumed else None,
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


def _id_where_it_began(row: Row) -> object:
    """Return a row's id in the database where it began: a thread that is moved keeps its spans."""
    moved = row.get("moved_id")
    return row["id"] if moved is None else moved


def _only_invocation(run: Row) -> Row:
    """Return what stands for the invocations of a thread that has none, but calls outside of any graph."""
    over = run["status"] not in ("queued", "running")
    return {
        **dict.fromkeys(("output", "user", "environment", "version")),
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
