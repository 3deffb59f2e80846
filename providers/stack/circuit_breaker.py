"""Circuit breakers: an endpoint that fails time after time is left alone for a while.

There is one for each model at each endpoint, for all threads and event loops of the process. It is closed
until so many calls in a row have failed, then open for a pause, then half open: one call may try.
"""

from __future__ import annotations

import threading
import time

from ...state.errors import CircuitOpen, MalformedResponse, ModelError, ModelUnavailable, ModelUnreachable
from ..model import CallContext, Layer, Model, Reply, Request


class CircuitBreaker:
    """Counts failures in a row; `pause_after` 0 never opens it. Times are seconds."""

    def __init__(self, pause_after: int, pause_s: float) -> None:
        self.pause_after = pause_after
        self.pause_s = pause_s
        self.failures = 0
        self._opened_at: float | None = None
        self._probing = False
        self._lock = threading.Lock()

    @property
    def state(self) -> str:
        """closed, open or half-open."""
        with self._lock:
            if self._opened_at is None:
                return "closed"
            return "open" if self._left(self._opened_at) > 0 else "half-open"

    def enter(self) -> float | None:
        """Return None if a call may be made, else after how many seconds to ask again."""
        with self._lock:
            if self._opened_at is None:
                return None
            left = self._left(self._opened_at)
            if left > 0:
                return left
            if self._probing:
                return min(1.0, self.pause_s)
            self._probing = True
            return None

    def succeeded(self) -> None:
        with self._lock:
            self.failures, self._opened_at = 0, None

    def failed(self) -> None:
        with self._lock:
            self.failures += 1
            self._probing = False
            if self.pause_after and self.failures >= self.pause_after:
                self._opened_at = time.monotonic()

    def left(self) -> None:
        """Note that a call was given up, which says nothing about the endpoint."""
        with self._lock:
            self._probing = False

    def _left(self, opened_at: float) -> float:
        return opened_at + self.pause_s - time.monotonic()


class CircuitBreakerLayer(Layer):
    """Makes no call while the breaker is open: raises CircuitOpen instead, before anything is spent."""

    def __init__(self, inner: Model, breaker: CircuitBreaker) -> None:
        super().__init__(inner)
        self._breaker = breaker

    async def complete(self, request: Request, context: CallContext) -> Reply:
        breaker = self._breaker
        wait = breaker.enter()
        if wait is not None:
            raise CircuitOpen(
                f"{self.name} is not asked: {breaker.failures} calls in a row failed there. It is tried "
                f"again in {wait:.0f} s. Bind another model after it, or set pause_after = 0.",
                model=self.name,
                retry_after=wait,
            )
        try:
            reply = await self.inner.complete(request, context)
        except ModelError as error:
            if isinstance(error, CircuitOpen):
                breaker.left()
            elif tells_against(error):
                breaker.failed()
            else:
                breaker.succeeded()
            raise
        except BaseException:
            breaker.left()
            raise
        breaker.succeeded()
        return reply


def tells_against(error: ModelError) -> bool:
    """Tell whether an error means that the endpoint is out of order; a rate limit does not."""
    if isinstance(error, ModelUnavailable):
        return error.status not in (402, 409, 425, 429)
    return isinstance(error, (ModelUnreachable, MalformedResponse))
