"""Read-only SQL over the record: one SELECT, with nothing in reach but the file's own tables."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...state.database import Database, database_of
from ...state.errors import InputError, did_you_mean
from ...state.journal.sqlite import connect, explained
from .sql_hints import columns_hint, named_in

_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_TICK = 10_000  # virtual machine steps between two looks at the clock
MAX_VALUE_BYTES = 64_000_000


@dataclass(frozen=True)
class QueryResult:
    """The rows of a SELECT; `more` says that the limit cut them off."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    more: bool

    def dicts(self) -> list[dict[str, Any]]:
        """Return the rows by column; columns of one name are numbered."""
        names: list[str] = []
        for name in self.columns:
            number = sum(known == name or known.startswith(f"{name}:") for known in names)
            names.append(f"{name}:{number + 1}" if number else name)
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def select(name: str | Database, sql: str, *, limit: int = 1000, timeout_s: float = 10.0) -> QueryResult:
    """Run one SELECT. Raises InputError for anything else, and for one that takes too long.

    A file is opened read-only, and SQLite itself is told to refuse whatever is not reading; Postgres runs
    it in a transaction that only reads, with no function that does more than to compute.
    """
    database = database_of(name)
    if isinstance(database, Path):
        return _select_in_file(database, sql, limit, timeout_s)
    from . import postgres_query  # its driver is loaded where it is used

    try:
        columns, rows = postgres_query.select(database, sql, limit=limit + 1, timeout_s=timeout_s)
    except postgres_query.Refused as refused:
        raise InputError(_only_select(f"Refused ({str(refused).rstrip('.')})")) from None
    return QueryResult(columns, rows[:limit], len(rows) > limit)


def _select_in_file(path: Path, sql: str, limit: int, timeout_s: float) -> QueryResult:
    connection = connect(path, read_only=True)
    try:
        connection.execute("PRAGMA query_only = ON")
        tables = [
            row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")
        ]
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        deadline = time.monotonic() + timeout_s
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _TICK)
        connection.set_authorizer(_authorize)
        cursor = connection.execute(sql)
        if cursor.description is None:
            raise InputError(_only_select("That is no SELECT"))
        rows = cursor.fetchmany(limit + 1)
        return QueryResult([column[0] for column in cursor.description], rows[:limit], len(rows) > limit)
    except (sqlite3.Error, sqlite3.Warning) as error:
        connection.set_authorizer(None)
        known = {table: _columns(connection, table) for table in named_in(sql, tables)}
        raise _explained(error, path, tables, timeout_s, known) from None
    finally:
        connection.close()


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    with suppress(sqlite3.Error):
        rows = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
        return [row[0] for row in rows]
    return []


def _authorize(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _only_select(problem: str) -> str:
    return f"{problem}. Only one SELECT can be run here: nothing is written, attached or set."


def _explained(
    error: Exception,
    path: Path,
    tables: list[str],
    timeout_s: float,
    columns: Mapping[str, Sequence[str]],
) -> Exception:
    text = str(error)
    if "interrupted" in text:
        return InputError(f"The query took longer than {timeout_s:g} s. Narrow it down, or raise --timeout.")
    if "authoriz" in text or "prohibited" in text or "one statement" in text:
        return InputError(_only_select(f"Refused ({text.rstrip('.')})"))
    if "no such table" in text:
        hint = did_you_mean(text.rpartition(": ")[2], tables)
        if "runs" in tables and "node_runs" not in tables:
            hint += (
                f" {path} has the tables of an older stepgraph; `stepgraph threads --db {path}` renews them."
            )
        return InputError(f"{text[0].upper()}{text[1:]}. {hint}")
    if "no such column" in text:
        wrong = text.rpartition(": ")[2].rpartition(".")[2]
        return InputError(f"{text[0].upper()}{text[1:]}. {columns_hint(wrong, columns)}")
    if any(
        word in text for word in ("syntax", "no such", "ambiguous", "incomplete", "too big", "unrecognized")
    ):
        return InputError(f"The query cannot be run: {text}.")
    return explained(error, path)
