"""Where a thread stands, as its record has it: the tasks that its last checkpoints led to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from .journal import Journal
from .records import Statement

_KEYED = ("calls", "node_runs", "decisions", "retrievals", "waits", "batch_requests", "replays")
_WITH_PATH = ("calls", "node_runs", "decisions", "retrievals", "batch_requests")
_CHECKPOINT = "type, checkpoint, metadata"
_WRITE = "task_id, task_path, idx, channel, type, value"
_AT = "thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"


def begun_with(journal: Journal, thread_id: str) -> tuple[str, str | None] | None:
    """Return the status of a thread, and the fingerprint of the graph that it ran with last."""
    rows = journal.query("SELECT status, fingerprint FROM runs WHERE thread_id = ?", (thread_id,))
    return (rows[0]["status"], rows[0]["fingerprint"]) if rows else None


def writers_at(journal: Journal, thread_id: str, ns: str, checkpoint_id: str) -> dict[str, str]:
    """Return the tasks that have written behind a checkpoint: LangGraph's path of each, by its id."""
    sql = f"SELECT DISTINCT task_id, task_path FROM writes WHERE {_AT}"
    rows = journal.query(sql, (thread_id, ns, checkpoint_id))
    return {row["task_id"]: row["task_path"] for row in rows}


def tasks_since(journal: Journal, thread_id: str, since: float) -> list[str]:
    """Return the tasks in which something was answered or ended since a time."""
    tables = {
        "calls": "status IN ('answered', 'rejected')",
        "node_runs": "status <> 'failed'",
        "retrievals": "status = 'found'",
    }
    sql = " UNION ".join(
        f"SELECT task FROM {table} WHERE thread_id = ? AND started_at >= ? AND {where}"
        for table, where in tables.items()
    )
    return [row["task"] for row in journal.query(sql, (thread_id, since) * len(tables))]


def effects_since(journal: Journal, thread_id: str, since: float) -> list[dict[str, Any]]:
    """Return the effects of a thread that began since a time, in nodes that have not ended since."""
    sql = (
        "SELECT key, path, status FROM effects e WHERE thread_id = ? AND started_at >= ? "
        "AND status <> 'undone' AND NOT EXISTS (SELECT 1 FROM node_runs n "
        "WHERE n.thread_id = e.thread_id AND n.path = e.path AND n.status = 'done' "
        "AND n.ended_at >= e.started_at) ORDER BY started_at"
    )
    return journal.query(sql, (thread_id, since))


def has_checkpoint(journal: Journal, thread_id: str) -> bool:
    """Tell whether a thread has come to its first checkpoint."""
    sql = "SELECT checkpoint_id FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = '' LIMIT 1"
    return bool(journal.query(sql, (thread_id,)))


def asked_by(journal: Journal, thread_id: str, task: str) -> list[Any]:
    """Return what a node execution has asked, in that order."""
    sql = (
        "SELECT interrupts FROM node_runs WHERE thread_id = ? AND task = ? AND status = 'interrupted' "
        "AND interrupts IS NOT NULL ORDER BY id"
    )
    rows = journal.query(sql, (thread_id, task))
    return [value for row in rows for value in json.loads(row["interrupts"])]


def archived(thread_id: str, ns: str, to: tuple[str, str], checkpoint_id: str) -> Iterator[Statement]:
    """Yield what keeps a checkpoint, with its writes, under another namespace and id too."""
    yield (
        "INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, "
        f"{_CHECKPOINT}) "
        f"SELECT thread_id, ?, ?, parent_checkpoint_id, {_CHECKPOINT} FROM checkpoints WHERE {_AT}",
        (*to, thread_id, ns, checkpoint_id),
    )
    yield (
        f"INSERT INTO writes (thread_id, checkpoint_ns, checkpoint_id, {_WRITE}) "
        f"SELECT thread_id, ?, ?, {_WRITE} FROM writes WHERE {_AT}",
        (*to, thread_id, ns, checkpoint_id),
    )


def cleared(thread_id: str, ns: str, checkpoint_id: str) -> Statement:
    """Return what removes the writes behind a checkpoint."""
    return f"DELETE FROM writes WHERE {_AT}", (thread_id, ns, checkpoint_id)


def is_kept(journal: Journal, thread_id: str, ns: str, checkpoint_id: str) -> bool:
    """Tell whether there is a checkpoint."""
    sql = f"SELECT checkpoint_id FROM checkpoints WHERE {_AT}"
    return bool(journal.query(sql, (thread_id, ns, checkpoint_id)))


def renamed_task(thread_id: str, old: str, new: str, old_path: str, new_path: str) -> Iterator[Statement]:
    """Yield what gives all that is on record of a task, and of those inside it, to another one."""
    columns = [*((table, "task") for table in _KEYED), *(("coalesced_calls", n) for n in ("task", "leader"))]
    for table, name in columns:
        changes, values = f"{name} = ? || substr({name}, length(?) + 1)", [new, old]
        if table in _WITH_PATH and old_path != new_path:
            changes += ", path = ? || substr(path, length(?) + 1)"
            values += [new_path, old_path]
        yield (
            f"UPDATE {table} SET {changes} "
            f"WHERE thread_id = ? AND ({name} = ? OR substr({name}, 1, length(?) + 1) = ? || '|')",
            (*values, thread_id, old, old, old),
        )


def goes_on_as(thread_id: str, fingerprint: str) -> Statement:
    """Return what notes the graph that a thread goes on with."""
    sql = "UPDATE runs SET fingerprint = ?, updated_at = ? WHERE thread_id = ?"
    return sql, (fingerprint, time.time(), thread_id)
