"""Commits the answers of calls: those that arrive together in one transaction.

The first one in a pass of the event loop schedules the commit, the others of that pass join it. A commit is
no task: nobody cancels it, and an event loop that is closed meanwhile takes nothing along that is paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from ..errors import StoreError
from ..event_loops import running_loop
from .budget_accounts import Settlement
from .budget_holds import settling
from .forking import Forked, track
from .records import Call, CallStatement, ThreadStatement, insert
from .store import Store


@dataclass(slots=True)
class _Batch:
    """Calls that are committed together; `error` says where they are kept if that failed."""

    done: asyncio.Future[None]
    calls: list[Call] = field(default_factory=list)
    statements: list[ThreadStatement] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    error: StoreError | None = None


class CallCommits(Forked):
    """The answers that wait to be committed, in each event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._begin()
        track(self)

    def _begin(self) -> None:
        self._batches: dict[asyncio.AbstractEventLoop, _Batch] = {}
        self._under_way: dict[Future[None], _Batch] = {}

    def after_fork(self) -> None:
        """Begin anew in a forked child: what is under way is its parent's."""
        self._begin()

    async def commit(self, call: Call, settlements: Sequence[Settlement] = ()) -> None:
        """Return once the call is committed; one that cannot be is saved elsewhere, and raises StoreError.

        One whose run has lost its claim raises ClaimLost, once it is committed as superseded.
        """
        loop = asyncio.get_running_loop()
        batch = self._batches.get(loop)
        if batch is None:
            batch = self._batches[loop] = _Batch(loop.create_future())
            loop.call_soon(self._start, loop)
        statement = insert(call)
        batch.calls.append(call)
        batch.statements.append(statement)
        batch.settlements += settlements
        await asyncio.shield(batch.done)
        if isinstance(statement, CallStatement) and statement.refused is not None:
            raise statement.refused

    def close(self) -> None:
        """Return once all is committed, or saved elsewhere, whose event loop was closed, too."""
        for loop in list(self._batches):
            self._start(loop)
        if self._under_way:
            with suppress(StoreError):  # told to each that is under way
                self._store.flush()
        for written in list(self._under_way):
            self._keep(written)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._batches.get(loop)
        if batch is not None:
            written = self._store.begin_write([*batch.statements, *settling(batch.settlements)])
            del self._batches[loop]  # not before: a signal's handler may raise on the way
            self._under_way[written] = batch
            written.add_done_callback(partial(self._written, loop, batch))

    def _written(self, loop: asyncio.AbstractEventLoop, batch: _Batch, written: Future[None]) -> None:
        """Have those who wait told, in their event loop; called in whichever thread wrote it."""
        is_kept = written.exception() is None
        if is_kept and loop is running_loop():
            self._end(batch, written)
            return
        try:
            loop.call_soon_threadsafe(self._end, batch, written)
        except RuntimeError:  # it is closed
            if is_kept:
                del self._under_way[written]

    def _end(self, batch: _Batch, written: Future[None]) -> None:
        self._keep(written)
        if batch.error is None:
            batch.done.set_result(None)
        else:
            batch.done.set_exception(batch.error)
            batch.done.exception()

    def _keep(self, written: Future[None]) -> None:
        """Save elsewhere, once, what was not committed."""
        batch = self._under_way.pop(written, None)
        if batch is None:
            return
        try:
            written.result()
            self._store.check_place()
        except Exception as failed:
            batch.error = self._store.spill(batch.calls, failed)
