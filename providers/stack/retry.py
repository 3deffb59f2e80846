"""The one retry loop: what is worth it is tried again, after a growing pause, for a bounded time."""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import replace

from ...state.errors import CircuitOpen, MalformedResponse, ModelError, ModelUnavailable, ModelUnreachable
from ..model import CallContext, Layer, Model, Reply, Request

MAX_WAIT_S = 60.0
IMPATIENT_S = 2.0


class RetryLayer(Layer):
    """Tries again what is worth it; honours the server's Retry-After, and gives up if it is over MAX_WAIT_S.

    No attempt begins later than `for_s` seconds after the first failure. A `patient` one waits while the
    model's circuit breaker is open; one that is not, because another model comes after it, gives up at once,
    and never waits longer than IMPATIENT_S. A patient one does not count a refusal where too many calls were
    under way at a time. An error that comes out counts its attempts.
    """

    def __init__(
        self,
        inner: Model,
        retries: int,
        *,
        first_wait_s: float = 0.5,
        for_s: float = 300.0,
        patient: bool = True,
    ) -> None:
        super().__init__(inner)
        self._retries = retries
        self._first_wait_s = first_wait_s
        self._for_s = for_s
        self._patient = patient

    async def complete(self, request: Request, context: CallContext) -> Reply:
        attempts = crowded = 0
        end: float | None = None
        while True:
            try:
                return await self.inner.complete(
                    request, replace(context, attempt=context.attempt + attempts) if attempts else context
                )
            except ModelError as error:
                attempts += type(error).attempts
                error.attempts = attempts
                paused = isinstance(error, CircuitOpen)
                if self._patient and self._retries and isinstance(error, ModelUnavailable):
                    crowded += error.crowded
                spent = not self._patient if paused else attempts - crowded > self._retries
                if spent or not is_worth_retrying(error):
                    raise
                wait = self._wait_s(error, max(1, attempts - crowded))
                now = time.monotonic()
                end = now + self._for_s if end is None else end
                if now + wait > end or (wait > IMPATIENT_S and not self._patient):
                    raise
            await asyncio.sleep(wait)

    def _wait_s(self, error: ModelError, attempt: int) -> float:
        pause_s = error.retry_after if isinstance(error, ModelUnavailable) else None
        if pause_s is not None:
            return math.inf if pause_s > MAX_WAIT_S else pause_s * random.uniform(1.0, 1.25)
        wait = min(self._first_wait_s * 2.0 ** (attempt - 1), MAX_WAIT_S)
        return wait * random.uniform(0.5, 1.5)


def is_worth_retrying(error: ModelError) -> bool:
    """Tell whether the same request might succeed in a while."""
    return isinstance(error, (ModelUnavailable, ModelUnreachable, MalformedResponse)) and not error.lasting
