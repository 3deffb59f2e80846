"""The threads of a file, each with its status and what it cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from ...state.cost import Cost
from ...state.errors import InputError, did_you_mean
from ...state.journal.journal import Journal
from ...state.journal.records import bindable
from ...state.journal.run_states import holding, run_state
from ...state.journal.sums import cost_columns, cost_in
from ...state.statuses import RunState
from .search import COST, EVERYTHING, RAN, Search

_THREADS = f"""
SELECT r.thread_id, r.graph,
       coalesce(r.graph, (SELECT i.graph FROM invocations i WHERE i.thread_id = r.thread_id
                          ORDER BY i.id DESC LIMIT 1)) AS name,
       r.models, {{stands}} AS status, r.error, r.started_at, r.updated_at, {RAN} AS seconds,
       {cost_columns("c.")}
FROM runs r LEFT JOIN calls c ON c.thread_id = r.thread_id
"""


def select_threads(journal: Journal) -> str:
    """Return the beginning of a SELECT of threads, up to its WHERE."""
    return _THREADS.format(stands=run_state(journal))


@dataclass(frozen=True)
class Thread:
    """One thread. Its status is `unfinished` where its process died.

    `graph` says what to load to go on with it, `name` only what ran last. `seconds` is the time in which
    its nodes ran.
    """

    thread_id: str
    graph: str | None
    name: str | None
    models: dict[str, str]
    status: RunState
    error: str | None
    started_at: float
    updated_at: float
    cost: Cost
    seconds: float = 0.0

    @property
    def waited_s(self) -> float:
        """The rest of the time from its beginning to its last change.

        It waited in a queue, for a person, or for somebody to go on with it.
        """
        return max(0.0, self.updated_at - self.started_at - self.seconds)


Order = Literal["latest", "costliest", "longest"]
_ORDERS: dict[Order, str] = {
    "latest": "r.updated_at DESC",
    "costliest": f"{COST} DESC",
    "longest": f"{RAN} DESC, r.updated_at - r.started_at DESC",
}


def list_threads(
    journal: Journal,
    limit: int = 50,
    *,
    offset: int = 0,
    search: Search = EVERYTHING,
    order: Order = "latest",
) -> list[Thread]:
    """Return the threads that a search finds, the latest first."""
    if order == "longest":
        search = ran_longest(journal, search, offset + limit)
    where, values = search.where(journal)
    by = f"ORDER BY {_ORDERS[order]}, r.rowid DESC"
    rows = journal.query(
        f"{select_threads(journal)} "
        f"WHERE r.rowid IN (SELECT r.rowid FROM runs r WHERE {where} {by} LIMIT ? OFFSET ?) "
        f"GROUP BY r.thread_id {by}",
        (*values, limit, offset),
    )
    return [thread_of(row) for row in rows]


def ran_longest(journal: Journal, search: Search, most: int) -> Search:
    """Return a search that finds so many of the threads that ran longest, and looks closely at few others.

    As many that took longest in all, which is quick to see, say how long each of the others must have run.
    """
    where, values = search.where(journal)
    took = f"SELECT r.rowid FROM runs r WHERE {where} ORDER BY r.updated_at - r.started_at DESC LIMIT ?"
    (row,) = journal.query(
        f"SELECT count(*) AS n, min(seconds) AS least FROM (SELECT {RAN} AS seconds FROM runs r "
        f"WHERE r.rowid IN ({took})) AS candidates",
        (*values, most),
    )
    if row["n"] < most:
        return search
    return replace(search, min_seconds=max(row["least"], search.min_seconds or 0.0))


def count_threads(journal: Journal, search: Search = EVERYTHING) -> int:
    """Return how many threads a search finds."""
    where, values = search.where(journal)
    return int(journal.query(f"SELECT count(*) AS n FROM runs r WHERE {where}", values)[0]["n"])


def thread_of(row: dict[str, Any]) -> Thread:
    own = {field.name: row[field.name] for field in fields(Thread) if field.name in row}
    return Thread(**{**own, "models": specs_in(row["models"]), "cost": cost_in(row)})


def specs_in(models: str | None) -> dict[str, str]:
    """Return the models on record by their roles; only specs are taken, for a file may come from anywhere."""
    named = json.loads(models or "{}")
    if not isinstance(named, dict):
        return {}
    return {role: spec for role, spec in named.items() if isinstance(spec, str)}


def find_thread(journal: Journal, thread_id: str) -> Thread:
    """Return one thread. Raises InputError for an unknown one."""
    sql = f"{select_threads(journal)} WHERE r.thread_id = ? GROUP BY r.thread_id"
    can_be_kept = bindable(thread_id) == thread_id and "\0" not in thread_id
    rows = journal.query(sql, (thread_id,)) if can_be_kept else []
    if not rows:
        known = [row["thread_id"] for row in journal.query("SELECT thread_id FROM runs")]
        hint = did_you_mean(thread_id, known) if len(known) < 20 else "`stepgraph threads` lists them."
        raise InputError(f"There is no thread {thread_id!r} in {journal.database}. {hint}")
    return thread_of(rows[0])


def is_known(journal: Journal, thread_id: str) -> bool:
    """Tell whether the file holds a run of a thread."""
    return bool(journal.query("SELECT 1 FROM runs WHERE thread_id = ?", (thread_id,)))


def choose_threads(journal: Journal, threads: Sequence[str]) -> list[str]:
    """Return these threads, or, without any, all of the file, oldest first. Raises InputError."""
    if threads:
        return [find_thread(journal, thread).thread_id for thread in threads]
    rows = journal.query("SELECT thread_id FROM runs ORDER BY started_at, rowid")
    return [row["thread_id"] for row in rows]


def list_version(journal: Journal) -> list[Any]:
    """Return what changes whenever the list of threads does."""
    held = f"SELECT count(*) FROM claims k WHERE {holding(journal)}"  # fewer where one's process died
    sql = (
        "SELECT count(*) AS n, max(updated_at) AS at, (SELECT max(rowid) FROM calls) AS c, "
        f"({held}) AS held FROM runs"
    )
    return list(journal.query(sql)[0].values())


def count_statuses(journal: Journal) -> dict[str, int]:
    """Return how many threads there are with each status, those of most threads first."""
    of_each = f"SELECT {run_state(journal)} AS stands FROM runs r"
    rows = journal.query(f"SELECT stands, count(*) AS n FROM ({of_each}) AS each GROUP BY stands")
    return {row["stands"]: int(row["n"]) for row in sorted(rows, key=lambda row: -row["n"])}
