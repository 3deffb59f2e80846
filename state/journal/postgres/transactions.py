"""A transaction whose work looks before it writes: by whoever holds the connection, with many round trips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from ..dialect import Rows, dicts
from ..fencing import Guard, check
from ..records import Statement
from .batching import Batching
from .flights import Flight, Mark
from .wire import Query, Result, Segment, Wire

# A process that stops in the middle of one keeps its locks no longer than that.
IDLE_MS = 3000
_LOCK = 0x57E96B0  # for pg_advisory_xact_lock: whoever holds it looks and writes alone
_NOTHING: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
_BEGIN = Query(b"BEGIN", _NOTHING)
_COMMIT = Query(b"COMMIT", _NOTHING)
_IDLE = Query(f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}".encode(), _NOTHING)
_ALONE = Query(f"SELECT pg_advisory_xact_lock({_LOCK})".encode(), _NOTHING)


class PostgresTransaction:
    """An open transaction."""

    def __init__(self, wire: Wire, batching: Batching, wake: int, mark: Mark) -> None:
        self._wire = wire
        self._batching = batching
        self._wake = wake
        self._mark = mark

    def send(self, queries: Sequence[Query]) -> list[Result]:
        segment = Segment(queries)
        self._wire.run([segment], self._wake)
        if segment.error is not None:
            raise segment.error
        return segment.results

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        groups = self._batching.groups([(sql, values)])
        result = self.send(self._batching.queries(groups))[-1]
        return dicts(result.names, result.rows)

    def commit(self, flight: Flight) -> None:
        self.send([self._batching.query(*self._mark(flight)), _COMMIT])

    def write(self, statements: Sequence[Statement]) -> None:
        groups = self._batching.groups(statements)
        results = self.send(self._batching.queries(groups))
        left_out = [
            statement.superseded()
            for group, result in zip(groups, results, strict=True)
            for statement in group.left_out(result)
        ]
        if left_out:
            self.write(left_out)


@dataclass(frozen=True)
class Looking:
    """Work that looks before it writes: `alone`, unless it locks by itself what it goes by."""

    work: Callable[[PostgresTransaction], None]
    alone: bool = True


def in_transaction(
    opened: PostgresTransaction,
    flight: Flight,
    guard: Guard,
    looking: Looking | None = None,
) -> None:
    """Run a flight's statements and work; commit unless the guard refuses. Raises psycopg.Error, Refused."""
    statements = flight.statements
    opened.send([_BEGIN, _IDLE, _ALONE] if looking is not None and looking.alone else [_BEGIN, _IDLE])
    try:
        if statements:
            opened.write(statements)
        if looking is not None:
            looking.work(opened)
        check(guard, opened, statements)
        opened.commit(flight)
    except BaseException:
        with suppress(psycopg.Error):
            opened.send([Query(b"ROLLBACK", _NOTHING)])
        raise
