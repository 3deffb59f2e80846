"""The record of waits: until when a node execution waits, for the time itself or for a person's answer.

The first word stands: a node that is entered again, after a restart or an answer beside it, waits no longer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime

from ..statuses import WaitKind, WaitStatus
from .journal import Journal
from .records import ThreadStatement


@dataclass(frozen=True)
class WaitRecord:
    """One row; times are Unix seconds of the session's clock."""

    thread_id: str
    task: str
    name: str
    kind: WaitKind
    due: float
    status: WaitStatus
    started_at: float
    ended_at: float | None

    @property
    def until(self) -> datetime:
        return datetime.fromtimestamp(self.due, UTC)


_NAMES = ", ".join(field.name for field in fields(WaitRecord))


def find_wait(journal: Journal, thread_id: str, task: str, name: str) -> WaitRecord | None:
    """Return the record of a wait."""
    sql = f"SELECT {_NAMES} FROM waits WHERE thread_id = ? AND task = ? AND name = ?"
    rows = journal.query(sql, (thread_id, task, name))
    return WaitRecord(**rows[0]) if rows else None


async def begin_wait(journal: Journal, wait: WaitRecord) -> WaitRecord:
    """Record that a wait begins, so that a loss of power does not begin it anew; return what stands."""
    names = "thread_id, task, name, kind, due, status, started_at"
    sql = f"INSERT INTO waits ({names}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    values = (wait.thread_id, wait.task, wait.name, wait.kind, wait.due, wait.status, wait.started_at)
    await journal.awrite([ThreadStatement((sql, values), wait.thread_id)], durable=True)
    return find_wait(journal, wait.thread_id, wait.task, wait.name) or wait


async def end_wait(journal: Journal, wait: WaitRecord, status: WaitStatus, at: datetime) -> None:
    """Record that a wait has ended: its time has come, or an answer came before."""
    sql = "UPDATE waits SET status = ?, ended_at = ? WHERE thread_id = ? AND task = ? AND name = ?"
    values = (status, at.timestamp(), wait.thread_id, wait.task, wait.name)
    await journal.awrite([ThreadStatement((sql, values), wait.thread_id)])


def waits_of(journal: Journal, thread_id: str, kind: WaitKind | None = None) -> list[WaitRecord]:
    """Return a thread's waits, the oldest first."""
    of_kind, values = ("", (thread_id,)) if kind is None else (" AND kind = ?", (thread_id, kind))
    sql = f"SELECT {_NAMES} FROM waits WHERE thread_id = ?{of_kind} ORDER BY started_at"
    return [WaitRecord(**row) for row in journal.query(sql, values)]


def threads_due(journal: Journal, now: float) -> list[str]:
    """Return the threads with a wait whose time has come, the one that waits longest first."""
    sql = (
        "SELECT thread_id FROM waits WHERE status = 'waiting' AND due <= ? "
        "GROUP BY thread_id ORDER BY min(due), thread_id"
    )
    return [row["thread_id"] for row in journal.query(sql, (now,))]
