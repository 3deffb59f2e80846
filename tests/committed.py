"""What another process would see of a session: what is committed, in a file or in Postgres."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from stepgraph import Session
from stepgraph.state.journal.opening import open_store
from stepgraph.state.journal.tables import TABLES


def committed(session: Session, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of a SELECT over a connection of its own."""
    reader = session.journal.store.reader()
    try:
        return [tuple(row.values()) for row in reader.query(sql, values)]
    finally:
        reader.close()


def everything(session: Session, *, without: Collection[str] = ()) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, in any order that stays."""
    session.journal.flush()  # what is still queued is written before
    names = [*re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", TABLES), "checkpoints", "writes"]
    return {
        name: sorted(committed(session, f"SELECT * FROM {name}"), key=repr)
        for name in names
        if name not in without
    }


def committed_at(database: str | Path, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a SELECT, of a database that another process may be about to make."""
    store = open_store(database)
    try:
        return store.rows(sql)
    finally:
        store.close()


def until_the_dead_are_known(database: Any) -> None:
    """Return once nobody holds a thread: a killed process's lease in Postgres ends by the clock."""
    store = open_store(database)
    try:
        held = f"SELECT 1 FROM claims WHERE expires_at > {store.dialect.now}"
        while not store.has_file and store.rows(held):
            time.sleep(0.05)
    finally:
        store.close()
