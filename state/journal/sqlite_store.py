"""A journal's SQLite file: how it is written and read, and what happens if it cannot be written."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from ..blobs import CARRIERS, blobs_of, referring
from ..errors import StoreError
from .blobs import BlobReader, write_blobs
from .dialect import SQLITE, Row, Rows, Transaction, dicts
from .fencing import Refused, check
from .forking import track
from .migration import migrate
from .own_locks import OwnLocks
from .records import CALL_NAMES, Call, CallStatement, Statement, bindable, call_of, changed, insert
from .sqlite import Reopened, aretrying, beginning, connect, explained, is_busy, retrying, unhindered
from .store import Store

R = TypeVar("R")

SAME_MOMENT_S = 0.2
# What writes nothing, as can be seen: a SELECT, and a WITH without a word that something is written by.
_READS = re.compile(r"(?is)\s*(SELECT\b|WITH\b(?!.*\b(INSERT|UPDATE|DELETE|REPLACE)\b))")


class SqliteStore(Store):
    """One SQLite file; it is written in place, because a commit takes well under a millisecond."""

    dialect = SQLITE

    def __init__(self, path: Path) -> None:
        super().__init__(path, path.absolute())
        self.path = path
        self._opened = Reopened(self.file, lambda: self._lock, self._begin)
        self._read_blob = BlobReader(self.rows)
        self._name = str(self.file)
        self._inode = _inode_and_size(self._name)[0]
        self._log = self.file.with_name(f"{self.file.name}-wal")
        self._log_name = str(self._log)
        self._log_seen: tuple[sqlite3.Connection | None, Any] = (None, None)
        self._size = self._log_size = 0
        self._rescued = False
        self._seen_locked_at = -SAME_MOMENT_S
        try:
            retrying(lambda: migrate(self._connection, path), path)
        except BaseException:
            self._opened.close()
            raise
        track(self._opened)
        self._own_locks = OwnLocks(self.file, lambda: self._connection)
        self._first_call = self._next_call()
        self._take_in()

    @property
    def _connection(self) -> sqlite3.Connection:
        return self._opened.connection

    # Writing

    def write(self, statements: Iterable[Statement]) -> None:
        """Run all statements in one transaction."""
        batch = list(statements)
        retrying(lambda: self._write(batch), self.path)

    def transact(self, work: Callable[[Transaction], R], *, alone: bool = True) -> R:
        done: list[R] = []
        retrying(lambda: self._write([], work=lambda transaction: done.append(work(transaction))), self.path)
        return done[-1]

    async def atransact(self, work: Callable[[Transaction], R], *, alone: bool = True) -> R:
        done: list[R] = []
        await aretrying(
            lambda: self._write([], work=lambda transaction: done.append(work(transaction))), self.path
        )
        return done[-1]

    async def awrite(self, statements: Iterable[Statement], *, durable: bool = False) -> None:
        """Like `write`; `durable` waits for the disk, so that a loss of power undoes nothing."""
        batch = list(statements)
        await aretrying(lambda: self._write(batch, durable=durable), self.path)

    def begin_write(self, statements: Iterable[Statement]) -> Future[None]:
        batch = list(statements)
        return beginning(lambda: self._write(batch), self.path)

    def try_flush(self) -> None:
        """Write what waits, unless another connection holds the lock: then it goes on waiting."""
        if self._closed or not self._waiting:
            return
        try:
            unhindered(lambda: self._write([]))
        except sqlite3.Error as error:
            if not is_busy(error):
                raise explained(error, self.path) from None

    def flush(self) -> None:
        """Write what waits, waiting for the lock."""
        if self._waiting:
            retrying(lambda: self._write([]), self.path)

    def _write(
        self,
        statements: Sequence[Statement],
        *,
        durable: bool = False,
        work: Callable[[Transaction], None] | None = None,
    ) -> None:
        with self._lock:
            waiting = list(self._waiting)
            batch = (*waiting, *statements)
            connection = self._connection
            self._check_log(_inode_and_size(self._log_name)[1])
            try:
                if durable:
                    connection.execute("PRAGMA synchronous = FULL")
                if work is not None:
                    connection.execute("BEGIN IMMEDIATE")
                for statement in batch:
                    if not _run(connection, statement) and isinstance(statement, CallStatement):
                        _run(connection, statement.superseded())
                if work is not None:
                    work(SqliteTransaction(connection))
                check(self.guard, SqliteTransaction(connection), batch)
                connection.commit()
            except BaseException as error:
                connection.rollback()
                if isinstance(error, sqlite3.Error) and not is_busy(error):
                    self._trouble = explained(error, self.path)
                if not isinstance(error, Refused):
                    raise
                self._waiting[:] = error.allowed(self._waiting)
                error.check(statements)
                statements = error.allowed(statements)
            else:
                del self._waiting[: len(waiting)]
                self._watch()
                return
            finally:
                if durable:
                    connection.execute("PRAGMA synchronous = NORMAL")
            self._write(statements, durable=durable, work=work)

    # Reading

    def _query(self, sql: str, values: Sequence[Any]) -> Rows:
        return retrying(lambda: self._read(sql, values), self.path)

    async def _aquery(self, sql: str, values: Sequence[Any]) -> Rows:
        return await aretrying(lambda: self._read(sql, values), self.path)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return retrying(lambda: self._fetch(sql, values), self.path)

    async def arows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return await aretrying(lambda: self._fetch(sql, values), self.path)

    def _fetch(self, sql: str, values: Sequence[Any]) -> list[Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _read(self, sql: str, values: Sequence[Any]) -> Rows:
        with self._lock:
            transaction = SqliteTransaction(self._connection)
            if _READS.match(sql):  # the PRAGMA would have every statement prepared anew
                return transaction.execute(sql, values)
            self._connection.execute("PRAGMA query_only = ON")
            try:
                return transaction.execute(sql, values)
            except sqlite3.OperationalError as error:
                if "readonly" in str(error):
                    raise StoreError("Journal.query only reads; the record of a run is not edited.") from None
                raise
            finally:
                self._connection.execute("PRAGMA query_only = OFF")

    def blob(self, sha256: str) -> bytes:
        """Return the bytes of an image, a sound or a document. Raises StoreError if there are none."""
        with self._lock:
            return self._read_blob(sha256)

    def reader(self) -> SqliteReader:
        return SqliteReader(self.path)

    # When it cannot be written

    def has_to_wait(self) -> bool:
        """Tell whether another connection holds the lock for longer than a moment.

        The answer holds for SAME_MOMENT_S, so that many callers do not all wait for it.
        """
        if time.monotonic() < self._seen_locked_at + SAME_MOMENT_S:
            return True
        try:
            unhindered(self._try_lock)
        except sqlite3.Error as error:
            self._seen_locked_at = time.monotonic()
            return is_busy(error)
        return False

    async def until_free(self) -> None:
        """Return once the file can be written; wait in a thread while another connection holds the lock."""
        await aretrying(self._try_lock, self.path)

    def _try_lock(self) -> None:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("ROLLBACK")

    def check_writable(self) -> None:
        """Raise StoreError unless an answer could be kept; call it before you pay for one."""
        unhindered(self._check_writable)

    def _check_writable(self) -> None:
        self.check_place()
        self._own_locks.check()
        if self._trouble is not None:
            self._take_in()
        if self._trouble is not None:
            raise StoreError(f"No model is asked as long as its answer cannot be kept. {self._trouble}")
        try:
            self._spill.reserve()
        except OSError as error:
            raise explained(error, self.path) from None

    def check_place(self) -> None:
        """Raise StoreError if the file has gone: SQLite would go on writing to what nobody can open."""
        inode, size = _inode_and_size(self._name)
        if inode != self._inode:
            raise StoreError(
                f"{self.file} was moved or deleted while it was in use. Put it back, or begin a new session."
            )
        log, log_size = _inode_and_size(self._log_name)
        if size < self._size and not self._is_whole():
            raise self._cut_short()
        self._size = size
        opened, was = self._log_seen
        if opened is not self._connection or was is None:
            self._log_seen = self._connection, log
            self._log_size = 0
        elif log != was:
            what = "deleted" if log is None else "replaced"
            self._rescue(log)
            raise StoreError(
                f"{self._log} was {what} while it was in use: it is a part of {self.file.name}. The answers "
                "were saved. Begin a new session, and resume the thread."
            )
        self._check_log(log_size)

    def _check_log(self, size: int) -> None:
        """Raise StoreError if the write-ahead log was cut: what is written next would hide that."""
        if size < self._log_size:
            with self._lock:  # another thread may have written since it was looked at
                size = _inode_and_size(self._log_name)[1]
                if size < self._log_size and not self._is_whole():
                    raise self._cut_short()
        self._log_size = size

    def _cut_short(self) -> StoreError:
        return StoreError(
            f"{self.file} is damaged: it, or {self._log.name} beside it, was cut short or written over while "
            "it was in use. Put a copy of the database in its place, without that file, and begin a new "
            "session."
        )

    def _next_call(self) -> int:
        """Return the number of the first call that is put on record from here on."""
        try:
            return int(
                self._connection.execute("SELECT coalesce(max(rowid), 0) + 1 FROM calls").fetchone()[0]
            )
        except sqlite3.Error:
            return 0

    def _watch(self) -> None:
        try:
            self.check_place()
        except (StoreError, OSError) as error:  # told before the next call is paid for
            self._trouble = error if isinstance(error, StoreError) else explained(error, self.path)

    def _is_whole(self) -> bool:
        """Tell whether it is whole though a file became shorter: a VACUUM or a checkpoint does that, too."""
        try:
            self._connection.execute("PRAGMA shrink_memory")
            return bool(self._connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        except sqlite3.Error:
            return False

    def _rescue(self, log: Any) -> None:
        """Save what was only in a write-ahead log that is gone; our connection can still read it.

        Where nobody has begun another log, all of it goes into the database; else the calls into the spill.
        """
        if self._rescued:
            return
        self._rescued = True
        try:
            if log is None:
                self._connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            else:
                sql = f"SELECT {CALL_NAMES} FROM calls WHERE rowid >= ?"
                rows = [Call(*row) for row in self._connection.execute(sql, (self._first_call,)).fetchall()]
                self._keep(rows, StoreError("The log was replaced."))
        except sqlite3.Error:
            self._rescued = False

    def _take_in(self) -> None:
        """Commit what could not be committed before; the rest goes on waiting."""
        try:
            self.check_place()
            self._spill.take_in(
                lambda rows: self._write(
                    [insert(changed(call_of(row), referring), of_run=False) for row in rows]
                )
            )
            self._write([])
        except StoreError as error:
            self._trouble = error
        except (sqlite3.Error, OSError) as error:
            if not is_busy(error):
                self._trouble = explained(error, self.path)
        else:
            self._trouble = None

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            with self._lock:
                self._watch()
            self._spill.release()
            if self._trouble is not None:
                self._take_in()
            self.flush()
        finally:
            self._opened.close()


def _run(connection: sqlite3.Connection, statement: Statement) -> int:
    """Run a statement, and return how many rows it wrote."""
    sql, values = statement
    if not CARRIERS.isdisjoint(map(type, values)):
        for value in values:
            write_blobs(connection.execute, blobs_of(value))
    try:
        return connection.execute(sql, values).rowcount
    except (OverflowError, UnicodeEncodeError):  # what SQLite cannot keep as it is
        return connection.execute(sql, [bindable(value) for value in values]).rowcount


class SqliteTransaction:
    """The connection in an open transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        cursor = self._connection.execute(sql, values)
        return dicts([column[0] for column in cursor.description or ()], cursor.fetchall())


class SqliteReader:
    """A connection that reads what is committed."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path, read_only=True)

    def query(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Return the rows of a SELECT as dictionaries."""
        cursor = self._connection.execute(sql, values)
        return dicts([column[0] for column in cursor.description], cursor.fetchall())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _inode_and_size(name: str) -> tuple[tuple[int, int] | None, int]:
    """Return what tells a file from others, None if there is none, and its size."""
    try:
        stat = os.stat(name)  # noqa: PTH116 - a Path costs as much again
    except OSError:
        return None, 0
    return (stat.st_dev, stat.st_ino), stat.st_size
