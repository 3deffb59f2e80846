"""The database under the journal: what waits to be written, how it is read, what happens if it is away."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from operator import is_
from pathlib import Path
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from ..blobs import whole
from ..database import Database
from ..errors import StoreError
from .dialect import Dialect, Row, Rows, Transaction
from .fencing import Guard, Open
from .new_threads import NewThreads
from .records import Call, Statement, changed, is_call
from .spill import Spill

R = TypeVar("R")
# What ends a superstep (the node's run, its writes, the checkpoint) comes within so many passes of the loop.
PASSES = 6


class Reader(Protocol):
    """A connection of its own, for a thread that must not stand in anybody's way."""

    def query(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Return the rows of a SELECT as dictionaries, of what is committed."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Store(ABC):
    """A database with the tables of the journal; safe to use from several threads and event loops.

    All SQL is one portable text with `?` marks. `file` is the database's own, or one beside which this
    machine keeps what is not in it.
    """

    dialect: Dialect
    has_file: bool = True  # it is one, so that this machine's locks tell who uses it

    def __init__(self, database: Database, file: Path) -> None:
        self.database = database
        self.file = file
        self.guard: Guard = Open()
        self._lock = threading.RLock()
        self._spill = Spill(file, is_call, str(database))
        self._trouble: StoreError | None = None
        self._waiting: list[Statement] = []
        self._flushing: WeakSet[asyncio.AbstractEventLoop] = WeakSet()  # which write what waits in a moment
        self._closed = False
        self.new_threads = NewThreads()

    def _begin(self) -> None:
        """Begin anew in a forked child: what waits to be written is its parent's."""
        self._lock = threading.RLock()
        self._waiting.clear()
        self._flushing.clear()
        self.new_threads.clear()
        self._spill.begin()

    # Writing: at once, or with the next commit

    def add_later(self, *statements: Statement) -> None:
        """Write with the next commit; in an event loop, that is at the latest PASSES of its passes away."""
        with self._lock:
            self._waiting += statements
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.try_flush()
        else:
            if loop not in self._flushing:
                self._flushing.add(loop)
                loop.call_soon(self._flush_after, loop, PASSES)

    def _flush_after(self, loop: asyncio.AbstractEventLoop, passes: int) -> None:
        if passes and self._waiting:
            loop.call_soon(self._flush_after, loop, passes - 1)
        else:
            self._flushing.discard(loop)
            with suppress(StoreError):  # the next write raises what this one does
                self.try_flush()

    def is_waiting(self, statement: Statement) -> bool:
        """Tell whether a statement given to `add_later` is not committed yet."""
        with self._lock:
            return any(map(partial(is_, statement), reversed(self._waiting)))

    async def until_written(self, statement: Statement) -> None:
        """Return once a statement is committed that was given to `add_later` just now."""
        for _ in range(PASSES):  # where no other node of the superstep still runs, its checkpoint comes now
            await asyncio.sleep(0)
            if not self.is_waiting(statement):
                return
        await self.aflush()

    @abstractmethod
    def write(self, statements: Iterable[Statement]) -> None:
        """Run all statements in one transaction, behind all that waits."""

    @abstractmethod
    async def awrite(self, statements: Iterable[Statement], *, durable: bool = False) -> None:
        """Like `write`; `durable` waits for the disk, so that a loss of power undoes nothing."""

    @abstractmethod
    def begin_write(self, statements: Iterable[Statement]) -> Future[None]:
        """Like `write`, and return at once what tells when it is done; an event loop's end changes nothing.

        Where only this event loop would look after it, `flush` does, too.
        """

    @abstractmethod
    def transact(self, work: Callable[[Transaction], R], *, alone: bool = True) -> R:
        """Do work in one transaction, behind all that waits; nobody else's `transact` runs beside it.

        Work that locks by itself what it goes by need not be `alone`.
        """

    @abstractmethod
    async def atransact(self, work: Callable[[Transaction], R], *, alone: bool = True) -> R:
        """Like `transact`, from an event loop; work may run in another thread."""

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Run one statement as a transaction of its own, behind all that waits, and return its rows."""
        return self.transact(lambda transaction: transaction.execute(sql, values))

    async def aexecute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Like `execute`, from an event loop."""
        return await self.atransact(lambda transaction: transaction.execute(sql, values))

    async def aexecute_all(self, *statements: Statement) -> list[Rows]:
        """Like `aexecute`, of several statements, each behind the one before."""
        return [await self.aexecute(*statement) for statement in statements]

    @abstractmethod
    def try_flush(self) -> None:
        """Write what waits, unless something delays it: then it goes on waiting."""

    def flush(self) -> None:
        """Write what waits, whatever delays it."""
        self.write(())

    async def aflush(self) -> None:
        """Like `flush`, from an event loop."""
        if self._waiting:
            await self.awrite(())

    # Reading

    def query(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Return the rows of a SELECT as dictionaries, what waits included."""
        self.flush()
        return self._query(sql, values)

    async def aquery(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Like `query`, from an event loop."""
        await self.aflush()
        return await self._aquery(sql, values)

    @abstractmethod
    def _query(self, sql: str, values: Sequence[Any]) -> Rows: ...

    @abstractmethod
    async def _aquery(self, sql: str, values: Sequence[Any]) -> Rows: ...

    @abstractmethod
    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return the rows of a SELECT of ours, without what waits."""

    @abstractmethod
    async def arows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Like `rows`, from an event loop."""

    @abstractmethod
    def reader(self) -> Reader:
        """Open another connection, for reading only."""

    @abstractmethod
    def blob(self, sha256: str) -> bytes:
        """Return the bytes of an image, a sound or a document. Raises StoreError if there are none."""

    def whole(self, text: str) -> str:
        """Return what a text on record was before images and the like were kept by themselves."""
        return whole(text, self.blob)

    # When it cannot be written

    @abstractmethod
    def has_to_wait(self) -> bool:
        """Tell whether an event loop that wrote in place would stand still for longer than a moment."""

    @abstractmethod
    async def until_free(self) -> None:
        """Return once the database can be written."""

    @abstractmethod
    def check_writable(self) -> None:
        """Raise StoreError unless an answer could be kept; call it before you pay for one."""

    def check_place(self) -> None:  # noqa: B027
        """Raise StoreError if what was committed may be gone."""

    def spill(self, calls: Sequence[Call], error: BaseException) -> StoreError:
        """Save paid calls that cannot be committed in a local file; return the error that says where."""
        self._trouble = self._keep(calls, error)
        return self._trouble

    def _keep(self, calls: Sequence[Call], error: BaseException) -> StoreError:
        return self._spill.keep([changed(call, self.whole) for call in calls], error)

    @abstractmethod
    def close(self) -> None:
        """Write what waits, and close the database."""
