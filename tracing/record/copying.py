"""Statements that write rows, and copy those of one thread to another: what a fork keeps."""

from __future__ import annotations

from typing import Literal

from ...state.journal.journal import Journal
from ...state.journal.records import Statement
from .spans import Row

_COLUMNS = {
    "checkpoints": "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata",
    "writes": "checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value",
}


def is_taken(journal: Journal, thread_id: str) -> bool:
    """Tell whether the file holds anything of a thread."""
    sql = "SELECT 1 FROM runs WHERE thread_id = ? UNION SELECT 1 FROM checkpoints WHERE thread_id = ?"
    return bool(journal.query(sql, (thread_id, thread_id)))


def pending_writes(journal: Journal, thread_id: str) -> list[Row]:
    """Return by which tasks, after which checkpoints, something was written."""
    keys = "checkpoint_ns, checkpoint_id, task_id"
    return journal.query(f"SELECT DISTINCT {keys} FROM writes WHERE thread_id = ?", (thread_id,))


def insert_row(table: str, row: Row) -> Statement:
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())


def copy_rows(table: Literal["checkpoints", "writes"], old: str, new: str, keys: Row) -> Statement:
    """Return what copies a thread's rows that have these keys."""
    where = " AND ".join(f"{name} = ?" for name in ("thread_id", *keys))
    columns = _COLUMNS[table]
    return (
        f"INSERT INTO {table} (thread_id, {columns}) SELECT ?, {columns} FROM {table} WHERE {where}",
        (new, old, *keys.values()),
    )
