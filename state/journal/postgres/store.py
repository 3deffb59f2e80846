"""A journal in a Postgres database: how it is written and read, and what happens if it is away.

All threads and event loops of a process share one connection. What they write goes into one transaction
while the one before it is under way: so the answers of many runs are committed together, in one order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import psycopg

from ...blobs import referring
from ...database import PostgresAddress
from ...errors import StoreError
from ...event_loops import aside, running_loop
from ...private_files import make_folder
from ...sheltered_lock import ShelteredLock
from ..blobs import BlobReader
from ..dialect import Row, Rows, Transaction, dicts
from ..forking import Forked, track
from ..records import Statement, call_of, changed, insert
from ..store import Store
from .connecting import connect, explained
from .flights import Read, Write
from .migration import migrate
from .reader import PostgresReader
from .sql import POSTGRES, only_reads
from .tables import types
from .traffic import Traffic

R = TypeVar("R")


class PostgresStore(Store, Forked):
    """A schema in a Postgres database."""

    dialect = POSTGRES
    has_file = False

    def __init__(self, address: PostgresAddress) -> None:
        super().__init__(address, address.local_file)
        self.address = address
        make_folder(self.file.parent)
        self._read_blob = BlobReader(self.rows)
        types()  # read now: to make it opens a database, which an event loop may not wait for
        connection = connect(address)
        try:
            migrate(connection, address)
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise explained(error, address) from None
            raise
        lock = ShelteredLock(self._lock)
        self._traffic = Traffic(address, connection, self._waiting, lock, lambda: self.guard)
        track(self)
        self._take_in()

    def after_fork(self) -> None:
        """Leave the parent's connection to the parent."""
        self._begin()
        self._traffic.after_fork(ShelteredLock(self._lock))

    # Writing

    def write(self, statements: Iterable[Statement]) -> None:
        write = Write(list(statements))
        if write.statements or self._waiting or self._traffic.is_busy:
            self._traffic.wait(write)

    async def awrite(self, statements: Iterable[Statement], *, durable: bool = False) -> None:
        await self._traffic.until(Write(list(statements)))

    def begin_write(self, statements: Iterable[Statement]) -> Future[None]:
        write = Write(list(statements))
        outcome = write.outcome = Future[None]()
        try:
            self._traffic.begin(write)
        except StoreError as error:
            outcome.set_exception(error)
        return outcome

    def transact(self, work: Callable[[Transaction], R], *, alone: bool = True) -> R:
        return self._traffic.transact(work, alone=alone)

    async def atransact(self, work: Callable[[Transaction], R], *, alone: bool = True) -> R:
        return await asyncio.to_thread(self.transact, work, alone=alone)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        return self._done(Read(sql, values))

    async def aexecute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        return await self._adone(Read(sql, values))

    async def aexecute_all(self, *statements: Statement) -> list[Rows]:
        reads = [Read(*statement) for statement in statements]
        await self._traffic.until(*reads)
        return [dicts(read.names, read.rows) for read in reads]

    def _done(self, read: Read) -> Rows:
        self._traffic.wait(read)
        return dicts(read.names, read.rows)

    async def _adone(self, read: Read) -> Rows:
        await self._traffic.until(read)
        return dicts(read.names, read.rows)

    def try_flush(self) -> None:
        if self._closed or not self._waiting:
            return
        if running_loop() is None:
            self.flush()
        else:
            self._traffic.start()

    async def aflush(self) -> None:
        if self._waiting or self._traffic.is_busy:
            await self.awrite(())

    async def until_written(self, statement: Statement) -> None:
        await self._traffic.until(Write([]), starts=False)  # `add_later` has it begun after some passes

    def is_waiting(self, statement: Statement) -> bool:
        with self._lock:  # in between it could go from one to the other
            return self._traffic.is_under_way(statement) or super().is_waiting(statement)

    # Reading: what waits is written on the way

    def _query(self, sql: str, values: Sequence[Any]) -> Rows:
        _check_reads(sql)
        return self._done(Read(sql, values, is_query=True))

    def query(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        return self._query(sql, values)

    async def _aquery(self, sql: str, values: Sequence[Any]) -> Rows:
        _check_reads(sql)
        return await self._adone(Read(sql, values, is_query=True))

    async def aquery(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        return await self._aquery(sql, values)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        read = Read(sql, values, is_query=True)
        self._traffic.wait(read)
        return read.rows

    async def arows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        read = Read(sql, values, is_query=True)
        await self._traffic.until(read)
        return read.rows

    def reader(self) -> PostgresReader:
        return PostgresReader(self.address)

    def blob(self, sha256: str) -> bytes:
        return self._read_blob(sha256)

    # When it cannot be written

    def has_to_wait(self) -> bool:
        return True  # an answer of the network

    async def until_free(self) -> None:
        """Nothing locks the database as a whole."""

    def check_writable(self) -> None:
        if self._trouble is None and self._traffic.trouble is None:
            return
        if not self._traffic.is_away:
            aside(self._take_in)
        problem = self._trouble or self._traffic.trouble
        if problem is not None:
            raise StoreError(f"No model is asked as long as its answer cannot be kept. {problem}")

    def _take_in(self) -> None:
        """Commit what could not be committed before; the rest goes on waiting."""
        try:
            self._spill.take_in(
                lambda rows: self.write(
                    [insert(changed(call_of(row), referring), of_run=False) for row in rows]
                )
            )
            self.flush()
        except StoreError as error:
            self._trouble = error
        except OSError as error:
            self._trouble = StoreError(f"{self._spill.path} cannot be read: {error}.")
        else:
            self._trouble = None

    def close(self) -> None:
        if self._closed:
            return
        try:
            if self._trouble is not None:
                self._take_in()
            self.flush()
        finally:
            self._closed = True
            self._spill.release()
            self._traffic.close()


def _check_reads(sql: str) -> None:
    if not only_reads(sql):
        raise StoreError("Journal.query only reads; the record of a run is not edited.")
