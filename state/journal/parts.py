"""The record of parts: threads to which another one's fan-out has given some of its items."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .jobs import JobRecord, JobStatus, new_job
from .journal import Journal
from .records import Statement


@dataclass(frozen=True)
class PartRecord:
    """One row. `task` is the node execution that shares its items out, `place` which fan-out of the graph."""

    thread_id: str
    parent: str
    task: str
    place: str
    first: int
    items: bytes


@dataclass(frozen=True)
class PartStanding:
    """How a part stands; `is_told` says that its parent was resumed since it has stopped."""

    thread_id: str
    place: str
    first: int
    status: JobStatus
    kind: str | None
    is_told: bool


def begin_parts(journal: Journal, parts: Iterable[tuple[PartRecord, JobRecord]]) -> None:
    """Put parts on record with their jobs, unless they are there."""
    sql = (
        "INSERT INTO job_parts (thread_id, parent, task, place, first, items) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (thread_id) DO NOTHING"
    )
    statements: list[Statement] = []
    for part, job in parts:
        row = (part.thread_id, part.parent, part.task, part.place, part.first, part.items)
        statements += [(sql, row), *new_job(journal, job)]
    journal.write(statements)


def find_part(journal: Journal, thread_id: str) -> PartRecord | None:
    """Return what a thread is a part of, None if it is none."""
    sql = "SELECT thread_id, parent, task, place, first, items FROM job_parts WHERE thread_id = ?"
    rows = journal.query(sql, (thread_id,))
    return PartRecord(**rows[0]) if rows else None


def parts_of(journal: Journal, parent: str, task: str) -> list[PartStanding]:
    """Return how the parts stand of one node execution, in the order of their items."""
    sql = (
        "SELECT p.thread_id, p.place, p.first, j.status, j.kind, p.is_told FROM job_parts p "
        "JOIN jobs j ON j.thread_id = p.thread_id WHERE p.parent = ? AND p.task = ? ORDER BY p.first"
    )
    rows = journal.query(sql, (parent, task))
    return [PartStanding(**{**row, "is_told": bool(row["is_told"])}) for row in rows]


def open_parts(journal: Journal, parent: str) -> list[tuple[str, str, str]]:
    """Return the thread, graph and engine of each part of a thread that is not over."""
    sql = (
        "SELECT j.thread_id, j.graph, j.engine FROM job_parts p JOIN jobs j ON j.thread_id = p.thread_id "
        "WHERE p.parent = ? AND j.status NOT IN ('done', 'partial', 'failed', 'canceled')"
    )
    return [(row["thread_id"], row["graph"], row["engine"]) for row in journal.query(sql, (parent,))]


def has_parts(journal: Journal, parent: str) -> bool:
    """Tell whether a thread has shared anything out."""
    return bool(journal.query("SELECT 1 FROM job_parts WHERE parent = ? LIMIT 1", (parent,)))


def begin_again(journal: Journal, thread_id: str) -> None:
    """Record that a part goes on: should it stop, its parent does too."""
    journal.write([("UPDATE job_parts SET is_told = 0 WHERE thread_id = ?", (thread_id,))])
