"""Puts the statements of a transaction together: rows of one table go into one statement.

Statements that concern one table keep their order; a row may only pass others, and those of other threads. So
what starts a thread's run and what ends it stay in their order, though the rows of many threads lie between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ...blobs import CARRIERS, blobs_of
from ..blobs import INSERT_BLOB
from ..budget_holds import in_order
from ..records import CallStatement, Statement, ThreadStatement
from .arrays import WORTH, arrays
from .forms import Form, insert_form, update_form
from .sql import of_langgraph
from .values import Encoded, encoded
from .wire import Query, Result

MOST_VALUES = 8000  # of one statement; Postgres takes 65,535


@dataclass(slots=True)
class Group:
    """Statements that are sent as one, and those of them that are answers, each with its place."""

    sql: str
    form: Form | None
    values: list[Any] = field(default_factory=list)
    rows: int = 1
    answers: list[tuple[Any, CallStatement]] = field(default_factory=list)
    seen: set[Hashable] = field(default_factory=set)
    threads: set[str | None] = field(default_factory=set)

    def left_out(self, result: Result) -> list[CallStatement]:
        """Return the answers that were not written, because another one is there."""
        if not self.answers:
            return []
        written = {row[0] for row in result.rows}
        return [statement for key, statement in self.answers if key not in written]

    def takes(self, sql: str, form: Form, values: Sequence[Any]) -> bool:
        """Tell whether a statement can be a row of it."""
        return (
            self.sql == sql
            and len(self.values) + form.width <= MOST_VALUES
            and (form.keys is None or form.key(values) not in self.seen)
        )

    def add(self, form: Form, values: Sequence[Any], statement: Statement) -> None:
        if form.keys is not None:
            self.seen.add(form.key(values))
        self.values += values
        self.rows += 1
        self.threads.add(_thread_of(statement))
        if isinstance(statement, CallStatement):
            self.answers.append((values[0], statement))


def _thread_of(statement: Statement) -> str | None:
    return statement.thread_id if isinstance(statement, ThreadStatement) else None


class Batching:
    """Makes queries of statements; `translated` makes Postgres's SQL of portable one."""

    def __init__(self, translated: Callable[[str], str], tables: frozenset[str]) -> None:
        self._translated = translated
        self._names = re.compile(rf"\b({'|'.join(sorted(tables))})\b")

        @lru_cache(4096)
        def concerned(sql: str) -> frozenset[str]:
            return frozenset(self._names.findall(sql))

        @lru_cache(4096)
        def form(sql: str) -> Form | None:
            insert = insert_form(of_langgraph(sql))
            return update_form(sql) if insert is None and len(concerned(sql)) == 1 else insert

        self._form, self._concerned = form, concerned

    def query(self, sql: str, values: Sequence[Any]) -> Query:
        return Query(self._translated(sql).encode(), encoded(values))

    def groups(self, statements: Iterable[Statement]) -> list[Group]:
        """Return the statements in an order that comes to the same, with rows of one table together."""
        groups: list[Group] = []
        opened: dict[str, list[Group]] = {}  # by the table to which rows go
        for statement in _with_blobs(in_order(statements)):
            sql, values = statement
            form = self._form(sql)
            if form is None:
                for table in self._concerned(sql):
                    opened.pop(table, None)
                groups.append(Group(sql, None, list(values)))
                continue
            of_table = opened.setdefault(form.table, [])
            group = _open(of_table, statement, form)
            if group is None:
                group = Group(sql, form, [], 0)
                of_table.append(group)
                groups.append(group)
            group.add(form, values, statement)
        return groups

    def queries(self, groups: Iterable[Group]) -> list[Query]:
        return [self._query(group) for group in groups]

    def _query(self, group: Group) -> Query:
        form, values = group.form, group.values
        columns: Encoded | None = None
        if form is None or group.rows == 1:
            sql = self._translated(group.sql)
        else:  # in parts: the marks of thousands of values are not looked for
            columns = arrays(form.kinds, values) if len(values) >= WORTH else None
            rows = form.listed(group.rows) if columns is None else form.unnested()
            sql = f"{self._translated(form.head)}{rows}{self._translated(form.tail)}"
        if group.answers:
            sql = f"{sql} RETURNING id"
        return Query(sql.encode(), encoded(values) if columns is None else columns)


def _open(groups: Sequence[Group], statement: Statement, form: Form) -> Group | None:
    """Return the group of its table to which a statement can be added, without passing its own thread's."""
    thread = _thread_of(statement)
    for group in reversed(groups):
        if group.takes(statement[0], form, statement[1]):
            return group
        if thread is None or thread in group.threads or None in group.threads:
            return None
    return None


def _with_blobs(statements: Iterable[Statement]) -> Iterable[Statement]:
    """Yield each statement behind the blobs to which it refers."""
    for statement in statements:
        for value in statement[1]:
            if type(value) in CARRIERS:
                for blob in blobs_of(value):
                    yield INSERT_BLOB, (blob.sha256, blob.media_type, blob.size, blob.data)
        yield statement
