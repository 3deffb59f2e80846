"""What the file says of exports: which spans arrived where, and which threads have more to send."""

from __future__ import annotations

from ...state.journal.journal import Journal
from .spans import Query, Row


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
    scored = "coalesce((SELECT max(scored_at) FROM scores WHERE thread_id = ?1), 0)"
    rows: list[Row] = query(
        f"SELECT max(updated_at, {scored}) AS at FROM runs WHERE thread_id = ?1", (thread_id,)
    )
    return rows[0]["at"] if rows else None
