"""The file under the journal: how it is written and read, and what happens if it cannot be written."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..blobs import CARRIERS, blobs_of, referring, whole
from ..errors import StoreError, ThreadBusy
from ..masking import NO_KEYS, Masker
from .blobs import BlobReader, write_blobs
from .dialect import SQLITE, dicts
from .forking import track
from .migration import migrate
from .own_locks import OwnLocks
from .records import (
    CALL_NAMES,
    CALL_REQUIRED,
    Call,
    Record,
    Statement,
    ThreadStatement,
    bindable,
    call_of,
    changed,
    insert,
)
from .spill import Spill
from .sqlite import Reopened, aretrying, explained, is_busy, quietly, retrying, unhindered

R = TypeVar("R")
# Says of an open transaction's statements which threads they may not write to, and why.
Guard = Callable[[sqlite3.Connection, Sequence[Statement]], Mapping[str, ThreadBusy]]

SAME_MOMENT_S = 0.2
# What ends a superstep (the node's run, its writes, the checkpoint) comes within so many passes of the loop.
PASSES = 6


class Store:
    """One SQLite file with the tables of the journal; safe to use from several threads and event loops."""

    dialect = SQLITE

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listeners: list[Callable[[Record], None]] = []
        self.mask: Masker = NO_KEYS  # what is kept for readers only goes through it
        self.file = path.absolute()
        self.guard: Guard = lambda *_: {}
        self._lock = threading.RLock()
        self._opened = Reopened(self.file, lambda: self._lock, self._begin)
        self._read_blob = BlobReader(lambda: self._connection)
        self._inode = _inode(self.file)
        self._log = self.file.with_name(f"{self.file.name}-wal")
        self._log_seen: tuple[sqlite3.Connection | None, Any] = (None, None)
        self._size = 0
        self._rescued = False
        self._spill = Spill(self.file, CALL_REQUIRED)
        self._trouble: StoreError | None = None
        self._waiting: list[Statement] = []
        self._closed = False
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

    def _begin(self) -> None:
        """Begin anew in a forked child: what waits to be written is its parent's."""
        self._lock = threading.RLock()
        self._waiting.clear()
        self._spill.begin()

    # Writing: at once, or with the next commit

    def add(self, record: Record) -> None:
        self.add_later(insert(record))
        self._tell(record)

    async def aadd(self, record: Record) -> None:
        """Return once the record is committed."""
        await self.awrite([insert(record)])
        self._tell(record)

    def _tell(self, record: Record) -> None:
        for listener in self.listeners:
            listener(record)

    def add_later(self, *statements: Statement) -> None:
        """Write with the next commit; in an event loop, that is at the latest PASSES of its passes away."""
        with self._lock:
            first = not self._waiting
            self._waiting += statements
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.try_flush()
        else:
            if first:
                loop.call_soon(self._flush_after, loop, PASSES)

    def _flush_after(self, loop: asyncio.AbstractEventLoop, passes: int) -> None:
        if passes and self._waiting:
            loop.call_soon(self._flush_after, loop, passes - 1)
        else:
            quietly(self.try_flush)  # the next write raises what this one does

    def is_waiting(self, statement: Statement) -> bool:
        """Tell whether a statement given to `add_later` is not committed yet."""
        with self._lock:
            return any(waiting is statement for waiting in reversed(self._waiting))

    def write(self, statements: Iterable[Statement]) -> None:
        """Run all statements in one transaction."""
        batch = list(statements)
        retrying(lambda: self._write(batch), self.path)

    def transact(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """Do work on the connection in one transaction, with the file's lock, behind all that waits."""
        done: list[R] = []
        retrying(lambda: self._write([], work=lambda connection: done.append(work(connection))), self.path)
        return done[-1]

    async def atransact(self, work: Callable[[Any], R]) -> R:
        """Like `transact`, from an event loop."""
        done: list[R] = []
        await aretrying(lambda: self._write([], work=lambda c: done.append(work(_Rows(c)))), self.path)
        return done[-1]

    async def awrite(self, statements: Iterable[Statement], *, durable: bool = False) -> None:
        """Like `write`; `durable` waits for the disk, so that a loss of power undoes nothing."""
        batch = list(statements)
        await aretrying(lambda: self._write(batch, durable=durable), self.path)

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
        retrying(lambda: self._write([]), self.path)

    async def aflush(self) -> None:
        """Like `flush`, from an event loop."""
        if self._waiting:
            await self.awrite([])

    def _write(
        self,
        statements: Sequence[Statement],
        *,
        durable: bool = False,
        work: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        with self._lock:
            waiting = list(self._waiting)
            batch = (*waiting, *statements)
            connection = self._connection
            try:
                if durable:
                    connection.execute("PRAGMA synchronous = FULL")
                if work is not None:
                    connection.execute("BEGIN IMMEDIATE")
                for sql, values in batch:
                    for value in [each for each in values if type(each) in CARRIERS]:
                        write_blobs(connection, blobs_of(value))
                    connection.execute(sql, [bindable(value) for value in values])
                if work is not None:
                    work(connection)
                if refused := self.guard(connection, batch):
                    raise _Refused(refused)
                connection.commit()
            except BaseException as error:
                connection.rollback()
                if isinstance(error, sqlite3.Error) and not is_busy(error):
                    self._trouble = explained(error, self.path)
                if not isinstance(error, _Refused):
                    raise
                self._waiting[:] = [item for item in self._waiting if error.of(item) is None]
                for statement in statements:
                    if (problem := error.of(statement)) is not None:
                        raise problem from None
            else:
                del self._waiting[: len(waiting)]
                self._watch()
                return
            finally:
                if durable:
                    connection.execute("PRAGMA synchronous = NORMAL")
            self._write(statements, durable=durable, work=work)

    # Reading

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dictionaries, what waits included."""
        self.flush()
        return retrying(lambda: self._read(sql, values), self.path)

    async def aquery(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Like `query`, from an event loop."""
        await self.aflush()
        return await aretrying(lambda: self._read(sql, values), self.path)

    def _read(self, sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        with self._lock:
            self._connection.execute("PRAGMA query_only = ON")
            try:
                cursor = self._connection.execute(sql, values)
                names = [column[0] for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor]
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

    def whole(self, text: str) -> str:
        """Return what a text on record was before images and the like were kept by themselves."""
        return whole(text, self.blob)

    # When it cannot be written

    def is_locked(self) -> bool:
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
        self._check_place()
        self._own_locks.check()
        if self._trouble is not None:
            self._take_in()
        if self._trouble is not None:
            raise StoreError(f"No model is asked as long as its answer cannot be kept. {self._trouble}")
        try:
            self._spill.reserve()
        except OSError as error:
            raise explained(error, self.path) from None

    def spill(self, calls: Sequence[Call], error: BaseException) -> StoreError:
        """Save paid calls that cannot be committed beside the file; return the error that says where."""
        self._trouble = self._keep(calls, error)
        return self._trouble

    def _keep(self, calls: Sequence[Call], error: BaseException) -> StoreError:
        return self._spill.keep([changed(call, self.whole) for call in calls], error)

    def _check_place(self) -> None:
        """Raise StoreError if the file has gone: SQLite would go on writing to what nobody can open."""
        if _inode(self.file) != self._inode:
            raise StoreError(
                f"{self.file} was moved or deleted while it was in use. Put it back, or begin a new session."
            )
        size, log = self.file.stat().st_size, _inode(self._log)
        if size < self._size and not self._is_whole():
            raise StoreError(
                f"{self.file} was cut short while it was in use. Put a copy in its place, and begin a new "
                "session."
            )
        self._size = size
        opened, was = self._log_seen
        if opened is not self._connection or was is None:
            self._log_seen = self._connection, log
        elif log != was:
            what = "deleted" if log is None else "replaced"
            self._rescue(log)
            raise StoreError(
                f"{self._log} was {what} while it was in use: it is a part of {self.file.name}. The answers "
                "were saved. Begin a new session, and resume the thread."
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
            self._check_place()
        except (StoreError, OSError) as error:  # told before the next call is paid for
            self._trouble = error if isinstance(error, StoreError) else explained(error, self.path)

    def _is_whole(self) -> bool:
        """Tell whether a file that became shorter is still whole: a VACUUM makes it shorter, too."""
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
            self._check_place()
            self._spill.take_in(
                lambda rows: self._write([insert(changed(call_of(row), referring)) for row in rows])
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


class _Rows:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        cursor = self._connection.execute(sql, values)
        return dicts([column[0] for column in cursor.description or ()], cursor.fetchall())


class _Refused(Exception):
    """A transaction would write to threads that it may not write to."""

    def __init__(self, problems: Mapping[str, ThreadBusy]) -> None:
        super().__init__(*problems.values())
        self._problems = problems

    def of(self, statement: Statement) -> ThreadBusy | None:
        return self._problems.get(statement.thread_id) if isinstance(statement, ThreadStatement) else None


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
