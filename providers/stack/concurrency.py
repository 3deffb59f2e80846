"""The cap on calls at a time: a ceiling by the settings, and below it what the endpoint takes."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import cast
from weakref import WeakSet

from ...state.errors import ModelUnavailable
from ...state.event_loops import forget_after_fork
from ..model import CallContext, Layer, Model, Reply, Request
from .adaptive_limit import AdaptiveLimit, Sent
from .rate_limit import busy
from .shared_limits import SharedSlots, Sharing

CEILING = 256


class Ceiling:
    """The most calls at a time that one model's settings allow, in this process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0

    @property
    def is_free(self) -> bool:
        return self.running < self.limit


class _Waiter:
    """A call in line; `sent` once it is its turn."""

    def __init__(self, ceiling: Ceiling) -> None:
        self.ceiling = ceiling
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
        self._ceilings: WeakSet[Ceiling] = WeakSet()
        forget_after_fork(self)

    def ceiling(self, limit: int) -> Ceiling:
        """Return a ceiling for calls that take their turns here."""
        ceiling = Ceiling(limit)
        with self._lock:
            self._ceilings.add(ceiling)
        return ceiling

    def forget(self) -> None:
        """Drop all calls under way and in line."""
        self._lock = threading.Lock()
        self._line.clear()
        self._limit.running = 0
        for ceiling in self._ceilings:
            ceiling.running = 0

    def expect(self, calls: int) -> None:
        with self._lock:
            self._limit.expect(calls)

    @property
    def running(self) -> int:
        return self._limit.running

    def _is_free(self, ceiling: Ceiling) -> bool:
        """Whether a call under a ceiling need not wait."""
        if not ceiling.is_free or not self._limit.is_free:
            return False
        return not any(waiter.ceiling.is_free for waiter in self._line)

    async def enter(self, ceiling: Ceiling) -> Sent:
        """Wait for a turn."""
        with self._lock:
            if self._is_free(ceiling):
                return self._send(ceiling)
            waiter = _Waiter(ceiling)
            self._line.append(waiter)
        try:
            await waiter.turn
        except BaseException:
            with self._lock:
                if waiter in self._line:
                    self._line.remove(waiter)
                elif waiter.sent is not None:
                    self._end(ceiling)
            self._go_on()
            raise
        return cast("Sent", waiter.sent)

    def _send(self, ceiling: Ceiling) -> Sent:
        ceiling.running += 1
        return self._limit.send()

    def _end(self, ceiling: Ceiling) -> None:
        ceiling.running -= 1
        self._limit.end()

    def _next(self) -> _Waiter | None:
        """Return the first in line whose ceiling lets it go."""
        if not self._limit.is_free:
            return None
        return next((waiter for waiter in self._line if waiter.ceiling.is_free), None)

    def answered(self, sent: Sent, step: str, seconds: float) -> None:
        with self._lock:
            self._limit.answered(sent, step, seconds, waiting=bool(self._line))

    def refused(self, sent: Sent) -> bool:
        with self._lock:
            return self._limit.refused(sent)

    def leave(self, ceiling: Ceiling) -> None:
        """End a call: whoever is next may go."""
        with self._lock:
            self._end(ceiling)
        self._go_on()

    def _go_on(self) -> None:
        while True:
            with self._lock:
                waiter = self._next()
                if waiter is None:
                    return
                self._line.remove(waiter)
                waiter.sent = self._send(waiter.ceiling)
            try:
                waiter.loop.call_soon_threadsafe(waiter.wake)
            except RuntimeError:  # its loop is closed: nobody waits there any more
                with self._lock:
                    waiter.sent = None
                    self._end(waiter.ceiling)


class ConcurrencyLayer(Layer):
    """Lets at most `limit` calls run at once, and as many as the `capacity` has room for.

    Where workers share the limit (`sharing`), it holds for all of them together. Whoever's turn it is asks
    the journal first whether an answer could be kept. Raises CircuitOpen for a call that would wait longer
    than `queue_s` seconds.
    """

    def __init__(
        self,
        inner: Model,
        limit: int,
        queue_s: float | None = None,
        capacity: Capacity | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        super().__init__(inner)
        self._queue_s = queue_s
        self._capacity = capacity or Capacity(AdaptiveLimit(limit))
        self._ceiling = self._capacity.ceiling(limit)
        self._sharing = sharing

    async def complete(self, request: Request, context: CallContext) -> Reply:
        session = context.session
        slots = None if self._sharing is None or session is None else self._sharing.slots(session)
        sent = await self._enter(slots)
        try:
            if session is not None:
                session.journal.check_writable()
            reply = await self.inner.complete(request, context)
            self._capacity.answered(sent, context.step, reply.latency_s)
            return reply
        except ModelUnavailable as error:
            if error.status in (429, 503, 529) and not error.lasting:
                error.crowded = self._capacity.refused(sent)
            raise
        finally:
            self._capacity.leave(self._ceiling)
            if slots is not None:
                slots.leave()

    async def _enter(self, slots: SharedSlots | None) -> Sent:
        if self._queue_s is None:
            return await self._turn(slots)
        try:
            async with asyncio.timeout(self._queue_s):
                return await self._turn(slots)
        except TimeoutError:
            raise busy(self.name, f"{self._capacity.running} calls are under way") from None

    async def _turn(self, slots: SharedSlots | None) -> Sent:
        sent = await self._capacity.enter(self._ceiling)
        if slots is not None:
            try:
                await slots.enter()
            except BaseException:
                self._capacity.leave(self._ceiling)
                raise
        return sent
