"""Commits the answers of calls: those that arrive together in one transaction.

The first one in a pass of the event loop schedules the commit, the others of that pass join it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from .budget_accounts import Settlement, settling
from .records import Call, CallStatement, ThreadStatement, insert
from .store import Store


@dataclass(slots=True)
class _Batch:
    """Calls that are committed together."""

    done: asyncio.Future[None]
    calls: list[Call] = field(default_factory=list)
    statements: list[ThreadStatement] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class CallCommits:
    """The answers that wait to be committed, in each event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._batches: WeakKeyDictionary[asyncio.AbstractEventLoop, _Batch] = WeakKeyDictionary()

    async def commit(self, call: Call, settlements: Sequence[Settlement] = ()) -> None:
        """Return once the call is committed; one that cannot be is saved elsewhere, and raises StoreError.

        One whose run has lost its claim raises ClaimLost, once it is committed as superseded.
        """
        loop = asyncio.get_running_loop()
        batch = self._batches.get(loop)
        if batch is None:
            batch = self._batches[loop] = _Batch(loop.create_future())
            loop.call_soon(self._start, loop, batch)
        statement = insert(call)
        batch.calls.append(call)
        batch.statements.append(statement)
        batch.settlements += settlements
        await asyncio.shield(batch.done)
        if isinstance(statement, CallStatement) and statement.refused is not None:
            raise statement.refused

    def _start(self, loop: asyncio.AbstractEventLoop, batch: _Batch) -> None:
        del self._batches[loop]
        batch.task = loop.create_task(self._commit(batch))

    async def _commit(self, batch: _Batch) -> None:
        try:
            await self._store.awrite([*batch.statements, *settling(batch.settlements)])
            self._store.check_place()
        except BaseException as failed:
            error = self._store.spill(batch.calls, failed)
            if not batch.done.done():
                batch.done.set_exception(error)
                batch.done.exception()
        else:
            if not batch.done.done():
                batch.done.set_result(None)
