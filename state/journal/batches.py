"""The record of batches: which call waits for which request of which batch, and what came of it.

A batch is on record before anything of it is sent. So a process that goes on after a crash looks for it at
the provider instead of paying for it again. A request belongs to the call that will get its answer; as soon
as that call is on record (`calls.batch_request`), answered or failed, the request is used up.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

from ..statuses import BatchStatus
from .journal import Journal
from .lost import WrittenBy
from .records import CallKey, ThreadStatement


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch; times are Unix seconds."""

    id: str
    api: str
    address: str
    model: str
    requests: int
    status: BatchStatus
    provider_id: str | None = None
    file_id: str | None = None
    problem: str | None = None
    started_at: float = 0.0
    submitted_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request of a batch, and the call that waits for it."""

    id: str
    batch: str
    thread_id: str
    task: str
    path: str
    step: str
    request_hash: str
    occurrence: int

    def of(self, key: CallKey) -> BatchRequest:
        """Return the request as that of another call."""
        return replace(self, task=key.task, occurrence=key.occurrence)


_BATCH = ", ".join(f"b.{field.name}" for field in fields(Batch))
_NAMES = ", ".join(f"r.{field.name}" for field in fields(BatchRequest))
# Of requests for which a call may still wait.
_OPEN = (
    "FROM batch_requests r JOIN batches b ON b.id = r.batch WHERE b.status <> 'void' "
    "AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.batch_request = r.id)"
)


async def gather(journal: Journal, batch: Batch, requests: Sequence[BatchRequest]) -> None:
    """Put a batch on record, so that a loss of power does not undo it."""
    marks = ", ".join("?" * len(fields(Batch)))
    names = ", ".join(field.name for field in fields(Batch))
    row = (f"INSERT INTO batches ({names}) VALUES ({marks})", astuple(batch))
    own = ", ".join(field.name for field in fields(BatchRequest))
    into = f"INSERT INTO batch_requests ({own}) VALUES ({', '.join('?' * len(fields(BatchRequest)))})"
    await journal.awrite([row, *((into, astuple(request)) for request in requests)], durable=True)


async def find_request(
    journal: Journal, key: CallKey, path: str, written_by: WrittenBy
) -> BatchRequest | None:
    """Return the request of a batch that this very call waits for, if one was begun for it.

    It may be that of an equal call, whose answer this one waited for. Where the checkpoints of an earlier try
    are lost, it is the one of the task in whose place this one runs.
    """
    here = f"SELECT {_NAMES} {_OPEN} AND r.thread_id = ? AND r.request_hash = ?"
    place = (key.thread_id, key.request_hash)
    mine = (key.thread_id, key.task, key.request_hash, key.occurrence)
    leader = (
        "SELECT leader FROM coalesced_calls "
        "WHERE thread_id = ? AND task = ? AND request_hash = ? AND occurrence = ?"
    )
    sql = (
        f"{here} AND r.occurrence = ? AND (r.task = ? OR r.task = ({leader})) "
        "ORDER BY CASE WHEN r.task = ? THEN 0 ELSE 1 END, r.rowid DESC LIMIT 1"
    )
    rows = await journal.aquery(sql, (*place, key.occurrence, key.task, *mine, key.task))
    if rows:
        return BatchRequest(**rows[0])
    earlier = journal.earlier_try(key.thread_id)
    if earlier is None:
        return None
    sql = f"{here} AND r.path = ? AND b.started_at >= ? AND b.started_at < ? ORDER BY r.rowid"
    rows = await journal.aquery(sql, (*place, path, earlier.since, earlier.before))
    request = await earlier.find(key.task, [BatchRequest(**row) for row in rows], written_by)
    if request is None:
        return None
    earlier.claimed.add(request.id)
    sql = "UPDATE batch_requests SET task = ?, occurrence = ? WHERE id = ?"
    renamed = (sql, (key.task, key.occurrence, request.id))
    await journal.awrite([ThreadStatement(renamed, key.thread_id)])
    return request.of(key)


async def read_batch(journal: Journal, batch_id: str) -> Batch | None:
    """Return a batch, None if its threads were deleted meanwhile."""
    rows = await journal.aquery(f"SELECT {_BATCH} FROM batches b WHERE id = ?", (batch_id,))
    return Batch(**rows[0]) if rows else None


async def known_at(journal: Journal, address: str) -> set[str]:
    """Return the provider's ids of the batches that are known to be ours."""
    sql = "SELECT provider_id FROM batches WHERE address = ? AND provider_id IS NOT NULL"
    return {row["provider_id"] for row in await journal.aquery(sql, (address,))}


async def note(journal: Journal, batch_id: str, status: BatchStatus, **values: Any) -> None:
    """Record how a batch stands, so that a loss of power does not undo it; `values` are other columns."""
    named = {"status": status, **values}
    if status in ("ended", "void"):
        named["ended_at"] = time.time()
    sets = ", ".join(f"{name} = ?" for name in named)
    sql = f"UPDATE batches SET {sets} WHERE id = ?"
    await journal.awrite([(sql, (*named.values(), batch_id))], durable=True)


async def requests_of(journal: Journal, batch_id: str) -> list[str]:
    """Return the ids of a batch's requests."""
    rows = await journal.aquery("SELECT id FROM batch_requests WHERE batch = ?", (batch_id,))
    return [row["id"] for row in rows]


async def keep_results(
    journal: Journal, batch_id: str, results: Mapping[str, str], problem: str | None
) -> None:
    """Record the results of a batch, all at once, and that it has ended."""
    sql = "UPDATE batch_requests SET result = ? WHERE id = ? AND batch = ?"
    ended = "UPDATE batches SET status = 'ended', problem = ?, ended_at = ? WHERE id = ?"
    rows = [(sql, (result, request, batch_id)) for request, result in results.items()]
    await journal.awrite([*rows, (ended, (problem, time.time(), batch_id))])


async def result_of(journal: Journal, request_id: str) -> str | None:
    """Return what came of a request, as JSON; None where its batch was void."""
    rows = await journal.aquery("SELECT result FROM batch_requests WHERE id = ?", (request_id,))
    result: str | None = rows[0]["result"] if rows else None
    return result


def drop_result(journal: Journal, request_id: str) -> None:
    """Forget what came of a request, once the call that waited for it is on record."""
    sql = (
        "UPDATE batch_requests SET result = NULL "
        "WHERE id = ? AND EXISTS (SELECT 1 FROM calls c WHERE c.batch_request = batch_requests.id)"
    )
    journal.add_later((sql, (request_id,)))


async def forget_request(journal: Journal, request_id: str) -> None:
    """Let a call ask anew, as if it had never been in a batch."""
    await journal.awrite([("DELETE FROM batch_requests WHERE id = ?", (request_id,))])


@dataclass(frozen=True, slots=True)
class Awaited:
    """A batch that calls of a thread wait for; `calls` is how many."""

    batch: Batch
    calls: int


def awaited(journal: Journal, threads: Collection[str]) -> dict[str, list[Awaited]]:
    """Return the batches whose answers threads wait for, or can collect by now, unless they have ended."""
    if not threads:  # SQLite alone takes an empty list
        return {}
    marks = ", ".join("?" * len(threads))
    unended = f"r.thread_id IN (SELECT thread_id FROM runs WHERE status <> 'done' AND thread_id IN ({marks}))"
    sql = f"SELECT r.thread_id AS thread, count(*) AS calls, {_BATCH} {_OPEN} AND {unended}"
    batches: dict[str, list[Awaited]] = {thread: [] for thread in threads}
    for row in journal.query(f"{sql} GROUP BY r.thread_id, b.id ORDER BY b.started_at", tuple(threads)):
        thread, calls = row.pop("thread"), row.pop("calls")
        batches[thread].append(Awaited(Batch(**row), calls))
    return batches
