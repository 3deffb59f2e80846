"""Which recorded runs: by graph, status, user, tag and time; and a replay's own rows in the record."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...state.cost import Cost
from ...state.journal.journal import Journal
from ...state.journal.records import Statement
from ...state.journal.run_states import run_state
from ...state.json_text import json_text
from ...state.names import LANGFUSE, REPLAYS
from .copying import insert_row
from .reads import among
from .spans import Row, cost_of_call, trace_id

EVALS = "eval/"
_OF_USERS = " AND ".join(
    f"substr(thread_id, 1, {len(prefix)}) <> '{prefix}'" for prefix in (REPLAYS, EVALS, LANGFUSE)
)
_NAMED = (
    "(r.graph = ? OR EXISTS (SELECT 1 FROM invocations i WHERE i.thread_id = r.thread_id AND i.graph = ?))"
)
_CONDITIONS = {
    "graph": _NAMED,
    "status": "{stands} = ?",
    "thread": "r.thread_id = ?",
    "user": 'EXISTS (SELECT 1 FROM invocations i WHERE i.thread_id = r.thread_id AND i."user" = ?)',
    "tag": "EXISTS (SELECT 1 FROM invocations i WHERE i.thread_id = r.thread_id "
    "AND replace(i.tags, ?, '') <> i.tags)",
    "since": "r.started_at >= ?",
    "until": "r.started_at < ?",
}

_SELECT = "SELECT r.thread_id, {stands} AS status, r.parent_thread FROM runs r"


@dataclass(frozen=True)
class RecordedThread:
    """A run that was recorded: its status, and the thread that it was forked from, if it was."""

    thread_id: str
    status: str
    parent: str | None


def find_runs(
    journal: Journal, conditions: Sequence[tuple[str, Any]], *, everywhere: bool = False
) -> list[RecordedThread]:
    """Return the runs that meet all conditions, by their names, in the order of their ids.

    Of several conditions of one name, one is to be met. Threads of replays, of eval suites and from Langfuse
    are none, unless they are named.
    """
    parts, values, stands = ["1 = 1"], [], run_state(journal)
    for name in dict.fromkeys(name for name, _ in conditions):
        wanted = [value for other, value in conditions if other == name]
        condition = _CONDITIONS[name].replace("{stands}", stands)
        parts.append(f"({' OR '.join([condition] * len(wanted))})")
        for value in wanted:
            values += [value] * 2 if name == "graph" else [json_text(value) if name == "tag" else value]
    if not everywhere and not any(name == "thread" for name, _ in conditions):
        parts.append(_OF_USERS)
    sql = f"{_SELECT.format(stands=stands)} WHERE {' AND '.join(parts)}"
    rows = journal.query(f"{sql} ORDER BY r.thread_id", values)
    return [RecordedThread(row["thread_id"], row["status"], row["parent_thread"]) for row in rows]


def known_words(journal: Journal, name: str) -> list[str]:
    """Return what the record knows under the name of a condition: its runs' graphs, users, tags."""
    if name == "graph":
        sql = (
            f"SELECT graph AS word FROM runs WHERE graph IS NOT NULL AND {_OF_USERS} UNION "
            f"SELECT graph AS word FROM invocations WHERE graph IS NOT NULL AND {_OF_USERS}"
        )
    elif name == "user":
        sql = f'SELECT DISTINCT "user" AS word FROM invocations WHERE "user" IS NOT NULL AND {_OF_USERS}'
    elif name == "tag":
        rows = journal.query(f"SELECT DISTINCT tags FROM invocations WHERE tags IS NOT NULL AND {_OF_USERS}")
        return sorted({str(tag) for row in rows for tag in json.loads(row["tags"])})
    else:
        return []
    return sorted(row["word"] for row in journal.query(sql))


def read_plan(journal: Journal, thread_id: str) -> dict[str, Any] | None:
    """Return what a replay was begun as, None for one that is not on record."""
    rows = journal.query("SELECT input FROM runs WHERE thread_id = ?", (thread_id,))
    if not rows or not rows[0]["input"]:
        return None
    plan: dict[str, Any] = json.loads(rows[0]["input"])
    return plan


def plan_rows(
    thread_id: str, plan: dict[str, Any], graph: str | None, models: dict[str, str], threads: dict[str, str]
) -> Iterator[Statement]:
    """Yield what puts a replay on record: its plan, and the thread of each case with where it comes from."""
    now = time.time()
    shared: Row = {"models": json.dumps(models), "started_at": now, "updated_at": now}
    yield insert_row("runs", {"thread_id": thread_id, "input": json.dumps(plan), "status": "done", **shared})
    for thread, origin in threads.items():
        row = {"thread_id": thread, "graph": graph, "status": "queued", "parent_thread": origin}
        yield insert_row("runs", {**row, **shared})


def runs_named(journal: Journal, threads: Sequence[str]) -> list[RecordedThread]:
    """Return these runs, as far as they are on record."""
    sql = f"{_SELECT.format(stands=run_state(journal))} WHERE r.thread_id IN"
    rows = {row["thread_id"]: row for row in among(journal.query, sql, threads)}
    return [
        RecordedThread(thread, rows[thread]["status"], rows[thread]["parent_thread"])
        for thread in threads
        if thread in rows
    ]


def threads_by_trace(journal: Journal) -> dict[str, str]:
    """Return the threads of the record by the ids of their traces."""
    rows = journal.query(
        "SELECT DISTINCT r.thread_id, r.started_at, i.trace FROM runs r JOIN invocations i "
        "ON i.thread_id = r.thread_id"
    )
    return {trace_id(row["thread_id"], row["started_at"], row["trace"]): row["thread_id"] for row in rows}


def imported_rows(thread_id: str, input_json: str, output: str | None, at: float) -> Iterator[Statement]:
    """Yield what puts a run on record of which only its input and its output are known, as JSON."""
    yield insert_row(
        "runs",
        {"thread_id": thread_id, "input": input_json, "status": "done", "started_at": at, "updated_at": at},
    )
    row = {"thread_id": thread_id, "trace": 0, "input": input_json, "output": output, "status": "done"}
    yield insert_row("invocations", {**row, "tags": "[]", "started_at": at, "ended_at": at})


def last_trace(journal: Journal, thread_id: str) -> tuple[int, bool]:
    """Return the number of a thread's last input, -1 without any, and whether the run of it has ended."""
    sql = "SELECT trace, status FROM invocations WHERE thread_id = ? ORDER BY id DESC LIMIT 1"
    rows = journal.query(sql, (thread_id,))
    return (int(rows[0]["trace"]), rows[0]["status"] == "done") if rows else (-1, False)


@dataclass(frozen=True)
class Spent:
    """What the calls of a thread cost and took, wherever their answers came from; `paid` is what was paid."""

    cost: Cost
    seconds: float
    paid: Cost


def read_spent(journal: Journal, thread_id: str) -> Spent:
    """Return what a thread's calls cost; one whose answer came from elsewhere costs what it cost there."""
    rows = journal.query(
        "WITH RECURSIVE chain (id, at, depth) AS ("
        "  SELECT id, id, 0 FROM calls WHERE thread_id = ? AND status <> 'superseded'"
        "  UNION ALL SELECT chain.id, c.origin, chain.depth + 1 FROM chain"
        "  JOIN calls c ON c.id = chain.at WHERE c.source <> 'model' AND c.origin IS NOT NULL"
        "  AND chain.depth < 100"
        ") SELECT chain.depth, paid.status, paid.input_tokens, paid.output_tokens, paid.cost_usd, "
        "paid.estimated_tokens, paid.estimated_picos, paid.latency_s "
        "FROM chain JOIN calls paid ON paid.id = chain.at AND paid.source = 'model'",
        (thread_id,),
    )
    costs = [(row["depth"], cost_of_call(row)) for row in rows]
    return Spent(
        sum((cost for _, cost in costs), Cost()),
        sum(row["latency_s"] for row in rows),
        sum((cost for depth, cost in costs if depth == 0), Cost()),
    )
