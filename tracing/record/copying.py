"""Statements that write rows, and copy those of one thread to another: what a fork keeps."""

from __future__ import annotations

from ...state.journal.journal import Journal, Statement
from .spans import Row

_CHECKPOINT = "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
_WRITE = "checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value"


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


def copy_checkpoint(old: str, new: str, ns: str, checkpoint_id: str) -> Statement:
    return (
        f"INSERT INTO checkpoints (thread_id, {_CHECKPOINT}) SELECT ?, {_CHECKPOINT} FROM checkpoints "
        "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?",
        (new, old, ns, checkpoint_id),
    )


def copy_writes(old: str, new: str, written: Row) -> Statement:
    """Return what copies all that one task wrote after a checkpoint."""
    return (
        f"INSERT INTO writes (thread_id, {_WRITE}) SELECT ?, {_WRITE} FROM writes WHERE "
        "thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ? AND task_id = ?",
        (new, old, written["checkpoint_ns"], written["checkpoint_id"], written["task_id"]),
    )
