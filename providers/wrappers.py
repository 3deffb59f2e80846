"""What happens around every model call, each as a `Model` around another one."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from ..state.errors import ModelError, ModelOverloaded, ModelUnreachable
from .loops import PerLoop
from .model import Model, Reply, Request, Site, Usage
from .settings import Price

MAX_WAIT_S = 60.0


class Retried:
    """Tries again, after a growing pause, what is worth it; honours the server's Retry-After."""

    def __init__(self, inner: Model, retries: int, *, first_wait_s: float = 0.5) -> None:
        self._inner = inner
        self._retries = retries
        self._first_wait_s = first_wait_s
        self.name = inner.name

    async def complete(self, request: Request, site: Site) -> Reply:
        attempt = 1
        while True:
            try:
                return await self._inner.complete(request, replace(site, attempt=attempt))
            except (ModelOverloaded, ModelUnreachable) as error:
                wait = self._wait_s(error, attempt)
                if attempt > self._retries or wait > MAX_WAIT_S:
                    raise
            await asyncio.sleep(wait)
            attempt += 1

    def _wait_s(self, error: ModelError, attempt: int) -> float:
        asked = error.retry_after if isinstance(error, ModelOverloaded) else None
        if asked is not None:
            return asked
        wait = self._first_wait_s * 2.0 ** (attempt - 1)
        return wait * random.uniform(0.5, 1.5)


class Priced:
    """Adds the cost where the endpoint does not send one; without a price it stays unknown."""

    def __init__(self, inner: Model, price: Price | None) -> None:
        self._inner = inner
        self._price = price
        self.name = inner.name

    async def complete(self, request: Request, site: Site) -> Reply:
        reply = await self._inner.complete(request, site)
        if reply.cost_usd is not None or self._price is None:
            return reply
        return replace(reply, cost_usd=cost_of(reply.usage, self._price))


def cost_of(usage: Usage, price: Price) -> float | None:
    """Return the cost in US dollars, None where a token count that matters is unknown."""
    if price.input == price.output == 0:
        return 0.0
    if usage.input is None or usage.output is None:
        return None
    cached = usage.cached or 0
    cached_price = price.input if price.cached is None else price.cached
    fresh = usage.input - cached
    return (fresh * price.input + cached * cached_price + usage.output * price.output) / 1e6


class Capped:
    """Lets at most `limit` calls run at once in each event loop; the others wait in line.

    Whoever's turn it is asks the journal first whether an answer could be kept.
    """

    def __init__(self, inner: Model, limit: int) -> None:
        self._inner = inner
        self._limit = limit
        self._gates: PerLoop[asyncio.Semaphore] = PerLoop(self._new_gate, _forget)
        self.name = inner.name

    async def complete(self, request: Request, site: Site) -> Reply:
        async with await self._gates.get():
            if site.session is not None:
                site.session.journal.check_writable()
            return await self._inner.complete(request, site)

    async def _new_gate(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self._limit)


async def _forget(_: asyncio.Semaphore) -> None:
    return None
