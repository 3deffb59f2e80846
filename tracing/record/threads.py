"""The threads of a file, each with its status and what it cost."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from ...state.cost import Cost
from ...state.errors import InputError, did_you_mean
from ...state.journal.journal import Journal
from ...state.journal.sums import cost_columns, cost_in
from ...state.journal.tables import running_time
from ...state.json_text import json_text
from ...state.statuses import RunStatus

_RAN = f"""coalesce((SELECT seconds FROM ({running_time(thread="r.thread_id")}) AS ran), 0.0)"""
_SELECT = f"""
SELECT r.thread_id, r.graph,
       coalesce(r.graph, (SELECT i.graph FROM invocations i WHERE i.thread_id = r.thread_id
                          ORDER BY i.id DESC LIMIT 1)) AS name,
       r.models, r.status, r.error, r.started_at, r.updated_at, {_RAN} AS seconds,
       {cost_columns("c.")}
FROM runs r LEFT JOIN calls c ON c.thread_id = r.thread_id
"""


@dataclass(frozen=True)
class Thread:
    """One thread. Status `running` may also mean that its process died.

    `graph` says what to load to go on with it, `name` only what ran last. `seconds` is the time in which
    its nodes ran.
    """

    thread_id: str
    graph: str | None
    name: str | None
    models: dict[str, str]
    status: RunStatus
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
    "costliest": "coalesce((SELECT sum(cost_picos) FROM calls WHERE thread_id = r.thread_id), 0) DESC",
    "longest": f"{_RAN} DESC, r.updated_at - r.started_at DESC",
}


@dataclass(frozen=True)
class Search:
    """Which threads: those with `text` in their id, graph or error, or as a user or tag."""

    text: str = ""
    status: str | None = None

    def where(self) -> tuple[str, list[Any]]:
        """Return the condition on the table `runs AS r`, and its values."""
        conditions, values = ["1 = 1"], []
        if self.text:
            # One database tells capitals from small letters in LIKE, the other does not.
            found_in = (
                f"lower(r.{name}) LIKE lower(?) ESCAPE '^'" for name in ("thread_id", "graph", "error")
            )
            like = "%" + re.sub(r"([%_^])", r"^\1", self.text) + "%"
            conditions.append(
                f"({' OR '.join(found_in)} "
                "OR EXISTS (SELECT 1 FROM invocations i WHERE i.thread_id = r.thread_id AND "
                "(i.\"user\" = ? OR replace(i.tags, ?, '') <> i.tags)))"
            )
            # A tag is found by its JSON, whose quotes stand nowhere else.
            values += [like, like, like, self.text, json_text(self.text)]
        if self.status:
            conditions.append("r.status = ?")
            values.append(self.status)
        return " AND ".join(conditions), values


EVERYTHING = Search()


def list_threads(
    journal: Journal,
    limit: int = 50,
    *,
    offset: int = 0,
    search: Search = EVERYTHING,
    order: Order = "latest",
) -> list[Thread]:
    """Return the threads that a search finds, the latest first."""
    where, values = search.where()
    by = f"ORDER BY {_ORDERS[order]}, r.rowid DESC"
    rows = journal.query(
        f"{_SELECT} WHERE r.rowid IN (SELECT r.rowid FROM runs r WHERE {where} {by} LIMIT ? OFFSET ?) "
        f"GROUP BY r.thread_id {by}",
        (*values, limit, offset),
    )
    return [_thread(row) for row in rows]


def count_threads(journal: Journal, search: Search = EVERYTHING) -> int:
    """Return how many threads a search finds."""
    where, values = search.where()
    return int(journal.query(f"SELECT count(*) AS n FROM runs r WHERE {where}", values)[0]["n"])


def _thread(row: dict[str, Any]) -> Thread:
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
    rows = journal.query(_SELECT + "WHERE r.thread_id = ? GROUP BY r.thread_id", (thread_id,))
    if not rows:
        known = [row["thread_id"] for row in journal.query("SELECT thread_id FROM runs")]
        hint = did_you_mean(thread_id, known) if len(known) < 20 else "`stepgraph threads` lists them."
        raise InputError(f"There is no thread {thread_id!r} in {journal.database}. {hint}")
    return _thread(rows[0])


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
    sql = "SELECT count(*) AS n, max(updated_at) AS at, (SELECT max(rowid) FROM calls) AS c FROM runs"
    return list(journal.query(sql)[0].values())


def count_statuses(journal: Journal) -> dict[str, int]:
    """Return how many threads there are with each status."""
    rows = journal.query("SELECT status, count(*) AS n FROM runs GROUP BY status ORDER BY status")
    return {row["status"]: int(row["n"]) for row in rows}
