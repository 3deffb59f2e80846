"""Reads a thread's spans, all of them or what is new."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from ...state.journal.sums import cost_columns, cost_in
from ...state.money import rounded
from .assembly import SpanBuilder
from .lineage import levels
from .reads import among, read_rows
from .spans import REPLAYED, Query, Row, Span

_CALLS = (
    "SELECT rowid, '{kind}' AS kind, id, task, started_at, latency_s FROM {table} "
    "WHERE thread_id = ? AND rowid > ?"
)


def read_spans(query: Query, thread_id: str, *, alive: bool = False) -> list[Span]:
    """Return all spans of a thread, in the order in which they began; none for an unknown thread.

    With `alive`, what is still under way is left out, else it counts as unfinished.
    """
    spans = filled(assembled(query, thread_id, alive=alive), query)
    order = {"run": 0, "node": 1, "call": 2, "retrieval": 2}
    return sorted(spans, key=lambda s: (s.started_at, order[s.kind], s.path.count("/")))


def assembled(query: Query, thread_id: str, *, alive: bool) -> list[Span]:
    """Return the spans of a thread in their places, still without what `filled` reads."""
    reader = SpanReader(query, thread_id)
    return reader.news() + reader.rest(alive=alive)


class SpanReader:
    """Reads the spans of one thread while its record grows."""

    def __init__(self, query: Query, thread_id: str) -> None:
        self._query = query
        self._thread = thread_id
        self._builder: SpanBuilder | None = None
        self._node_run = self._call = self._retrieval = self._replay = 0

    def news(self, invocations: Sequence[Row] | None = None) -> list[Span]:
        """Return the spans that ended since the last time, without what `filled` reads."""
        query, thread = self._query, self._thread
        if self._builder is None:
            runs = read_rows(query, "runs", thread)
            if not runs:
                return []
            self._builder = SpanBuilder(runs[0])
        self._builder.know(invocations or read_rows(query, "invocations", thread))
        # Nodes first: they are committed after their calls, so the calls of each are then there to be read.
        node_runs = query(
            "SELECT * FROM node_runs WHERE thread_id = ? AND id > ? ORDER BY id", (thread, self._node_run)
        )
        calls = query(_CALLS.format(kind="call", table="calls"), (thread, self._call))
        retrievals = query(_CALLS.format(kind="retrieval", table="retrievals"), (thread, self._retrieval))
        replays = query("SELECT * FROM replays WHERE thread_id = ? AND id > ?", (thread, self._replay))
        self._node_run = max([self._node_run, *(row["id"] for row in node_runs)])
        self._call = max([self._call, *(row["rowid"] for row in calls)])
        self._retrieval = max([self._retrieval, *(row["rowid"] for row in retrievals)])
        self._replay = max([self._replay, *(row["id"] for row in replays)])
        return self._builder.add(node_runs, [*calls, *retrievals], replays)

    def rest(self, *, alive: bool) -> list[Span]:
        """Return what nothing more will come for; see `SpanBuilder.finish`."""
        return self._builder.finish(alive=alive) if self._builder else []


def filled(spans: Sequence[Span], query: Query) -> Iterator[Span]:
    """Yield the spans with all that the record says of them: answers, decisions, checkpoints."""
    nodes = [span for span in spans if span.kind == "node"]
    thread = spans[0].trace.thread_id if spans else ""
    ids = [span.row["id"] for span in spans if span.kind == "call"]
    calls = {row["id"]: row for row in among(query, "SELECT * FROM calls WHERE id IN", ids)}
    sought = [span.row["id"] for span in spans if span.kind == "retrieval"]
    retrievals = {row["id"]: row for row in among(query, "SELECT * FROM retrievals WHERE id IN", sought)}
    tasks = [span.task for span in nodes]
    decisions = among(query, "SELECT * FROM decisions WHERE thread_id = ? AND task IN", tasks, (thread,))
    decided = {row["task"]: row for row in decisions}
    checkpoints = _checkpoints(query, thread, nodes)
    agents = _agents(query, thread) if any(span.kind in ("node", "run") for span in spans) else set()
    for span in spans:
        if span.kind == "call":
            if span.row["id"] in calls:
                yield _filled_call(span, calls[span.row["id"]])
        elif span.kind == "retrieval":
            if span.row["id"] in retrievals:
                yield _filled_retrieval(span, retrievals[span.row["id"]])
        elif span.kind == "node":
            checkpoint_id = checkpoints.get(span.task)
            is_agent = span.path in agents
            yield span.but(decision=decided.get(span.task), checkpoint_id=checkpoint_id, is_agent=is_agent)
        else:
            spent = _spent(query, span) if span.row["budget"] else {}
            yield span.but(row={**span.row, **spent}, is_agent="" in agents)


def _agents(query: Query, thread: str) -> set[str]:
    """Return the paths of the nodes that are agents: those around the steps that decide as one."""
    rows = query("SELECT DISTINCT path FROM decisions WHERE thread_id = ? AND kind = 'agent'", (thread,))
    return {row["path"].rpartition("/")[0] for row in rows}


def _spent(query: Query, span: Span) -> Row:
    """Return what of its budget a thread had spent when an invocation ended, and what was left."""
    (row,) = query(
        f"SELECT {cost_columns()} FROM calls WHERE thread_id = ? AND source = 'model' AND started_at <= ?",
        (span.trace.thread_id, span.ended_at),
    )
    spent = cost_in(row).charged()
    limits = json.loads(span.row["budget"])
    left = {name: limits[name] - spent[name] for name in spent if name in limits}
    if "usd" in left:
        left["usd"] = rounded(left["usd"])
    return {"budget_spent": json.dumps(spent), "budget_left": json.dumps(left)}


def _filled_call(span: Span, row: Row) -> Span:
    path, step = span.path, row["step"]
    named = path if path.rsplit("/", 1)[-1] == step or not step else f"{path}/{step}" if path else step
    replayed = span.source == REPLAYED
    return span.but(
        name=named,
        status="failed" if row["status"] == "failed" else "done",
        error=row["problem"] if row["status"] == "failed" else None,
        row=row,
        source=REPLAYED if replayed else row["source"],
    )


def _filled_retrieval(span: Span, row: Row) -> Span:
    failed = row["status"] == "failed"
    return span.but(
        name=row["retriever"],
        status="failed" if failed else "done",
        error=row["problem"] if failed else None,
        row=row,
    )


def _checkpoints(query: Query, thread: str, nodes: Sequence[Span]) -> dict[str, str]:
    """Return, by task, the checkpoint after which each node execution ran, as far as the file holds it."""
    places = {span.task: list(levels(span.task))[-1:] for span in nodes}
    namespaces = sorted({place[0].ns for place in places.values() if place})
    sql = (
        "SELECT DISTINCT checkpoint_ns, task_id, checkpoint_id FROM writes "
        "WHERE thread_id = ? AND checkpoint_ns IN"
    )
    rows = among(query, sql, namespaces, (thread,))
    checkpoints = {(row["checkpoint_ns"], row["task_id"]): row["checkpoint_id"] for row in rows}
    pairs = ((task, checkpoints.get((p[0].ns, p[0].task_id))) for task, p in places.items() if p)
    return {task: checkpoint for task, checkpoint in pairs if checkpoint is not None}
