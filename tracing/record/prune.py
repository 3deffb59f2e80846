"""Upkeep: delete threads, or the checkpoints they no longer need, and give the space back."""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...state.errors import InputError
from ...state.journal.dialect import Transaction
from ...state.journal.effects import lineage_of
from ...state.journal.records import Statement
from ...state.journal.run_states import run_state
from ...state.journal.sqlite import connect, explained
from ...state.run_context import RunContext, checkpoint_at
from ...state.session.session import Session
from ...state.statuses import RUNNING, UNFINISHED, RunState
from .lineage import Lineage, levels
from .plain_checkpoints import plain_checkpoints
from .threads import find_thread

LOCK_WAIT_MS = 5000
_RECORD = (
    "calls",
    "node_runs",
    "decisions",
    "invocations",
    "replays",
    "coalesced_calls",
    "retrievals",
    "waits",
    "batch_requests",
    "jobs",
    "job_answers",
    "job_parts",
    "escalations",
    "stream_listeners",
    "stream_events",
    "scores",
    "exports",
)
_TABLES = ("checkpoints", "writes", *_RECORD, "claims", "runs")
_USED = re.compile(rb";sha256=([0-9a-f]{64})")


@dataclass(frozen=True)
class PruneFilter:
    """Which threads to prune: those that fit everything that is set.

    `older_than_s` counts from a thread's last change, `keep` spares that many of the latest threads.
    `force` takes threads that seem to be running, too.
    """

    threads: Collection[str] = ()
    statuses: Collection[str] = ()
    older_than_s: float | None = None
    keep: int | None = None
    force: bool = False


@dataclass(frozen=True)
class PruneCandidate:
    """A thread that was chosen, and what of it would be deleted."""

    thread_id: str
    status: RunState
    updated_at: float
    checkpoints: int
    calls: int


def choose(session: Session, choice: PruneFilter, *, checkpoints_only: bool = False) -> list[PruneCandidate]:
    """Return the threads to prune, oldest first, and change nothing.

    Running threads, and those whose process died, are passed over, and refused where they were named; with
    `checkpoints_only` the same holds for all that have not ended. Raises InputError.
    """
    for thread_id in choice.threads:
        find_thread(session.journal, thread_id)
    rows = session.journal.query(
        f"SELECT r.thread_id, {run_state(session.journal)} AS status, r.updated_at, "
        "(SELECT count(*) FROM checkpoints c WHERE c.thread_id = r.thread_id) AS checkpoints, "
        "(SELECT count(*) FROM calls c WHERE c.thread_id = r.thread_id) AS calls, "
        "EXISTS (SELECT 1 FROM claims c WHERE c.thread_id = r.thread_id AND "
        f"c.expires_at > {session.journal.dialect.now}) AS claimed "
        "FROM runs r ORDER BY r.updated_at DESC, r.rowid DESC"
    )
    chosen: list[PruneCandidate] = []
    for number, row in enumerate(rows):
        busy = row.pop("claimed") or row["status"] == RUNNING
        candidate = PruneCandidate(**row)
        if number < (choice.keep or 0) or not _fits(candidate, choice):
            continue
        if busy and not choice.force:
            _refuse_named(candidate, choice, "seems to be running. If its process is dead, insist: --force.")
        elif candidate.status == UNFINISHED and not choice.force:
            _refuse_named(
                candidate, choice, "was cut short: a resume goes on. To delete it, insist: --force."
            )
        elif checkpoints_only and candidate.status != "done":
            _refuse_named(
                candidate, choice, f"is {candidate.status}: a resume may need all of its checkpoints."
            )
        else:
            chosen.append(candidate)
    return chosen[::-1]


def _fits(candidate: PruneCandidate, choice: PruneFilter) -> bool:
    age_s = time.time() - candidate.updated_at
    return (
        (not choice.threads or candidate.thread_id in choice.threads)
        and (not choice.statuses or candidate.status in choice.statuses)
        and (choice.older_than_s is None or age_s >= choice.older_than_s)
    )


def _refuse_named(candidate: PruneCandidate, choice: PruneFilter, why: str) -> None:
    if candidate.thread_id in choice.threads:
        raise InputError(f"The thread {candidate.thread_id!r} {why}")


def delete_threads(session: Session, threads: Sequence[str], *, effects: bool = False) -> None:
    """Delete all that the file holds of the threads.

    The records of side effects stay, because they keep a replay from repeating one, unless `effects`.
    Even then they stay for the forks of a thread, or the thread it was forked from, that are left.
    """
    for thread_id in threads:
        relative = _relative(session, thread_id) if effects else None
        deleted = delete_thread(thread_id)
        if relative is not None:
            deleted.append(("UPDATE effects SET thread_id = ? WHERE thread_id = ?", (relative, thread_id)))
        elif effects:
            deleted.append(("DELETE FROM effects WHERE thread_id = ?", (thread_id,)))
        session.journal.write(deleted)
    drop_unused_blobs(session)


def drop_unused_blobs(session: Session) -> None:
    """Delete the images and documents that no row refers to any more."""

    def drop(transaction: Transaction) -> None:
        # Whoever writes a row that refers to a blob writes the blob first: nobody may from here on.
        session.journal.dialect.keep_writers_out(transaction, "blobs")
        unused = {row["sha256"] for row in transaction.execute("SELECT sha256 FROM blobs")}
        if not unused:
            return
        for table in (*_TABLES, "effects"):
            for name in next(iter(transaction.execute(f"SELECT * FROM {table} LIMIT 1")), {}):
                refers = session.journal.dialect.mentions(f'"{name}"', ";sha256=")
                for row in transaction.execute(f'SELECT "{name}" AS value FROM {table} WHERE {refers}'):
                    value = row["value"]
                    data = value.encode("utf-8", "replace") if isinstance(value, str) else value
                    unused -= {each.decode() for each in _USED.findall(data)}
        for sha256 in unused:
            transaction.execute("DELETE FROM blobs WHERE sha256 = ?", (sha256,))

    session.journal.transact(drop)


def delete_thread(thread_id: str) -> list[Statement]:
    """Return the statements that delete a thread; its forks count as forks of what it was forked from."""
    adopt = (
        "UPDATE runs SET parent_thread = gone.parent_thread, parent_checkpoint = gone.parent_checkpoint "
        "FROM (SELECT * FROM runs WHERE thread_id = ?) AS gone "
        "WHERE runs.parent_thread = gone.thread_id AND gone.parent_thread IS NOT NULL"
    )
    deleted = [(f"DELETE FROM {table} WHERE thread_id = ?", (thread_id,)) for table in _TABLES]
    empty = "DELETE FROM batches WHERE NOT EXISTS (SELECT 1 FROM batch_requests r WHERE r.batch = batches.id)"
    return [(adopt, (thread_id,)), *deleted, (empty, ())]


def _relative(session: Session, thread_id: str) -> str | None:
    """Return another thread that shares its side effects with a thread, if there is one."""
    sql = (
        "WITH RECURSIVE family (id) AS (SELECT ? UNION "
        "SELECT r.thread_id FROM runs r JOIN family f ON r.parent_thread = f.id) "
        "SELECT thread_id FROM runs JOIN family ON thread_id = id WHERE id <> ? LIMIT 1"
    )
    rows = session.journal.query(sql, (lineage_of(session.journal, thread_id), thread_id))
    return rows[0]["thread_id"] if rows else None


def delete_checkpoints(session: Session, threads: Sequence[str]) -> int:
    """Delete of each ended thread all checkpoints but those that going on from its end takes.

    That is the last one of the root graph, and of graphs that keep their state across executions;
    with delta fields, those before it back to the last snapshot as well. Returns how many went.
    """
    gone = 0
    for thread_id in threads:
        keys = {(point.ns, point.id) for point in Lineage(session.journal, thread_id).points}
        # A namespace without a task's id is of a graph that keeps its state across its executions.
        lasting = {ns for ns, _ in keys if not any(levels(ns))}
        dropped = keys - set(_needed(session, thread_id, lasting))
        session.journal.write(
            (
                f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?",
                (thread_id, *key),
            )
            for key in dropped
            for table in ("checkpoints", "writes")
        )
        gone += len(dropped)
    drop_unused_blobs(session)
    return gone


def _needed(session: Session, thread_id: str, namespaces: Iterable[str]) -> Iterator[tuple[str, str]]:
    with plain_checkpoints(session) as checkpointer:
        for ns in namespaces:
            item = checkpointer.get_tuple(checkpoint_at(thread_id, ns))
            if item is None:
                continue
            waiting = set(item.metadata.get("counters_since_delta_snapshot", {}))
            while item is not None:
                yield ns, RunContext.of(item.config).checkpoint_id
                waiting -= set(item.checkpoint["channel_values"])
                parent = item.parent_config if waiting else None
                item = checkpointer.get_tuple(parent) if parent else None


@dataclass(frozen=True)
class ShrinkResult:
    """The size of the file with its write-ahead log, in bytes; `problem` says why it is not smaller."""

    before: int
    after: int
    problem: str | None = None


def shrink(path: Path) -> ShrinkResult:
    """Give unused space back to the disk.

    It takes nearly as much free disk as what is left in the file, twice, and that no other process
    reads or writes the file meanwhile. What stands in the way is told in `problem`.
    """
    before = _size(path)
    in_use = f"Another program uses {path}, so it keeps its size. End that one, then prune once more."
    connection = connect(path)
    try:
        pages, unused, page_size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        needed = 2 * (pages - unused) * page_size
        free = shutil.disk_usage(path.absolute().parent).free
        if free < needed:
            problem = f"Shrinking {path} takes {needed:,} bytes of free disk; there are {free:,}. Free some."
            return ShrinkResult(before, before, problem)
        connection.execute(f"PRAGMA busy_timeout = {LOCK_WAIT_MS}")
        connection.execute("VACUUM")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return ShrinkResult(before, _size(path), in_use if busy else None)
    except sqlite3.Error as error:
        locked = "locked" in str(error) or "busy" in str(error)
        return ShrinkResult(before, before, in_use if locked else str(explained(error, path)))
    finally:
        connection.close()


def _size(path: Path) -> int:
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)
