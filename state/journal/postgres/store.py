"""A journal in a Postgres database: how it is written and read, and what happens if it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import psycopg

from ...blobs import CARRIERS, blobs_of, referring
from ...database import PostgresAddress
from ...errors import StoreError
from ...event_loops import aside
from ...private_files import make_folder
from ..blobs import BlobReader, write_blobs
from ..dialect import Row, Rows, Transaction, dicts
from ..fencing import Refused, check
from ..forking import Forked, track
from ..records import CallStatement, Statement, bindable, call_of, changed, insert
from ..store import Store
from .connecting import Connection, connect, explained, is_lost
from .migration import migrate
from .sql import POSTGRES, only_reads, translator
from .tables import names

R = TypeVar("R")

_LOCK = 0x57E96B0  # for pg_advisory_xact_lock: whoever holds it is in `transact`


class PostgresStore(Store, Forked):
    """A schema in a Postgres database, over one connection of this process."""

    dialect = POSTGRES
    has_file = False

    def __init__(self, address: PostgresAddress) -> None:
        super().__init__(address, address.local_file)
        self.address = address
        make_folder(self.file.parent)
        self._translated = translator(address.schema, names())
        self._read_blob = BlobReader(self.rows)
        self._connection: Connection | None = None
        try:
            migrate(self._open(), address)
        except psycopg.Error as error:
            raise explained(error, address) from None
        finally:
            if self._connection is None:
                self._spill.release()
        track(self)
        self._take_in()

    def _open(self) -> Connection:
        if self._closed:
            raise StoreError(f"The session of {self.database} is closed. Open a new one.")
        if self._connection is None or self._connection.closed:
            self._connection = connect(self.address)
        return self._connection

    def after_fork(self) -> None:
        """Leave the parent's connection to the parent."""
        self._connection = None
        self._begin()

    # Writing

    def write(self, statements: Iterable[Statement]) -> None:
        self._write(list(statements))

    async def awrite(self, statements: Iterable[Statement], *, durable: bool = False) -> None:
        batch = list(statements)
        await asyncio.to_thread(self._write, batch)

    def transact(self, work: Callable[[Transaction], R]) -> R:
        done: list[R] = []
        self._write([], work=lambda transaction: done.append(work(transaction)))
        return done[-1]

    async def atransact(self, work: Callable[[Transaction], R]) -> R:
        return await asyncio.to_thread(self.transact, work)

    def try_flush(self) -> None:
        if not self._closed and self._waiting:
            self._write([])

    def _write(
        self, statements: Sequence[Statement], *, work: Callable[[Transaction], None] | None = None
    ) -> None:
        with self._lock:
            waiting = list(self._waiting)
            batch = (*waiting, *statements)
            if not batch and work is None:
                return
            try:
                self._again(lambda connection: self._commit(connection, batch, work))
            except Refused as error:
                self._waiting[:] = error.allowed(self._waiting)
                error.check(statements)
                statements = error.allowed(statements)
            except psycopg.Error as error:
                self._trouble = explained(error, self.address)
                raise self._trouble from None
            else:
                del self._waiting[: len(waiting)]
                return
            self._write(statements, work=work)

    def _commit(
        self,
        connection: Connection,
        batch: Sequence[Statement],
        work: Callable[[Transaction], None] | None,
    ) -> None:
        with connection.transaction():
            opened = PostgresTransaction(connection, self._translated)
            if work is not None:
                opened.execute("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
            for statement in batch:
                if not opened.run(statement) and isinstance(statement, CallStatement):
                    opened.run(statement.superseded())
            if work is not None:
                work(opened)
            check(self.guard, opened, batch)

    def _again(self, work: Callable[[Connection], R]) -> R:
        """Do the work, and once more over a new connection where the old one was lost."""
        try:
            return work(self._open())
        except psycopg.Error as error:
            if not is_lost(error):
                raise
        if self._connection is not None:
            self._connection.close()
        return work(self._open())

    # Reading

    def _query(self, sql: str, values: Sequence[Any]) -> Rows:
        if not only_reads(sql):
            raise StoreError("Journal.query only reads; the record of a run is not edited.")
        names, rows = self._read(sql, values)
        return dicts(names, rows)

    async def _aquery(self, sql: str, values: Sequence[Any]) -> Rows:
        return await asyncio.to_thread(self._query, sql, values)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return self._read(sql, values)[1]

    async def arows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return await asyncio.to_thread(self.rows, sql, values)

    def _read(self, sql: str, values: Sequence[Any]) -> tuple[list[str], list[Row]]:
        query = self._translated(sql).encode()

        def read(connection: Connection) -> tuple[list[str], list[Row]]:
            cursor = connection.execute(query, [_sendable(value) for value in values])
            return [column.name for column in cursor.description or ()], cursor.fetchall()

        with self._lock:
            try:
                return self._again(read)
            except psycopg.Error as error:
                raise explained(error, self.address) from None

    def blob(self, sha256: str) -> bytes:
        with self._lock:
            return self._read_blob(sha256)

    def reader(self) -> PostgresReader:
        return PostgresReader(self.address, self._translated)

    # When it cannot be written

    def has_to_wait(self) -> bool:
        return True  # an answer of the network

    async def until_free(self) -> None:
        """Nothing locks the database as a whole."""

    def check_writable(self) -> None:
        if self._trouble is not None:
            aside(self._take_in)
        if self._trouble is not None:
            raise StoreError(f"No model is asked as long as its answer cannot be kept. {self._trouble}")

    def _take_in(self) -> None:
        """Commit what could not be committed before; the rest goes on waiting."""
        try:
            self._spill.take_in(
                lambda rows: self._write(
                    [insert(changed(call_of(row), referring), of_run=False) for row in rows]
                )
            )
            self._write([])
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
            if self._connection is not None:
                self._connection.close()


class PostgresReader:
    """A connection that reads what is committed."""

    def __init__(self, address: PostgresAddress, translated: Callable[[str], str]) -> None:
        self._address = address
        self._connection = connect(address)
        self._open = PostgresTransaction(self._connection, translated)

    def query(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Return the rows of a SELECT as dictionaries. Raises StoreError."""
        try:
            with self._connection.transaction():
                self._connection.execute("SET TRANSACTION READ ONLY")
                return self._open.execute(sql, values)
        except psycopg.Error as error:
            raise explained(error, self._address) from None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class PostgresTransaction:
    """The connection in an open transaction."""

    def __init__(self, connection: Connection, translated: Callable[[str], str]) -> None:
        self._connection = connection
        self._translated = translated

    def run(self, statement: Statement) -> int:
        """Run a statement, and return how many rows it wrote."""
        sql, values = statement
        for value in [each for each in values if type(each) in CARRIERS]:
            write_blobs(self.execute, blobs_of(value))
        return self._execute(sql, values).rowcount

    def _execute(self, sql: str, values: Sequence[Any]) -> psycopg.Cursor[Any]:
        query = self._translated(sql).encode()
        return self._connection.execute(query, [_sendable(value) for value in values])

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        cursor = self._execute(sql, values)
        if cursor.description is None:
            return []
        return dicts([column.name for column in cursor.description], cursor.fetchall())


def _sendable(value: Any) -> Any:
    """Return a value as Postgres can keep it: as for SQLite, and text without NUL."""
    value = bindable(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return str(value).replace("\0", "\u2400") if "\0" in value else str(value)
    return value
