"""The statements of which several are sent as one: each of their rows is what one of them would do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .arrays import marks_of_arrays
from .sql import KEYS
from .tables import types

_INSERT = re.compile(r"(?is)^INSERT INTO (\w+) \(([^)]*)\)\s*VALUES \(([?, ]+)\)(.*)$")
_LATEST = r"id = \(SELECT max\(id\) FROM \w+ WHERE thread_id = \?\)"
_UPDATE = re.compile(
    rf"(?s)^UPDATE (\w+) SET ((?:(?! WHERE ).)+) WHERE (\w+ = \?(?: AND (?:\w+ = \?|{_LATEST}))*)$"
)
_CHANGED = re.compile(r"(?:^|, )(\w+) = ")
# What tells the type of a value in an UPDATE: the column to which it goes, or with which it is compared.
_MARK = re.compile(r"coalesce\(\?, (\w+)\)|coalesce\((\w+), \?\)|(\w+) = (?:coalesce\()?\?|\?")


@dataclass(frozen=True)
class Form:
    """What a statement of one row is made of; `keys` says where a row has what no other row has.

    Sent as one with others it is `head`, the rows of values, and `tail`; `kinds` are the values' types, where
    each is known.
    """

    table: str
    width: int
    keys: tuple[int, ...] | None
    head: str
    tail: str
    kinds: tuple[str, ...]
    is_update: bool = False

    def listed(self, rows: int) -> str:
        """Return the rows as a list; Postgres takes the types of an INSERT's values from their columns."""
        if not self.is_update:
            return f"VALUES {rows_of_marks(self.width, rows)}"
        return f"(VALUES {rows_of_marks(self.width, rows, self.kinds)})"

    def unnested(self) -> str:
        """Return the rows as one array for each column."""
        arrays = marks_of_arrays(self.width)
        return arrays if self.is_update else f"SELECT * FROM {arrays}"

    def key(self, values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[at] for at in self.keys or ())


@lru_cache(4096)
def rows_of_marks(width: int, rows: int, kinds: tuple[str, ...] = ()) -> str:
    """Return rows of Postgres's marks."""
    first = [f"CAST(${at} AS {kind})" for at, kind in enumerate(kinds, 1)]
    listed = [f"({', '.join(first)})"] if first else []
    starts = range(1 + width * len(listed), 1 + width * rows, width)
    listed += [f"({', '.join([f'${at}' for at in range(start, start + width)])})" for start in starts]
    return ", ".join(listed)


def insert_form(sql: str) -> Form | None:
    """Return the form of an INSERT of one row of marks, None for every other statement."""
    row = _INSERT.match(sql)
    if row is None:
        return None
    table, columns, marks, tail = row.groups()
    keys = None
    names = [name.strip(' "') for name in columns.split(",")]
    if "DO UPDATE" in tail.upper():  # which cannot change one row twice
        if table not in KEYS:
            return None
        keys = tuple(names.index(name) for name in KEYS[table])
    types_of_columns = types().get(table, {})
    known = all(name in types_of_columns for name in names)
    kinds = tuple(types_of_columns[name] for name in names) if known else ()
    return Form(table, marks.count("?"), keys, f"{sql[: row.end(2) + 1]} ", f" {tail.strip()}", kinds)


def update_form(sql: str) -> Form | None:
    """Return the form of an UPDATE whose rows each change their own rows of a table, in any order.

    `keys` are then what its conditions compare: a row that another one changes as well is not among them.
    """
    update = _UPDATE.match(sql)
    if update is None:
        return None
    table, sets, _ = update.groups()
    marks = list(_MARK.finditer(sql))
    columns = [next(filter(None, mark.groups()), None) for mark in marks]
    compared = [at for at, mark in enumerate(marks) if mark.start() >= update.start(3)]
    changed = set(_CHANGED.findall(sets))
    kinds = types().get(table, {})
    if changed & {columns[at] for at in compared} or any(name not in kinds for name in columns):
        return None
    names = [f"c{at}" for at in range(len(marks))]
    pieces, begin = [], update.start(2)
    for mark, name in zip(marks, names, strict=True):
        end = mark.end() - len(mark[0]) + mark[0].index("?")
        pieces += [sql[begin:end], f"v.{name}"]
        begin = end + 1
    body = "".join((*pieces, sql[begin:]))
    sets, _, where = body.partition(" WHERE ")
    return Form(
        table,
        len(names),
        tuple(compared),
        f"UPDATE {table} SET {sets} FROM ",
        f" AS v ({', '.join(names)}) WHERE {where}",
        tuple(kinds[str(name)] for name in columns),
        is_update=True,
    )
