"""Makes Postgres's SQL of our portable one: marks, names of tables, and what LangGraph wrote for SQLite."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import count

from ..dialect import Dialect, Transaction

KEYS = {
    "budget_holds": ("scope", "per", "starts_at", "owner"),
    "runs": ("thread_id",),
    "decisions": ("thread_id", "task"),
    "coalesced_calls": ("thread_id", "task", "request_hash", "occurrence"),
    "checkpoints": ("thread_id", "checkpoint_ns", "checkpoint_id"),
    "writes": ("thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx"),
}
_PARTS = re.compile(r"('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*)")  # literals, quoted names, remarks
_TABLE = re.compile(r"(?i)\b(from|join|into|update|table|view|on|exists)(\s+)(\w+)\b(?![.(])")
_REPLACE = re.compile(r"(?is)^\s*INSERT OR REPLACE INTO (\w+) \(([^)]*)\)")
_IGNORE = re.compile(r"(?is)^\s*INSERT OR IGNORE INTO")
TYPES = {"INTEGER": "BIGINT", "REAL": "DOUBLE PRECISION", "BLOB": "BYTEA"}
_QUERY = re.compile(r"(?i)[\s(]*(SELECT|WITH|VALUES)\b")
_WRITES = re.compile(r"(?i)\b(INSERT\s+INTO|DELETE\s+FROM|UPDATE\s+\w+\s+SET|(MERGE|REPLACE)\s+INTO)\b")
_CAST = re.compile(r"(?i)\bAS (INTEGER|REAL|BLOB)\)")
_USER = re.compile(r"(?i)\buser\b")  # a column of ours; Postgres takes the word for whoever is connected
_NULL = re.compile(r"(\$\d+) IS(?= (?:NOT )?NULL)")
_FILTERED = re.compile(r"json_extract\(CAST\(metadata AS TEXT\), '\$\.([\w.-]+)'\)( = \?| IS \?)?")


class PostgresDialect(Dialect):
    """Postgres's own words."""

    name = "postgresql"
    now = "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"
    for_share = " FOR SHARE"
    for_update = " FOR UPDATE"

    def json_text(self, column: str, path: str) -> str:
        return f"(CAST({column} AS JSON) #>> '{{{path.replace('.', ',')}}}')"

    def json_each(self, column: str) -> str:
        return (
            "LATERAL (SELECT key, CASE WHEN json_typeof(value) = 'number' "
            "THEN CAST(value #>> '{}' AS DOUBLE PRECISION) END AS value "
            f"FROM json_each(CAST({column} AS JSON)))"
        )

    def contains(self, column: str) -> str:
        return f"{column} ILIKE ? ESCAPE '^'"

    def keep_writers_out(self, transaction: Transaction, table: str) -> None:
        transaction.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")

    def mentions(self, column: str, text: str) -> str:
        shown = f"CAST({column} AS TEXT)"  # of bytes, in hexadecimal
        return f"(position('{text}' IN {shown}) > 0 OR position('{text.encode().hex()}' IN {shown}) > 0)"


POSTGRES = PostgresDialect()


@lru_cache(4096)
def only_reads(sql: str) -> bool:
    """Tell whether a statement is a query, in which nothing is written either."""
    words = " ".join(_PARTS.split(sql)[::2])
    return _QUERY.match(words) is not None and _WRITES.search(words) is None


def translator(schema: str, tables: frozenset[str]) -> Callable[[str], str]:
    """Return the function that makes Postgres's SQL of portable SQL, with the schema's name before tables."""

    def qualified(match: re.Match[str]) -> str:
        word, space, name = match.groups()
        return f"{word}{space}{schema}.{name}" if name in tables else match[0]

    @lru_cache(4096)
    def translated(sql: str) -> str:
        number = count(1)
        parts = _PARTS.split(of_langgraph(sql))
        parts[::2] = [_USER.sub('"user"', _TABLE.sub(qualified, part)) for part in parts[::2]]
        parts[::2] = [re.sub(r"\?", lambda _: f"${next(number)}", part) for part in parts[::2]]
        parts[1::2] = ["" if part.startswith("--") else part for part in parts[1::2]]
        return _NULL.sub(r"CAST(\1 AS TEXT) IS", "".join(parts))

    return translated


def _typed(match: re.Match[str]) -> str:
    return f"AS {TYPES[match[1].upper()]})"


def of_langgraph(sql: str) -> str:
    """Return SQL that LangGraph wrote for SQLite as portable SQL."""
    replacing = _REPLACE.match(sql)
    if replacing is not None:
        table, names = replacing[1], [name.strip() for name in replacing[2].split(",")]
        sets = ", ".join(f"{name} = excluded.{name}" for name in names if name not in KEYS[table])
        keys = ", ".join(KEYS[table])
        sql = f"{sql.replace('INSERT OR REPLACE', 'INSERT', 1)} ON CONFLICT ({keys}) DO UPDATE SET {sets}"
    elif _IGNORE.match(sql):
        sql = f"{sql.replace('INSERT OR IGNORE', 'INSERT', 1)} ON CONFLICT DO NOTHING"
    sql = _FILTERED.sub(_member, sql)
    sql = _CAST.sub(_typed, sql)
    if " CROSS JOIN " in sql:
        sql = sql.replace(" CROSS JOIN ", " JOIN ")
    return sql


def _member(match: re.Match[str]) -> str:
    """Return the expression of a part of a checkpoint's metadata, as text, and what it is compared with.

    As in SQLite, true and false are 1 and 0.
    """
    whole = f"CAST(convert_from(metadata, 'UTF8') AS JSON) #> '{{{match[1].replace('.', ',')}}}'"
    text = (
        "(SELECT CASE part #>> '{}' WHEN 'true' THEN '1' WHEN 'false' THEN '0' ELSE part #>> '{}' END "
        f"FROM (SELECT {whole} AS part) parts)"
    )
    return text if match[2] is None else f"{text} IS NOT DISTINCT FROM CAST(? AS TEXT)"
