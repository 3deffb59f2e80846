"""Rate limits: calls and tokens per minute, kept before the endpoint has to refuse.

There is one limiter for each model at each endpoint, for all branches of all runs in the process, whatever
threads and event loops they are in. A call takes its place in the line at once and sleeps until its turn,
so nobody has to be woken up, and no lock is held while waiting.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from ...state.errors import CircuitOpen, ModelUnavailable
from ...state.session.session import Session
from ..model import CallContext, Layer, Model, Reply, Request

# Clocks and networks jitter: a little below the limit, hardly a call is refused.
HEADROOM = 0.97
BYTES_PER_TOKEN = 4
USUAL_ANSWER_TOKENS = 256
MAX_HOLD_S = 60.0
IMPATIENT_S = 2.0


class TooLong(Exception):
    """A call would have to wait longer than it may."""

    def __init__(self, wait: float) -> None:
        self.wait = wait


class Line(Protocol):
    """Where calls take places: that of this process, or one that all workers of a database share."""

    async def place(self, tokens: float, longest: float | None) -> float: ...

    def leave(self, tokens: float) -> None: ...

    def settle(self, reserved: float, spent: float) -> None: ...

    def hold(self, seconds: float) -> None: ...


class Shared(Protocol):
    """Tells which line a session's calls stand in, where workers share one: see shared_limits.py."""

    def rate(self, session: Session | None) -> Line | None: ...


class _Alone:
    def rate(self, session: Session | None) -> Line | None:
        return None


ALONE = _Alone()


class RateLimiter:
    """Spreads calls evenly over each minute; `burst` of them may go at once after a quiet time."""

    def __init__(
        self,
        requests: float | None = None,
        tokens: float | None = None,
        burst: int = 1,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.limits = (requests, tokens, burst)
        self._clock = clock or (lambda: time.monotonic())
        self._lock = threading.Lock()
        self._intervals = tuple(None if not rate else 60.0 / (rate * HEADROOM) for rate in (requests, tokens))
        self._burst = burst
        self.free_at = [-math.inf, -math.inf]
        self.held_until = -math.inf

    def join(self, tokens: float) -> float:
        """Take the next place and return the seconds until its turn."""
        with self._lock:
            now = self._clock()
            starts = [now, self.held_until]
            for number, amount in enumerate((1.0, tokens)):
                interval = self._intervals[number]
                if interval is None:
                    continue
                slack = (self._burst - 1) * interval if number == 0 else 0.0
                start = max(self.free_at[number], now - slack, self.held_until)
                self.free_at[number] = start + amount * interval
                starts.append(start)
            return max(starts) - now

    async def place(self, tokens: float, longest: float | None) -> float:
        """Like `join`; raises TooLong for a place that is further away, and takes none then."""
        wait = self.join(tokens)
        if longest is not None and wait > longest:
            self.leave(tokens)
            raise TooLong(wait)
        return wait

    def leave(self, tokens: float) -> None:
        """Give a place up that nobody will use."""
        self.give_back(1.0, tokens)

    def give_back(self, calls: float, tokens: float) -> None:
        """Move the line up by what nobody will use."""
        with self._lock:
            for number, amount in enumerate((calls, tokens)):
                interval = self._intervals[number]
                if interval is not None:
                    self.free_at[number] -= amount * interval

    def settle(self, reserved: float, spent: float) -> None:
        """Correct the tokens of a call that is over."""
        if self._intervals[1] is not None:
            with self._lock:
                self.free_at[1] += (spent - reserved) * self._intervals[1]

    def hold(self, seconds: float) -> None:
        """Let nobody go for a while: the endpoint asked for it."""
        with self._lock:
            self.held_until = max(self.held_until, self._clock() + seconds)

    @property
    def is_held(self) -> bool:
        return self._clock() < self.held_until


class RateLimitLayer(Layer):
    """Waits for its turn before each call. Raises CircuitOpen if that is more than `queue_s` away.

    One that is not `patient`, because another model comes after it, does not wait until the endpoint takes
    calls again, either.
    """

    def __init__(
        self,
        inner: Model,
        limiter: RateLimiter,
        max_tokens: int | None,
        queue_s: float | None,
        *,
        patient: bool = True,
        sharing: Shared = ALONE,
    ) -> None:
        self._patient = patient
        self._sharing = sharing
        super().__init__(inner)
        self._limiter = limiter
        self._max_tokens = max_tokens
        self._queue_s = queue_s
        self._counts_tokens = limiter.limits[1] is not None

    async def complete(self, request: Request, context: CallContext) -> Reply:
        tokens = self._estimate(request) if self._counts_tokens else 0.0
        places: Line = self._sharing.rate(context.session) or self._limiter
        await self._wait(tokens, places)
        spent = 0.0
        try:
            reply = await self.inner.complete(request, context)
            usage = reply.usage
            spent = tokens if usage.input is None or usage.output is None else usage.input + usage.output
            return reply
        except ModelUnavailable as error:
            if error.status == 429 and error.retry_after:
                for line in {places, self._limiter}:
                    line.hold(min(error.retry_after, MAX_HOLD_S))
            raise
        finally:
            places.settle(tokens, spent)

    async def _wait(self, tokens: float, places: Line) -> None:
        while True:
            longest = self._queue_s
            if not self._patient and self._limiter.is_held:
                longest = min(IMPATIENT_S, math.inf if longest is None else longest)
            try:
                wait = await places.place(tokens, longest)
            except TooLong as far:
                raise busy(self.name, f"its rate limit leaves no room for {far.wait:.1f} s") from None
            try:
                if wait > 0:
                    if self._limiter.is_held:
                        wait *= random.uniform(1.0, 1.1)
                    await asyncio.sleep(wait)
            except BaseException:
                places.leave(tokens)
                raise
            if not self._limiter.is_held:
                return

    def _estimate(self, request: Request) -> float:
        text = json.dumps([request.messages, request.schema, request.tools], default=str)
        answer = request.max_tokens or self._max_tokens or USUAL_ANSWER_TOKENS
        return len(text) / BYTES_PER_TOKEN + answer


def busy(name: str, why: str) -> CircuitOpen:
    """Return the error of a call that would have to wait too long for its turn."""
    error = CircuitOpen(
        f"{name} is busy: {why}, which is more than queue_s allows. Raise queue_s, or bind another model "
        "after it.",
        model=name,
    )
    error.lasting = True
    return error
