"""Opens the store that a database's name stands for."""

from __future__ import annotations

from pathlib import Path

from ..database import PostgresAddress, database_of
from .sqlite_store import SqliteStore
from .store import Store


def open_store(name: str | Path | PostgresAddress) -> Store:
    """Open a database, and make or renew its tables. Raises StoreError if it cannot be used."""
    database = database_of(name)
    if isinstance(database, Path):
        return SqliteStore(database)
    from .postgres.store import PostgresStore  # its driver is loaded where it is used

    return PostgresStore(database)
