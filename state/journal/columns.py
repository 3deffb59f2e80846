"""Which tables a database has, and what kind of values each of their columns keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

Kind = Literal["text", "int", "real", "bytes"]
Query = Callable[[str, Sequence[Any]], list[dict[str, Any]]]

_KINDS: Final[Mapping[str, Kind]] = {
    "text": "text",
    "integer": "int",
    "bigint": "int",
    "smallint": "int",
    "real": "real",
    "double precision": "real",
    "blob": "bytes",
    "bytea": "bytes",
}
_SQLITE = """
    SELECT t.name AS tab, c.name AS col, lower(c.type) AS kind, c.pk AS is_key, 1 - t.wr AS is_paged
    FROM pragma_table_list t JOIN pragma_table_info(t.name) c
    WHERE t.schema = 'main' AND t.type = 'table' AND substr(t.name, 1, 7) <> 'sqlite_'
    ORDER BY t.name, c.cid"""
_POSTGRES = """
    SELECT c.table_name AS tab, c.column_name AS col, c.data_type AS kind,
           CASE WHEN c.column_default LIKE 'nextval%' OR c.is_identity = 'YES' THEN 1 ELSE 0 END AS is_key,
           CASE WHEN EXISTS (SELECT 1 FROM information_schema.columns r WHERE r.table_schema = c.table_schema
                AND r.table_name = c.table_name AND r.column_name = 'rowid') THEN 1 ELSE 0 END AS is_paged
    FROM information_schema.columns c JOIN information_schema.tables t
      ON t.table_schema = c.table_schema AND t.table_name = c.table_name AND t.table_type = 'BASE TABLE'
    WHERE c.table_schema = ? ORDER BY c.table_name, c.ordinal_position"""


@dataclass(frozen=True)
class Table:
    """A table, and what each of its columns keeps; a `rowid` is none of them."""

    name: str
    kinds: Mapping[str, str]
    numbered: bool  # its column `id` is a number that the database gives
    paged: bool  # its rows have a `rowid`, which grows

    @cached_property
    def columns(self) -> list[str]:
        """Return the columns that mean the same in every database."""
        return [name for name in self.kinds if not (self.numbered and name == "id")]

    @cached_property
    def reads(self) -> str:
        """Return what a SELECT names to read them."""
        began = {"moved_id": "coalesce(moved_id, id) AS moved_id"} if self.numbered else {}
        return ", ".join(began.get(name, f'"{name}"') for name in self.columns)

    @cached_property
    def length(self) -> str:
        """Return how long a row's texts and bytes are together, as SQL."""
        large = [name for name in self.columns if self.kinds[name] in ("text", "bytes")]
        return " + ".join(f'coalesce(length("{name}"), 0)' for name in large) or "0"

    @property
    def has_threads(self) -> bool:
        return "thread_id" in self.kinds


def tables_of(query: Query, schema: str | None) -> dict[str, Table]:
    """Return the tables of a SQLite file, or those in a schema of a Postgres database."""
    rows = query(_SQLITE, ()) if schema is None else query(_POSTGRES, (schema,))
    columns: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        columns.setdefault(row["tab"], []).append(row)
    return {name: _table(name, its) for name, its in columns.items()}


def _table(name: str, columns: Sequence[Mapping[str, Any]]) -> Table:
    kinds = {row["col"]: _KINDS.get(row["kind"], row["kind"]) for row in columns if row["col"] != "rowid"}
    keys = [row["col"] for row in columns if row["is_key"]]
    numbered = "id" in keys and kinds["id"] == "int"
    return Table(name, kinds, numbered, bool(columns[0]["is_paged"]))


def number_above(query: Query, schema: str | None) -> Callable[[str, int], int | None]:
    """Return what lets the next row of a table have a number above a given one, in an open transaction.

    It returns the number, if the row has to be given it.
    """

    def in_sqlite(table: str, last: int) -> int | None:
        highest = query(f"SELECT coalesce(max(id), 0) AS id FROM {table}", ())[0]["id"]
        return max(last, int(highest)) + 1

    def in_postgres(table: str, last: int) -> int | None:
        sequence = query("SELECT pg_get_serial_sequence(?, 'id') AS name", (f"{schema}.{table}",))[0]["name"]
        query(f"SELECT setval(?, ?) FROM {sequence} WHERE last_value < ?", (sequence, last, last))
        return None

    return in_sqlite if schema is None else in_postgres
