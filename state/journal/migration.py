"""Makes a file that an earlier stepgraph wrote one of today's: in one transaction, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ..errors import StoreError
from ..money import PICOS
from .dialect import SQLITE
from .records import FORMER_SOURCES
from .tables import TABLES, VERSION
from .views import VIEWS, views

_TABLES = {"visits": "node_runs", "hits": "replays", "joins": "coalesced_calls"}
_COLUMNS = (
    ("node_runs", "asked", "interrupts"),
    ("replays", "at", "replayed_at"),
    ("effects", "began_at", "started_at"),
)
_VALUES = (
    ("calls", "source", None, "model"),  # format 2 added the column without its default
    *(("calls", "source", was, now) for was, now in FORMER_SOURCES.items()),
    ("effects", "status", "begun", "started"),
)
# What today's indexes take the place of; the last one covers other columns today.
FORMER_INDEXES = ("visits_thread", "hits_thread", "runs_updated", "node_runs_thread", "calls_sums")
LISTED = "runs_listed"  # format 9 had the indexes before this one
# Sums of another table's rows. An older process that still runs fails without them, where it would overspend.
FORMER_COLUMNS = {"budget_accounts": ("held_calls", "held_tokens", "held_picos")}


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Make or renew the tables of the journal; a file of a newer format raises StoreError.

    Whatever else is in the file stays as it is: LangGraph's tables, and views of the user's own, which
    SQLite makes follow the new names.
    """
    if _is_todays(connection, path):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _is_todays(connection, path):  # else another process was faster
            _rename(connection)
            _add_columns(connection)
            _add_amounts(connection)
            for view in VIEWS:
                connection.execute(f"DROP VIEW IF EXISTS {view}")
            _drop_columns(connection)
            for statement in statements_of(TABLES + views(SQLITE)):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def _is_todays(connection: sqlite3.Connection, path: Path) -> bool:
    """Tell whether a file has today's tables, with today's indexes."""
    if _version(connection, path) < VERSION:
        return False
    listed = "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?"
    return connection.execute(listed, (LISTED,)).fetchone() is not None


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise StoreError(
            f"{path} was written by a newer stepgraph (format {version}, this one knows "
            f"{VERSION}). Upgrade stepgraph, or name another file."
        )
    return version


def _rename(connection: sqlite3.Connection) -> None:
    for old, new in _TABLES.items():
        if _columns(connection, old) and not _columns(connection, new):
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
    for table, old, new in _COLUMNS:
        if old in _columns(connection, table):
            connection.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    for index in FORMER_INDEXES:
        connection.execute(f"DROP INDEX IF EXISTS {index}")
    for table, column, was, now in _VALUES:
        if column in _columns(connection, table):
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} IS ?", (now, was))


def _add_columns(connection: sqlite3.Connection) -> None:
    """Give each table the columns that it has today and lacks."""
    today = sqlite3.connect(":memory:")
    today.executescript(TABLES)
    for (table,) in today.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        known = _columns(connection, table)
        for _, name, kind, required, default, _ in today.execute(f"PRAGMA table_info({table})").fetchall():
            if known and name not in known:
                limits = f"{' NOT NULL' * required}{f' DEFAULT {default}' if default else ''}"
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}{limits}")
    today.close()


def _drop_columns(connection: sqlite3.Connection) -> None:
    """Drop what no table has any more. SQLite refuses to where a view of the user's own cannot be read."""
    for table, columns in FORMER_COLUMNS.items():
        for column in [each for each in columns if each in _columns(connection, table)]:
            try:
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
            except sqlite3.OperationalError:
                _retire(connection, table, column)


def _retire(connection: sqlite3.Connection, table: str, column: str) -> None:
    """Keep a column, as zeros, to which nobody can write."""
    connection.execute(f"UPDATE {table} SET {column} = 0")
    refused = f"BEGIN SELECT RAISE(ABORT, 'a newer stepgraph renewed this file: {column}'); END"
    for event, when in (("INSERT", f"WHEN NEW.{column} <> 0 "), (f"UPDATE OF {column}", "")):
        name = f"{column}_{event[:6].lower()}"
        connection.execute(f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {event} ON {table} {when}{refused}")


def _add_amounts(connection: sqlite3.Connection) -> None:
    """Give each call its cost as an exact amount, and what budgets were charged where nobody counted.

    Format 5 charged that too, and kept it as what was reserved for the call.
    """
    if not _columns(connection, "calls"):
        return
    cost = f"CAST(round(cost_usd * {PICOS}.0) AS INTEGER)"
    connection.execute(
        f"UPDATE calls SET cost_picos = {cost}, cost_usd = {cost} / {PICOS}.0 "
        "WHERE cost_usd IS NOT NULL AND cost_picos IS NULL"
    )
    reserved = "json_extract(reserved, '$.{}')"
    tokens = f"{reserved.format('tokens')} - coalesce(input_tokens, 0) - coalesce(output_tokens, 0)"
    counted = "input_tokens IS NOT NULL AND output_tokens IS NOT NULL"
    usd = f"CAST(round({reserved.format('usd')} * {PICOS}.0) AS INTEGER)"
    connection.execute(
        f"UPDATE calls SET "
        f"estimated_tokens = CASE WHEN NOT ({counted}) THEN nullif(max(0, {tokens}), 0) END, "
        f"estimated_picos = CASE WHEN cost_usd IS NULL THEN nullif({usd}, 0) END "
        f"WHERE source = 'model' AND status <> 'failed' AND json_valid(reserved) "
        f"AND (NOT ({counted}) OR cost_usd IS NULL)"
    )


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def statements_of(script: str) -> Iterator[str]:
    """Yield the script's statements: `executescript` would commit before the first one."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
