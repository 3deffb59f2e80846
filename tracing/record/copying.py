"""Statements that write rows, and copy those of one thread to another: what a fork keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from ...state.journal.journal import Journal
from ...state.journal.records import Statement
from .spans import Row

_NOT_OF_THE_THREAD = ("claims", "exports", "scores")
_BLOBS = re.compile(rb";sha256=([0-9a-f]{64})")
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


def copies_of(source: Journal, target: Journal, thread_id: str) -> Iterator[Statement]:
    """Yield what writes all that a record holds of a thread to an empty SQLite record of today's format."""
    listed = "SELECT m.name AS name, p.name AS field FROM sqlite_master m, pragma_table_info(m.name) p "
    tables: dict[str, list[str]] = {}
    for row in target.query(f"{listed} WHERE m.type = 'table'"):
        tables.setdefault(row["name"], []).append(row["field"])
    used: dict[str, None] = {}
    for table, columns in tables.items():
        if "thread_id" not in columns or table in _NOT_OF_THE_THREAD:
            continue
        names = ", ".join(f'"{name}"' for name in columns)
        for row in source.query(f"SELECT {names} FROM {table} WHERE thread_id = ?", (thread_id,)):
            for value in row.values():
                if isinstance(value, (str, bytes)):
                    text = value if isinstance(value, bytes) else value.encode("utf-8", "replace")
                    used.update((found.decode(), None) for found in _BLOBS.findall(text))
            yield insert_row(table, {f'"{name}"': value for name, value in row.items()})
    for name in used:
        for row in source.query("SELECT sha256, media_type, size, data FROM blobs WHERE sha256 = ?", (name,)):
            yield insert_row("blobs", row)
