"""The cap on calls at a time."""

from __future__ import annotations

import asyncio

from ...state.event_loops import PerLoop
from ..model import CallContext, Layer, Model, Reply, Request
from .rate_limit import busy


class ConcurrencyLayer(Layer):
    """Lets at most `limit` calls run at once in each event loop; the others wait in line.

    Whoever's turn it is asks the journal first whether an answer could be kept. Raises CircuitOpen for a
    call that would wait longer than `queue_s` seconds.
    """

    def __init__(self, inner: Model, limit: int, queue_s: float | None = None) -> None:
        super().__init__(inner)
        self._limit = limit
        self._queue_s = queue_s
        self._gates: PerLoop[asyncio.Semaphore] = PerLoop(self._new_gate, _forget)

    async def complete(self, request: Request, context: CallContext) -> Reply:
        gate = await self._gates.get()
        await self._enter(gate)
        try:
            if context.session is not None:
                context.session.journal.check_writable()
            return await self.inner.complete(request, context)
        finally:
            gate.release()

    async def _enter(self, gate: asyncio.Semaphore) -> None:
        if self._queue_s is None or not gate.locked():
            await gate.acquire()
            return
        try:
            await asyncio.wait_for(gate.acquire(), self._queue_s)
        except TimeoutError:
            raise busy(self.name, f"{self._limit} calls are under way") from None

    async def _new_gate(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self._limit)


async def _forget(_: asyncio.Semaphore) -> None:
    return None
