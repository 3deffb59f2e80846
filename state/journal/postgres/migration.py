"""Makes or renews the tables in Postgres: in one transaction, and one process at a time."""

from __future__ import annotations

from ...database import PostgresAddress
from ...errors import StoreError
from ..tables import VERSION
from ..views import VIEWS
from .connecting import Connection
from .sql import translator
from .tables import names, table_statements, view_statements

_LOCK = 0x57E96AF  # for pg_advisory_xact_lock: whoever holds it makes the tables


def migrate(connection: Connection, address: PostgresAddress) -> None:
    """Bring the schema to today's version; one of a newer version raises StoreError."""
    if _version(connection, address) == VERSION:
        return
    translated = translator(address.schema, names())
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s::bigint)", (_LOCK,))
        if _version(connection, address) == VERSION:  # another process was faster
            return
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (address.schema,))
        if found.fetchone() is None:
            connection.execute(f"CREATE SCHEMA {address.schema}".encode())
        for view in VIEWS:
            connection.execute(f"DROP VIEW IF EXISTS {address.schema}.{view}".encode())
        for statement in (*table_statements(), *view_statements()):
            connection.execute(translated(statement).replace("%%", "%").encode())
        connection.execute(f"DELETE FROM {address.schema}.format".encode())
        connection.execute(f"INSERT INTO {address.schema}.format (version) VALUES ({VERSION})".encode())


def _version(connection: Connection, address: PostgresAddress) -> int:
    """Return the version of the tables, 0 where there are none."""
    table = f"{address.schema}.format"
    there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    if there is None or not there[0]:
        return 0
    row = connection.execute(f"SELECT max(version) FROM {table}".encode()).fetchone()
    version = int(row[0] or 0) if row else 0
    if version > VERSION:
        raise StoreError(
            f"{address} was written by a newer stepgraph (format {version}, this one knows "
            f"{VERSION}). Upgrade stepgraph, or name another database."
        )
    return version
