"""One SELECT in Postgres: read-only, for a while only, and with no function that does anything.

A transaction that only reads still lets a SELECT end other connections, take locks or read the server's
files, as far as its role may: by calling a function. Postgres itself knows which functions only compute.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

import psycopg

from ...state.database import PostgresAddress
from ...state.errors import InputError, did_you_mean
from ...state.journal.postgres.connecting import Connection, connect, explained
from ...state.journal.postgres.tables import names
from ...state.journal.views import VIEWS
from .called_functions import called_functions
from .sql_hints import columns_hint, named_in

# Postgres calls these volatile because they answer anew each time; they change nothing.
HARMLESS = (
    "clock_timestamp",
    "gen_random_uuid",
    "pg_database_size",
    "pg_indexes_size",
    "pg_relation_size",
    "pg_sleep",
    "pg_table_size",
    "pg_total_relation_size",
    "random",
    "timeofday",
)
_REFUSED = """
SELECT DISTINCT proname FROM pg_catalog.pg_proc WHERE proname = ANY($1) AND proname <> ALL($2)
AND (provolatile = 'v' OR pronamespace <> 'pg_catalog'::pg_catalog.regnamespace)
"""
_BEGINS = re.compile(r"(?is)(\s|--[^\n]*\n|/\*.*?\*/|\()*(SELECT|WITH|VALUES|TABLE)\b")
_NO_SUCH_COLUMN = "42703"
Found = tuple[list[str], list[tuple[Any, ...]]]


class Refused(Exception):
    """The text is no SELECT, or one that would do something; as text, what it is."""


def select(address: PostgresAddress, sql: str, *, limit: int, timeout_s: float) -> Found:
    """Return columns and at most `limit` rows of a SELECT. Raises Refused, InputError and StoreError."""
    if not _BEGINS.match(sql):
        raise Refused("that is no SELECT")
    try:
        called = called_functions(sql)
    except ValueError as error:
        raise Refused(str(error)) from None
    connection = connect(address)
    try:
        connection.execute("BEGIN READ ONLY")
        settings = {
            "search_path": f"{address.schema}, pg_catalog",
            "standard_conforming_strings": "on",
            "statement_timeout": str(max(1, math.ceil(timeout_s * 1000))),
        }
        for name, value in settings.items():
            connection.execute("SELECT set_config($1, $2, true)", (name, value))
        refused = connection.execute(_REFUSED, (sorted(called), list(HARMLESS))).fetchone()
        if refused is not None:
            raise Refused(f"the function {refused[0]}")
        return _read(connection, sql, limit)
    except psycopg.Error as error:
        if error.sqlstate == _NO_SUCH_COLUMN:
            raise _no_such_column(error, connection, address, sql) from None
        raise _explained(error, address, timeout_s) from None
    finally:
        connection.close()  # which also ends the transaction


def _read(connection: Connection, sql: str, limit: int) -> Found:
    # A cursor takes nothing but one query. In binary, Postgres refuses a second statement behind it.
    connection.execute(f"DECLARE found NO SCROLL CURSOR FOR {sql}".encode(), binary=True)
    cursor = connection.execute(f"FETCH {int(limit)} FROM found".encode())
    columns = [column.name for column in cursor.description or ()]
    return columns, [tuple(map(_as_sqlite, row)) for row in cursor.fetchall()]


def _as_sqlite(value: Any) -> Any:
    """Return a value in the type that SQLite gives it: a number, a text, bytes or None."""
    if value is None or type(value) in (int, float, str, bytes):
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return bytes(value) if isinstance(value, memoryview | bytearray) else str(value)


def _no_such_column(
    error: psycopg.Error, connection: Connection, address: PostgresAddress, sql: str
) -> InputError:
    text = str(error.diag.message_primary or error)
    named = named_in(sql, (*names(), *VIEWS))
    columns: dict[str, list[str]] = {name: [] for name in named}
    connection.execute("ROLLBACK")
    rows = connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = $1 "
        "AND table_name = ANY($2) ORDER BY ordinal_position",
        (address.schema, named),
    )
    for table, column in rows.fetchall():
        columns[table].append(column)
    wrong = text.removeprefix("column ").split(" does not")[0].strip('"').rpartition(".")[2]
    return InputError(f"{text[0].upper()}{text[1:]}. {columns_hint(wrong, columns)}")


def _explained(error: psycopg.Error, address: PostgresAddress, timeout_s: float) -> Exception:
    state, text = error.sqlstate or "", " ".join(str(error.diag.message_primary or error).split())
    if state == "57014":
        return InputError(f"The query took longer than {timeout_s:g} s. Narrow it down, or raise --timeout.")
    if state in ("25006", "0A000", "42501") or "multiple commands" in text:
        return Refused(text)
    if state == "42P01":
        hint = did_you_mean(text.split('"')[1], (*names(), *VIEWS))
        return InputError(f"{text[0].upper()}{text[1:]}. {hint}")
    if state[:2] in ("42", "22", "21", "54", "53"):
        return InputError(f"The query cannot be run: {text}.")
    return explained(error, address)
