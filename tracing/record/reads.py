"""Reads of single tables, for those who want rows: calls, node executions, scores, what was sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from ...state.blobs import Reference, references_in
from ...state.cost import NOTHING, Cost
from ...state.errors import StoreError
from ...state.journal.journal import Journal
from ...state.journal.sums import cost_columns, cost_in
from ...state.session.session import Session
from .spans import Query, Row, cost_of_call
from .threads import choose_threads

Table = Literal[
    "runs",
    "invocations",
    "node_runs",
    "calls",
    "retrievals",
    "decisions",
    "waits",
    "effects",
    "replays",
    "scores",
]

_ORDERS: dict[Table, str] = {
    "runs": "started_at",
    "invocations": "id",
    "node_runs": "id",
    "calls": "started_at, rowid",
    "retrievals": "started_at, rowid",
    "decisions": "decided_at, id",
    "waits": "started_at, task, name",
    "effects": "started_at",
    "replays": "id",
    "scores": "scored_at",
}
_AT_ONCE = 500
# Columns that hold JSON are exported as what they say.
_JSON = {"models", "input", "budget", "fingerprint", "messages", "params", "output", "result"}
_JSON |= {"interrupts", "tags", "metadata", "reserved", "cost_parts", "passages"}


def read_rows(query: Query, table: Table, thread_id: str) -> list[Row]:
    """Return a thread's rows of one table, oldest first."""
    return query(f"SELECT * FROM {table} WHERE thread_id = ? ORDER BY {_ORDERS[table]}", (thread_id,))


def among(query: Query, sql: str, values: Sequence[Any], before: Sequence[Any] = ()) -> Iterator[Row]:
    """Yield the rows of a SELECT that ends in IN, for any number of values: a database takes only so many.

    `before` are the values of the marks before IN.
    """
    for start in range(0, len(values), _AT_ONCE):
        part = values[start : start + _AT_ONCE]
        yield from query(f"{sql} ({', '.join('?' * len(part))})", (*before, *part))


def read_calls(journal: Journal, thread_id: str) -> list[Row]:
    """Return the thread's calls, oldest first."""
    return read_rows(journal.query, "calls", thread_id)


def cost_of_calls(calls: Iterable[Row]) -> Cost:
    """Return what calls cost together."""
    return sum(map(cost_of_call, calls), NOTHING)


def read_node_runs(journal: Journal, thread_id: str) -> list[Row]:
    """Return the thread's node executions, in the order in which they ended."""
    return read_rows(journal.query, "node_runs", thread_id)


def read_input(journal: Journal, thread_id: str) -> dict[str, Any]:
    """Return the input that a thread was begun with on the command line; {} where there is none."""
    rows = journal.query("SELECT input FROM runs WHERE thread_id = ?", (thread_id,))
    try:
        values: dict[str, Any] = json.loads(journal.whole((rows and rows[0]["input"]) or "{}"))
    except ValueError as error:
        raise StoreError(f"The input of the thread {thread_id!r} on record is damaged: {error}.") from None
    return values


def read_answers(journal: Journal, thread_id: str, parts: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the answers that parts of a thread's last run were given, in order.

    `parts` says what the tasks of each begin with: a task, or a node ("write:") in any of its executions. A
    model that only wants tools run is shown with its calls, as JSON.
    """
    rows = journal.query(
        "SELECT task, coalesce(nullif(answer, ''), tool_calls) AS said FROM calls "
        "WHERE thread_id = ? AND status = 'answered' AND (source = 'copied' OR started_at >= coalesce("
        "(SELECT min(started_at) FROM invocations WHERE thread_id = ? AND trace = "
        "(SELECT max(trace) FROM invocations WHERE thread_id = ?)), 0)) ORDER BY started_at",
        [thread_id] * 3,
    )
    answers: dict[str, list[str]] = {begin: [] for begin in parts.values()}
    for row in rows:
        names = row["task"].split("|")
        for depth, name in enumerate(names):
            outer = "".join(f"{each}|" for each in names[:depth])
            for begin in (f"{outer}{name}", f"{outer}{name.partition(':')[0]}:"):
                if row["said"] and begin in answers:
                    answers[begin].append(row["said"])
    return {path: tuple(answers[begin]) for path, begin in parts.items() if answers[begin]}


def read_shape(journal: Journal, thread_id: str) -> Row | None:
    """Return the shape of the graph that a thread ran last, if it left one."""
    rows = journal.query("SELECT fingerprint FROM runs WHERE thread_id = ?", (thread_id,))
    shape: Row | None = json.loads((rows and rows[0]["fingerprint"]) or "null")
    return shape


def threads_with_calls(journal: Journal, prefix: str) -> list[str]:
    """Return the threads whose ids begin with a prefix and that made calls."""
    sql = "SELECT DISTINCT thread_id FROM calls WHERE substr(thread_id, 1, length(?)) = ?"
    return [row["thread_id"] for row in journal.query(sql, (prefix, prefix))]


def unshared_costs(journal: Journal, thread_id: str) -> list[tuple[str, str | None, Cost]]:
    """Return step, role and cost of each call of a thread, as if no answer had been shared.

    A call that took its answer from the cache, or from an equal call, costs what that call cost.
    """
    rows = journal.query(
        # An answer from the cache may itself have come from there: go back to the call that was paid.
        "WITH RECURSIVE chain (id, step, role, at) AS ("
        "  SELECT id, step, role, id FROM calls"
        "  WHERE thread_id = ? AND source IN ('model', 'cache', 'coalesced')"
        "  UNION ALL SELECT chain.id, chain.step, chain.role, c.origin FROM chain"
        "  JOIN calls c ON c.id = chain.at WHERE c.source IN ('cache', 'coalesced')"
        ") SELECT chain.step, chain.role,"
        f"  {cost_columns('paid.')}, count(paid.id) AS found "
        "FROM chain LEFT JOIN calls paid ON paid.id = chain.at AND paid.source = 'model' "
        "GROUP BY chain.id, chain.step, chain.role",
        (thread_id,),
    )
    return [
        (row["step"], row["role"], replace(cost_in(row), calls=1) if row["found"] else Cost(1, unknown=1))
        for row in rows
    ]


def paid_calls(journal: Journal) -> list[Row]:
    """Return thread, step, role and tokens of every answer that was paid for, oldest first."""
    return journal.query(
        "SELECT thread_id, step, role, input_tokens, output_tokens FROM calls "
        "WHERE source = 'model' AND status <> 'failed' ORDER BY started_at, rowid"
    )


def longest_prompt(journal: Journal, step: str) -> int | None:
    """Return the most tokens that a prompt of a step had so far."""
    rows = journal.query("SELECT max(input_tokens) AS most FROM calls WHERE step = ?", (step,))
    most: int | None = rows[0]["most"]
    return most


def finished_runs(journal: Journal, fingerprint: str) -> list[Row]:
    """Return calls, tokens and usd of each finished run of a graph of this shape, forks left out."""
    return journal.query(
        "SELECT c.calls - c.shared AS calls, c.input_tokens + c.output_tokens AS tokens, c.cost_usd AS usd "
        "FROM runs r JOIN run_costs c ON c.thread_id = r.thread_id "
        "WHERE r.status = 'done' AND r.fingerprint = ? AND r.parent_thread IS NULL",
        (fingerprint,),
    )


def already_sent(query: Query, destination: str, thread_id: str) -> set[str]:
    """Return the ids of the spans and scores that arrived."""
    sql = "SELECT spans FROM exports WHERE destination = ? AND thread_id = ?"
    rows = query(sql, (destination, thread_id))
    ids = bytes(rows[0]["spans"]).hex() if rows else ""
    return {ids[start : start + 16] for start in range(0, len(ids), 16)}


def unsent_threads(journal: Journal, destination: str, since: float = 0.0) -> list[str]:
    """Return the threads of which something may not have been sent, oldest first."""
    rows = journal.query(
        "SELECT r.thread_id FROM runs r LEFT JOIN exports e "
        "ON e.destination = ? AND e.thread_id = r.thread_id "
        "WHERE (e.complete_at IS NULL OR e.complete_at < r.updated_at OR EXISTS (SELECT 1 FROM scores s "
        "WHERE s.thread_id = r.thread_id AND s.scored_at > e.complete_at)) AND r.updated_at >= ? "
        "ORDER BY r.started_at",
        (destination, since),
    )
    return [row["thread_id"] for row in rows]


def changed_at(query: Query, thread_id: str) -> float | None:
    """Return when a thread or its scores changed last."""
    scored = "(SELECT max(scored_at) FROM scores s WHERE s.thread_id = runs.thread_id)"
    rows = query(f"SELECT updated_at, {scored} AS scored_at FROM runs WHERE thread_id = ?", (thread_id,))
    return max(rows[0]["updated_at"], rows[0]["scored_at"] or 0.0) if rows else None


def records(session: Session, threads: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the records of the threads, or of all, thread by thread. Raises InputError for an unknown one.

    Checkpoints are not among them: they are LangGraph's, and serve to resume. The images and documents that
    the records refer to follow at the end, each once, in base64.
    """
    referred: dict[str, Reference] = {}
    for thread in choose_threads(session.journal, threads):
        for table in _ORDERS:
            for row in read_rows(session.journal.query, table, thread):
                texts = (value for value in row.values() if isinstance(value, str))
                referred |= {each.sha256: each for text in texts for each in references_in(text)}
                # Only Postgres shows the order in which rows were written as a column.
                values = {name: _plain(name, value) for name, value in row.items() if name != "rowid"}
                yield {"record": table.removesuffix("s"), **values}
    for blob in referred.values():
        data = base64.b64encode(session.journal.blob(blob.sha256)).decode()
        yield {"record": "blob", **asdict(blob), "data": data}


def _plain(name: str, value: Any) -> Any:
    return json.loads(value) if name in _JSON and isinstance(value, str) else value
