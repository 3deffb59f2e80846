"""What is under way to Postgres at one time, and who waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future as Outcome
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from ...database import PostgresAddress
from ...errors import ThreadBusy
from ...event_loops import running_loop
from ..dialect import Row
from ..fencing import Guard, Refused
from ..records import Statement, SupersededStatement
from .batching import Batching, Group
from .connecting import explained, is_lost
from .wire import Query, Segment

LOGGER = logging.getLogger("stepgraph")
Finish = Callable[["Write", ThreadBusy], None]
FinishRead = Callable[["Work", Exception | None], None]
Mark = Callable[["Flight"], Statement]
DOUBTED = "22012"  # a fence divides by zero


@dataclass(eq=False)
class Work:
    """What somebody waits for."""

    future: asyncio.Future[None] | None = field(default=None, init=False)
    outcome: Outcome[None] | None = field(default=None, init=False)  # which no event loop closes
    error: Exception | None = field(default=None, init=False)
    is_done: bool = field(default=False, init=False)

    def finish(self, error: Exception | None = None) -> bool:
        """Tell whoever waits that it is done; False if that is a thread, which sleeps."""
        self.error, self.is_done = error, True
        if self.outcome is not None:
            if error is None:
                self.outcome.set_result(None)
            else:
                self.outcome.set_exception(error)
            return True
        if self.future is None:
            return False
        loop = self.future.get_loop()
        if running_loop() is loop:
            self._settle()
        else:
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(self._settle)
        return True

    def _settle(self) -> None:
        if self.future is not None and not self.future.done():
            if self.error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(self.error)


@dataclass(eq=False)
class Write(Work):
    """Statements of one transaction; without any, all that was to be written before."""

    statements: Sequence[Statement]


@dataclass(eq=False)
class Read(Work):
    """A statement that returns rows. One that `is_query` writes nothing, and sees what was to be written."""

    sql: str
    values: Sequence[Any]
    is_query: bool = False
    query: Query | None = None  # as it is sent
    names: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for it, so that it is worth sending."""
        return self.future is None or not self.future.cancelled()


@dataclass(eq=False)
class Flight:
    """What is under way."""

    statements: list[Statement]
    writes: list[Write]
    reads: list[Read]
    groups: list[Group] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    _seen: list[Statement] | None = None
    _ids: set[int] = field(default_factory=set)

    def has(self, statement: Statement) -> bool:
        """Tell whether a statement is among those that are under way."""
        if self._seen is not self.statements:  # thousands may be asked for, one after another
            self._seen, self._ids = self.statements, {id(each) for each in self.statements}
        return id(statement) in self._ids

    def fence(self, guard: Guard, finish: Finish) -> tuple[Statement | None, bool]:
        """Return the statement that fails where the guard may refuse something; or that it must be asked."""
        while self.statements:
            if guard.question(self.statements) is not None:
                fence = guard.fence(self.statements)
                return fence, fence is not None
            refused = guard.refused(self.statements, [])
            if not refused:
                break
            self.take_out(Refused(refused), finish)
        return None, True

    def load(self, batching: Batching, fence: Statement | None, mark: Mark) -> None:
        """Make what is sent: a transaction with all statements behind the fence, and one for each SELECT.

        The transaction ends with what `mark` gives for it.
        """
        self.groups = batching.groups(self.statements)
        queries = batching.queries(self.groups)
        if fence is not None and queries:
            queries.insert(0, batching.query(*fence))
            self.groups.insert(0, Group("", None))
        if queries:
            queries.append(batching.query(*mark(self)))
            self.groups.append(Group("", None))
        self.segments = [Segment(queries)] if queries else []
        self.segments += [
            Segment([read.query or batching.query(read.sql, read.values)]) for read in self.reads
        ]

    def take_out(self, refused: Refused, finish: Finish) -> None:
        """Tell those whose statements are refused, and leave what may be written."""
        dropped: set[int] = set()
        left = []
        for write in self.writes:
            try:
                refused.check(write.statements)
            except ThreadBusy as problem:
                dropped.update(id(each) for each in write.statements)
                finish(write, problem)
            else:
                left.append(write)
        self.statements = refused.allowed(each for each in self.statements if id(each) not in dropped)
        self.writes = left

    def lost(self) -> psycopg.Error | None:
        """Return the error that says that the connection was lost, if it was."""
        errors = [segment.error for segment in self.segments if segment.error is not None]
        return next(filter(is_lost, errors), None)

    def land(self, finish: FinishRead, address: PostgresAddress) -> list[Flight]:
        """Answer its reads, and return what of it is to be committed once more, apart from the rest.

        With the last of that goes each query, for it is to see what could be written.
        """
        segments, reads, self.reads = list(self.segments), self.reads, []
        again = self._again(segments.pop(0)) if self.groups else []
        for read, segment in zip(reads, segments, strict=True):
            if again and read.is_query:
                again[-1].reads.append(read)
                continue
            if segment.error is None:
                read.names, read.rows = segment.results[0].names, segment.results[0].rows
            finish(read, segment.error and explained(segment.error, address))
        return again

    def _again(self, written: Segment) -> list[Flight]:
        if written.error is not None:
            return [self] if written.error.sqlstate == DOUBTED else self.apart()
        results = zip(self.groups, written.results, strict=True)
        left_out = [each.superseded() for group, result in results for each in group.left_out(result)]
        if not left_out:
            return []
        self.statements = left_out
        return [self]

    def apart(self) -> list[Flight]:
        """Return it as several: one for each who waits, and for each statement for which nobody does."""
        owners = {id(each): write for write in self.writes for each in write.statements}
        apart: list[Flight] = []
        for statement in self.statements:
            source = statement.answer if isinstance(statement, SupersededStatement) else statement
            owner = owners.get(id(source))
            if owner is not None and apart and apart[-1].writes == [owner]:
                apart[-1].statements.append(statement)
            else:
                apart.append(Flight([statement], [] if owner is None else [owner], []))
        if not apart:
            return []
        placed = {id(write) for flight in apart for write in flight.writes}
        apart[-1].writes += [write for write in self.writes if not write.statements]
        apart[-1].reads += self.reads
        written = [write for write in self.writes if write.statements and id(write) not in placed]
        return [Flight([], written, []), *apart] if written else apart

    def leave_out_unsendable(self, batching: Batching, finish: FinishRead) -> None:
        """Take out the statements with a value that cannot be sent, and tell whoever waits for them."""
        problems: dict[int, Exception] = {}
        for statement in self.statements:
            try:
                batching.queries(batching.groups([statement]))
            except Exception as error:
                problems[id(statement)] = error
        for write in list(self.writes):
            problem = next((problems[id(s)] for s in write.statements if id(s) in problems), None)
            if problem is not None:
                self.writes.remove(write)
                problems.update((id(each), problem) for each in write.statements)
                finish(write, problem)
        left_out = [each for each in self.statements if id(each) in problems]
        self.statements = [each for each in self.statements if id(each) not in problems]
        for statement in left_out:
            LOGGER.error("Not written, because it cannot be sent: %.200s", statement[0])


class Queue:
    """What waits for the next flight. `statements` are those that nobody waits for, too."""

    def __init__(self, statements: list[Statement]) -> None:
        self.statements = statements
        self.writes: list[Write] = []
        self.reads: list[Read] = []

    def __bool__(self) -> bool:
        return bool(self.statements or self.writes or self.reads)

    @property
    def has_waiters(self) -> bool:
        return bool(self.writes or self.reads)

    def add(self, work: Read | Write) -> None:
        if isinstance(work, Write):
            self.statements += work.statements
            self.writes.append(work)
        else:
            self.reads.append(work)

    def take_writes(self) -> Flight:
        flight = Flight(list(self.statements), self.writes, [])
        self.statements.clear()
        self.writes = []
        return flight

    def take(self) -> Flight:
        flight = self.take_writes()
        flight.reads = [read for read in self.reads if read.is_wanted]
        self.reads = []
        return flight

    def put_back(self, flight: Flight) -> None:
        """Have a flight wait again, before all that came since."""
        self.statements[:0] = flight.statements
        self.writes[:0] = flight.writes
        self.reads[:0] = [read for read in flight.reads if not read.is_done]

    def drop(self, statements: Iterable[Statement]) -> None:
        """Take statements out; who waits for them goes on waiting."""
        dropped = {id(each) for each in statements}
        self.statements[:] = [each for each in self.statements if id(each) not in dropped]

    def give_up(self) -> list[Read | Write]:
        """Return all who wait; what they wanted to write is theirs again."""
        self.drop(each for write in self.writes for each in write.statements)
        waited: list[Read | Write] = [*self.writes, *self.reads]
        self.writes, self.reads = [], []
        return waited
