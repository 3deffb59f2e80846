"""The cap on calls at a time: a ceiling by the settings, and below it what the endpoint takes."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import cast

from ...state.errors import ModelUnavailable
from ...state.event_loops import PerLoop, forget_after_fork
from ..model import CallContext, Layer, Model, Reply, Request
from .adaptive_limit import AdaptiveLimit, Sent
from .rate_limit import busy

CEILING = 256


class _Waiter:
    """A call in line; `sent` once it is its turn."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.turn: asyncio.Future[None] = self.loop.create_future()
        self.sent: Sent | None = None

    def wake(self) -> None:
        if not self.turn.done():
            self.turn.set_result(None)


class Capacity:
    """What one model at one endpoint takes at a time, and the line of those who wait, in their order.

    All threads and event loops of the process share it.
    """

    def __init__(self, limit: AdaptiveLimit) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._line: deque[_Waiter] = deque()
        forget_after_fork(self)

    def forget(self) -> None:
        """Drop all calls under way and in line."""
        self._lock = threading.Lock()
        self._line.clear()
        self._limit.running = 0

    def expect(self, calls: int) -> None:
        with self._lock:
            self._limit.expect(calls)

    @property
    def running(self) -> int:
        return self._limit.running

    @property
    def is_free(self) -> bool:
        return not self._line and self._limit.is_free

    async def enter(self) -> Sent:
        """Wait for a turn."""
        with self._lock:
            if self.is_free:
                return self._limit.send()
            waiter = _Waiter()
            self._line.append(waiter)
        try:
            await waiter.turn
        except BaseException:
            with self._lock:
                if waiter.sent is None:
                    self._line.remove(waiter)
                else:
                    self._limit.end()
            self._go_on()
            raise
        return cast("Sent", waiter.sent)

    def answered(self, sent: Sent, step: str, seconds: float) -> None:
        with self._lock:
            self._limit.answered(sent, step, seconds, waiting=bool(self._line))

    def refused(self, sent: Sent) -> bool:
        with self._lock:
            return self._limit.refused(sent)

    def leave(self) -> None:
        """End a call: whoever is next may go."""
        with self._lock:
            self._limit.end()
        self._go_on()

    def _go_on(self) -> None:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        while True:
            with self._lock:
                if not self._line or not self._limit.is_free:
                    return
                waiter = self._line.popleft()
                waiter.sent = self._limit.send()
            if waiter.loop is here:
                waiter.wake()
                continue
            try:
                waiter.loop.call_soon_threadsafe(waiter.wake)
            except RuntimeError:  # its loop is closed: nobody waits there any more
                with self._lock:
                    self._limit.end()


class ConcurrencyLayer(Layer):
    """Lets at most `limit` calls run at once in each event loop, and as many as the `capacity` has room for.

    Whoever's turn it is asks the journal first whether an answer could be kept. Raises CircuitOpen for a
    call that would wait longer than `queue_s` seconds.
    """

    def __init__(
        self, inner: Model, limit: int, queue_s: float | None = None, capacity: Capacity | None = None
    ) -> None:
        super().__init__(inner)
        self._limit = limit
        self._queue_s = queue_s
        self._capacity = capacity or Capacity(AdaptiveLimit(limit))
        self._gates: PerLoop[asyncio.Semaphore] = PerLoop(self._new_gate, _forget)

    async def complete(self, request: Request, context: CallContext) -> Reply:
        gate = await self._gates.get()
        sent = await self._enter(gate)
        try:
            if context.session is not None:
                context.session.journal.check_writable()
            reply = await self.inner.complete(request, context)
            self._capacity.answered(sent, context.step, reply.latency_s)
            return reply
        except ModelUnavailable as error:
            if error.status in (429, 503, 529) and not error.lasting:
                error.crowded = self._capacity.refused(sent)
            raise
        finally:
            self._capacity.leave()
            gate.release()

    async def _enter(self, gate: asyncio.Semaphore) -> Sent:
        if self._queue_s is None or (self._capacity.is_free and not gate.locked()):
            return await self._turn(gate)
        try:
            async with asyncio.timeout(self._queue_s):
                return await self._turn(gate)
        except TimeoutError:
            raise busy(self.name, f"{self._capacity.running} calls are under way") from None

    async def _turn(self, gate: asyncio.Semaphore) -> Sent:
        await gate.acquire()
        try:
            return await self._capacity.enter()
        except BaseException:
            gate.release()
            raise

    async def _new_gate(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self._limit)


async def _forget(_: asyncio.Semaphore) -> None:
    return None
