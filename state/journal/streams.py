"""What workers write for those who listen to their threads, and what was answered before somebody listened.

It is kept for some seconds only: who comes later reads the answers themselves.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .jobs import JobStatus
from .journal import Journal
from .records import Statement

LISTENS_S: Final = 15.0
KEPT_S: Final = 15.0
AT_ONCE: Final = 100  # threads, in one statement


class Cursor(NamedTuple):
    """How far somebody has heard: the turn, and the number within it."""

    epoch: int
    number: int


class Written(NamedTuple):
    """What was written at once for a thread."""

    thread_id: str
    at: Cursor
    events: list[Any]


class Standing(NamedTuple):
    """How a job stands, and in which turn."""

    status: JobStatus
    epoch: int


@dataclass(frozen=True)
class Answered:
    """An answered call, as much of it as whoever listens is told."""

    id: str
    task: str
    step: str
    request_hash: str
    occurrence: int
    model: str
    answer: str | None
    reasoning: str | None
    tool_calls: list[dict[str, Any]]
    finish_reason: str | None


# Whoever listens


async def listen(journal: Journal, listeners: Iterable[tuple[str, str]]) -> None:
    """Say which clients listen, each to a thread, for the next seconds: at once for all of them."""
    now = journal.dialect.now
    sql = (
        f"INSERT INTO stream_listeners (thread_id, client, expires_at) VALUES (?, ?, {now} + ?) "
        "ON CONFLICT (thread_id, client) DO UPDATE SET expires_at = excluded.expires_at"
    )
    await journal.awrite([(sql, (thread, client, LISTENS_S)) for thread, client in listeners])


async def unlisten(journal: Journal, thread_id: str, client: str) -> None:
    """Say that a client listens no more."""
    sql = "DELETE FROM stream_listeners WHERE thread_id = ? AND client = ?"
    await journal.awrite([(sql, (thread_id, client))])


async def last_written(journal: Journal, thread_id: str) -> Cursor:
    """Return where what is written from now on begins."""
    sql = (
        "SELECT epoch, number FROM stream_events WHERE thread_id = ? ORDER BY epoch DESC, number DESC LIMIT 1"
    )
    rows = await journal.aquery(sql, (thread_id,))
    return Cursor(rows[0]["epoch"], rows[0]["number"]) if rows else Cursor(-1, 0)


async def heard_since(journal: Journal, cursors: Mapping[str, Cursor]) -> list[Written]:
    """Return what was written for threads since each was heard last, in order."""
    events: list[Written] = []
    threads = list(cursors)
    for start in range(0, len(threads), AT_ONCE):
        some = threads[start : start + AT_ONCE]
        marks = ", ".join(["(?, ?, ?)"] * len(some))
        values = [v for thread in some for v in (thread, *cursors[thread])]
        sql = (
            f"WITH heard (thread_id, epoch, number) AS (VALUES {marks}) "
            "SELECT e.thread_id, e.epoch, e.number, e.events FROM heard h JOIN stream_events e "
            "ON e.thread_id = h.thread_id AND (e.epoch, e.number) > (h.epoch, h.number) "
            "ORDER BY e.thread_id, e.epoch, e.number"
        )
        for row in await journal.aquery(sql, values):
            at = Cursor(row["epoch"], row["number"])
            events.append(Written(row["thread_id"], at, json.loads(row["events"])))
    return events


async def standings(journal: Journal, threads: Collection[str]) -> dict[str, Standing]:
    """Return how jobs stand."""
    by_thread: dict[str, Standing] = {}
    ids = list(threads)
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        sql = f"SELECT thread_id, status, epoch FROM jobs WHERE thread_id IN ({', '.join('?' * len(some))})"
        for row in await journal.aquery(sql, some):
            by_thread[row["thread_id"]] = Standing(row["status"], row["epoch"])
    return by_thread


async def answered_calls(journal: Journal, thread_id: str, trace: int, after: float) -> list[Answered]:
    """Return the answered calls of a thread's input that began at a time or later, the oldest first."""
    sql = (
        "SELECT id, task, step, request_hash, occurrence, coalesce(model_answered, model_asked) AS model, "
        "answer, reasoning, tool_calls, finish_reason FROM calls "
        "WHERE thread_id = ? AND status = 'answered' AND started_at >= ? AND started_at >= "
        "(SELECT coalesce(min(i.started_at), 0) FROM invocations i WHERE i.thread_id = ? AND i.trace = ?) "
        "ORDER BY started_at"
    )
    rows = await journal.aquery(sql, (thread_id, after, thread_id, trace))
    return [Answered(**{**row, "tool_calls": json.loads(row["tool_calls"] or "[]")}) for row in rows]


# Workers


async def listeners(journal: Journal) -> dict[str, set[str]]:
    """Return the clients that listen, by threads."""
    sql = f"SELECT thread_id, client FROM stream_listeners WHERE expires_at > {journal.dialect.now}"
    clients: dict[str, set[str]] = defaultdict(set)
    for row in await journal.aquery(sql):
        clients[row["thread_id"]].add(row["client"])
    return clients


def written(journal: Journal, events: Sequence[tuple[str, Cursor, str]]) -> list[Statement]:
    """Return the statements that write events, as JSON, for whoever listens to threads."""
    row = f"(?, ?, ?, ?, {journal.dialect.now})"
    statements: list[Statement] = []
    for start in range(0, len(events), AT_ONCE):
        some = events[start : start + AT_ONCE]
        sql = (
            "INSERT INTO stream_events (thread_id, epoch, number, events, written_at) "
            f"VALUES {', '.join([row] * len(some))} ON CONFLICT DO NOTHING"
        )
        statements.append((sql, [v for thread, at, events in some for v in (thread, *at, events)]))
    return statements


def forgotten(journal: Journal) -> list[Statement]:
    """Return the statements that forget what was heard, and who went away without a word."""
    now = journal.dialect.now
    return [
        (f"DELETE FROM stream_events WHERE written_at < {now} - ?", (KEPT_S,)),
        (f"DELETE FROM stream_listeners WHERE expires_at < {now}", ()),
    ]
