"""Puts the statements of a transaction together: rows of one table go into one statement.

Statements that concern one table keep their order; a row may only pass others. So what starts a thread's run
and what ends it stay in their order, though the rows of many threads lie between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ...blobs import CARRIERS, blobs_of
from ..blobs import INSERT_BLOB
from ..budget_accounts import in_order
from ..records import CallStatement, Statement
from .sql import KEYS, of_langgraph
from .values import encoded
from .wire import Query, Result

MOST_VALUES = 8000  # of one statement; Postgres takes 65,535
_ROW = re.compile(r"(?is)^INSERT INTO (\w+) \(([^)]*)\)\s*VALUES \(([?, ]+)\)(.*)$")


@dataclass(frozen=True)
class _Form:
    """What an INSERT of one row is made of; `keys` says where a row has what no other row has."""

    table: str
    head: str
    width: int
    tail: str
    keys: tuple[int, ...] | None


@dataclass(slots=True)
class Group:
    """Statements that are sent as one, and those of them that are answers, each with its place."""

    sql: str
    form: _Form | None
    values: list[Any] = field(default_factory=list)
    rows: int = 1
    answers: list[tuple[Any, CallStatement]] = field(default_factory=list)
    seen: set[Hashable] = field(default_factory=set)

    def left_out(self, result: Result) -> list[CallStatement]:
        """Return the answers that were not written, because another one is there."""
        if not self.answers:
            return []
        written = {row[0] for row in result.rows}
        return [statement for key, statement in self.answers if key not in written]


class Batching:
    """Makes queries of statements; `translated` makes Postgres's SQL of portable one."""

    def __init__(self, translated: Callable[[str], str], tables: frozenset[str]) -> None:
        self._translated = translated
        self._names = re.compile(rf"\b({'|'.join(sorted(tables))})\b")

        @lru_cache(4096)
        def form(sql: str) -> _Form | None:
            return _form(of_langgraph(sql))

        @lru_cache(4096)
        def concerned(sql: str) -> frozenset[str]:
            return frozenset(self._names.findall(sql))

        self._form, self._concerned = form, concerned

    def query(self, sql: str, values: Sequence[Any]) -> Query:
        return Query(self._translated(sql).encode(), encoded(values))

    def groups(self, statements: Iterable[Statement]) -> list[Group]:
        """Return the statements in an order that comes to the same, with rows of one table together."""
        groups: list[Group] = []
        opened: dict[str, Group] = {}  # by the table into which rows go
        for statement in _with_blobs(in_order(statements)):
            sql, values = statement
            form = self._form(sql)
            if form is None:
                for table in self._concerned(sql):
                    opened.pop(table, None)
                groups.append(Group(sql, None, list(values)))
                continue
            group = opened.get(form.table)
            key = None if form.keys is None else tuple(values[at] for at in form.keys)
            if (
                group is None
                or group.sql != sql
                or len(group.values) + form.width > MOST_VALUES
                or (key is not None and key in group.seen)
            ):
                group = opened[form.table] = Group(sql, form, [], 0)
                groups.append(group)
            if key is not None:
                group.seen.add(key)
            group.values += values
            group.rows += 1
            if isinstance(statement, CallStatement):
                group.answers.append((values[0], statement))
        return groups

    def queries(self, groups: Iterable[Group]) -> list[Query]:
        return [self.query(self._sql(group), group.values) for group in groups]

    def _sql(self, group: Group) -> str:
        form = group.form
        if form is None:
            return group.sql
        returning = " RETURNING id" if group.answers else ""
        if group.rows == 1:
            return group.sql + returning
        return _many(form.head, form.width, group.rows, form.tail) + returning


@lru_cache(1024)
def _many(head: str, width: int, rows: int, tail: str) -> str:
    row = f"({', '.join('?' * width)})"
    return f"{head} VALUES {', '.join([row] * rows)}{tail}"


def _form(sql: str) -> _Form | None:
    """Return the form of an INSERT of one row of marks, None for every other statement."""
    row = _ROW.match(sql)
    if row is None:
        return None
    table, columns, marks, tail = row.groups()
    keys = None
    if "DO UPDATE" in tail.upper():  # which cannot change one row twice
        if table not in KEYS:
            return None
        names = [name.strip(' "') for name in columns.split(",")]
        keys = tuple(names.index(name) for name in KEYS[table])
    return _Form(table, sql[: row.end(2) + 1], marks.count("?"), f" {tail.strip()}", keys)


def _with_blobs(statements: Iterable[Statement]) -> Iterable[Statement]:
    """Yield each statement behind the blobs to which it refers."""
    for statement in statements:
        for value in statement[1]:
            if type(value) in CARRIERS:
                for blob in blobs_of(value):
                    yield INSERT_BLOB, (blob.sha256, blob.media_type, blob.size, blob.data)
        yield statement
