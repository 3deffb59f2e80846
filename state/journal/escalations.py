"""The record of whom a review has asked, and when: kept, so that each is asked once, over restarts too."""

from __future__ import annotations

from dataclasses import dataclass

from .journal import Journal
from .records import ThreadStatement


@dataclass(frozen=True)
class Asking:
    """One who was asked; times are Unix seconds of the session's clock. `until` is when the next one is."""

    number: int
    asked: str
    asked_at: float
    until: float | None


def askings_of(journal: Journal, thread_id: str, task: str, name: str) -> list[Asking]:
    """Return whom a review has asked, in order."""
    sql = (
        "SELECT number, asked, asked_at, until FROM escalations "
        "WHERE thread_id = ? AND task = ? AND name = ? ORDER BY number"
    )
    return [Asking(**row) for row in journal.query(sql, (thread_id, task, name))]


async def ask_next(journal: Journal, thread_id: str, task: str, name: str, asking: Asking) -> None:
    """Record that somebody is asked, in the place of those before."""
    place = (thread_id, task, name)
    before = "UPDATE escalations SET until = NULL WHERE thread_id = ? AND task = ? AND name = ?"
    sql = (
        "INSERT INTO escalations (thread_id, task, name, number, asked, asked_at, until) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    )
    values = (*place, asking.number, asking.asked, asking.asked_at, asking.until)
    statements = [ThreadStatement((before, place), thread_id), ThreadStatement((sql, values), thread_id)]
    await journal.awrite(statements, durable=True)


async def end_asking(journal: Journal, thread_id: str, task: str, name: str) -> None:
    """Record that nobody more is asked: the review has its answer, or its time is over."""
    sql = "UPDATE escalations SET until = NULL WHERE thread_id = ? AND task = ? AND name = ?"
    await journal.awrite([ThreadStatement((sql, (thread_id, task, name)), thread_id)])


def threads_to_escalate(journal: Journal, now: float) -> list[str]:
    """Return the threads with a review that is to ask the next one, the one that waits longest first."""
    sql = (
        "SELECT thread_id FROM escalations WHERE until <= ? GROUP BY thread_id ORDER BY min(until), thread_id"
    )
    return [row["thread_id"] for row in journal.query(sql, (now,))]
