"""Opens a record only to read it: one of an earlier format is not made today's, but a copy of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..database import Database
from .tables import VERSION


@contextmanager
def readable(database: Database) -> Iterator[Database]:
    """Give the database, or the copy of a file that an earlier stepgraph wrote, which is gone at the end."""
    if not isinstance(database, Path) or not _is_older(database):
        yield database
        return
    with TemporaryDirectory(prefix="stepgraph-copy-") as folder:
        copy = Path(folder) / database.name
        with closing(_opened(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        yield copy


def _is_older(file: Path) -> bool:
    try:
        with closing(_opened(file)) as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error:  # told by whoever opens it as a record
        return False
    return 0 < version < VERSION


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
