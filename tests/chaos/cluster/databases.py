"""The databases of the kill matrix: how each is made, read from outside, and restarted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg

from cluster.postgres import PostgresServer

from ..compositions.trial import read

FENCED = (
    "runs node_runs decisions invocations replays coalesced_calls retrievals waits effects checkpoints writes"
).split()


class Database(Protocol):
    """One database for one trial."""

    @property
    def address(self) -> str | Path:
        """What a session opens."""
        ...

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return rows as an onlooker sees them, who changes nothing."""
        ...


def contents(database: Database) -> Mapping[str, list[str]]:
    """Return all that only the owner of a thread may write."""
    return {table: sorted(map(repr, database.rows(f"SELECT * FROM {table}"))) for table in FENCED}


@dataclass(frozen=True)
class SqliteDatabase:
    """A file."""

    address: Path

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return read(self.address, sql)


@dataclass(frozen=True)
class PostgresDatabase:
    """A database of one server; no connection outlives a call, because the matrix forks."""

    address: str
    server: PostgresServer

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(psycopg.connect(self.address, autocommit=True)) as connection:
            connection.execute("SET search_path = stepgraph, public")
            try:
                return connection.execute(sql.encode()).fetchall()
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
                return []  # killed before it had made the tables

    def restart(self) -> None:
        """Restart the server as after a crash."""
        self.server.restart("immediate")


@contextmanager
def databases(store: str, folder: Path, server: PostgresServer | None) -> Iterator[Database]:
    """Lend a database for one trial."""
    if store == "sqlite":
        yield SqliteDatabase(folder / "runs.sqlite")
        return
    assert server is not None
    url = server.lend()
    server.admin.close()
    try:
        yield PostgresDatabase(url, server)
    finally:
        server.take_back(url)
