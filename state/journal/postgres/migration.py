"""Makes or renews the tables in Postgres: in one transaction, and one process at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg

from ...database import PostgresAddress
from ...errors import StoreError
from ..migration import FORMER_COLUMNS, FORMER_INDEXES, LISTED
from ..tables import VERSION
from ..views import VIEWS
from .connecting import Connection
from .sql import translator
from .tables import column_statements, names, table_statements, view_statements

_LOCK = 0x57E96AF  # for pg_advisory_xact_lock: whoever holds it makes the tables


def migrate(connection: Connection, address: PostgresAddress) -> None:
    """Bring the schema to today's version; one of a newer version raises StoreError."""
    if _version(connection, address) == (VERSION, True):
        return
    translated = translator(address.schema, names())
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock($1)", (_LOCK,))
        version, is_todays = _version(connection, address)
        if version == VERSION and is_todays:  # another process was faster
            return
        result = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = $1", (address.schema,))
        statements = [] if result.fetchone() else [f"CREATE SCHEMA {address.schema}"]
        if version:
            statements += [*column_statements(), *(f"DROP VIEW IF EXISTS {view}" for view in VIEWS)]
            statements += [f"DROP INDEX IF EXISTS {address.schema}.{index}" for index in FORMER_INDEXES]
            _run(connection, [translated(each) for each in statements])
            statements = []
            for table, columns in FORMER_COLUMNS.items():
                _drop_columns(connection, f"{address.schema}.{table}", columns)
        statements += [*table_statements(), *view_statements()]
        statements += ["DELETE FROM format", f"INSERT INTO format (version) VALUES ({VERSION})"]
        _run(connection, [translated(each) for each in statements])


def _run(connection: Connection, statements: Iterable[str]) -> None:
    connection.execute("; ".join(each.strip().rstrip(";") for each in statements).encode())


def _drop_columns(connection: Connection, table: str, columns: Sequence[str]) -> None:
    """Drop what a table has no more; where a view of the user's own reads it, keep zeros, for good."""
    dropped = ", ".join(f"DROP COLUMN IF EXISTS {column}" for column in columns)
    try:
        with connection.transaction():
            connection.execute(f"ALTER TABLE IF EXISTS {table} {dropped}".encode())
    except psycopg.errors.DependentObjectsStillExist:
        zeros = [f"{column} = 0" for column in columns]
        name = f"no_{columns[0]}"
        _run(
            connection,
            [
                f"UPDATE {table} SET {', '.join(zeros)}",
                f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}",
                f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({' AND '.join(zeros)})",
            ],
        )


def _version(connection: Connection, address: PostgresAddress) -> tuple[int, bool]:
    """Return the version of the tables, 0 where there are none, and whether all of today's are there."""
    table = f"{address.schema}.format"
    # Asked of the catalogue itself: to_regclass may still answer from before another process made the table.
    sql = (
        "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
        "ON n.oid = c.relnamespace "
        f"WHERE n.nspname = $1 AND c.relname IN ('format', '{LISTED}', 'last_commits')"
    )
    tables = {name for (name,) in connection.execute(sql, (address.schema,)).fetchall()}
    if "format" not in tables:
        return 0, False
    row = connection.execute(f"SELECT max(version) FROM {table}".encode()).fetchone()
    version = int(row[0] or 0) if row else 0
    if version > VERSION:
        raise StoreError(
            f"{address} was written by a newer stepgraph (format {version}, this one knows "
            f"{VERSION}). Upgrade stepgraph, or name another database."
        )
    return version, tables >= {LISTED, "last_commits"}
