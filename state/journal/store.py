"""The file under the journal: how it is written and read, and what happens if it cannot be written."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..masking import NO_KEYS, Masker
from .migration import migrate
from .records import CALL_REQUIRED, Call, Record, Statement, bindable, call_of, insert
from .spill import Spill
from .sqlite import aretrying, connect, explained, is_busy, retrying

SAME_MOMENT_S = 0.2
# What ends a superstep (the node's run, its writes, the checkpoint) comes within so many passes of the loop.
PASSES = 6


class Store:
    """One SQLite file with the tables of the journal; safe to use from several threads and event loops."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listeners: list[Callable[[Record], None]] = []
        self.mask: Masker = NO_KEYS  # what is kept for readers only goes through it
        self._connection = connect(path)
        self._file = path.absolute()
        self._inode = _inode(self._file)
        self._spill = Spill(self._file, CALL_REQUIRED)
        self._trouble: StoreError | None = None
        self._lock = threading.RLock()
        self._waiting: list[Statement] = []
        self._closed = False
        self._seen_locked_at = -SAME_MOMENT_S
        try:
            retrying(lambda: migrate(self._connection, path), path)
        except BaseException:
            self._connection.close()
            raise
        self._take_in()

    # Writing: at once, or with the next commit

    def add(self, record: Record) -> None:
        self.add_later(insert(record))
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
            self.try_flush()

    def is_waiting(self, statement: Statement) -> bool:
        """Tell whether a statement given to `add_later` is not committed yet."""
        with self._lock:
            return any(waiting is statement for waiting in reversed(self._waiting))

    def write(self, statements: Iterable[Statement]) -> None:
        """Run all statements in one transaction."""
        batch = list(statements)
        retrying(lambda: self._write(batch), self.path)

    async def awrite(self, statements: Iterable[Statement], *, durable: bool = False) -> None:
        """Like `write`; `durable` waits for the disk, so that a loss of power undoes nothing."""
        batch = list(statements)
        await aretrying(lambda: self._write(batch, durable=durable), self.path)

    def try_flush(self) -> None:
        """Write what waits, unless another connection holds the lock: then it goes on waiting."""
        if self._closed or not self._waiting:
            return
        try:
            self._write([])
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

    def _write(self, statements: Iterable[Statement], *, durable: bool = False) -> None:
        with self._lock:
            waiting = list(self._waiting)
            try:
                if durable:
                    self._connection.execute("PRAGMA synchronous = FULL")
                for sql, values in (*waiting, *statements):
                    self._connection.execute(sql, [bindable(value) for value in values])
                self._connection.commit()
            except BaseException as error:
                self._connection.rollback()
                if isinstance(error, sqlite3.Error) and not is_busy(error):
                    self._trouble = explained(error, self.path)
                raise
            finally:
                if durable:
                    self._connection.execute("PRAGMA synchronous = NORMAL")
            del self._waiting[: len(waiting)]

    # Reading

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dictionaries, what waits included."""
        self.flush()

        def read() -> list[dict[str, Any]]:
            with self._lock:
                self._connection.execute("PRAGMA query_only = ON")
                try:
                    cursor = self._connection.execute(sql, values)
                    names = [column[0] for column in cursor.description or ()]
                    return [dict(zip(names, row, strict=True)) for row in cursor]
                except sqlite3.OperationalError as error:
                    if "readonly" in str(error):
                        raise StoreError(
                            "Journal.query only reads; the record of a run is not edited."
                        ) from None
                    raise
                finally:
                    self._connection.execute("PRAGMA query_only = OFF")

        return retrying(read, self.path)

    # When it cannot be written

    def is_locked(self) -> bool:
        """Tell whether another connection holds the lock for longer than a moment.

        The answer holds for SAME_MOMENT_S, so that many callers do not all wait for it.
        """
        if time.monotonic() < self._seen_locked_at + SAME_MOMENT_S:
            return True
        try:
            self._try_lock()
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
        self._check_place()
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
        self._trouble = self._spill.keep(calls, error)
        return self._trouble

    def _check_place(self) -> None:
        """Raise StoreError if the file has gone: SQLite would go on writing to what nobody can open."""
        if _inode(self._file) != self._inode:
            raise StoreError(
                f"{self._file} was moved or deleted while it was in use. Put it back, or begin a new session."
            )

    def _take_in(self) -> None:
        """Commit what could not be committed before; the rest goes on waiting."""
        try:
            self._check_place()
            self._spill.take_in(lambda rows: self._write([insert(call_of(row)) for row in rows]))
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
            self._spill.release()
            if self._trouble is not None:
                self._take_in()
            self.flush()
        finally:
            self._connection.close()


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
