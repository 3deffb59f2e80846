"""What happens around every model call, each as a `Model` around another one."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from dataclasses import replace

from pydantic_core import to_json

from ..state.errors import ModelError, ModelOverloaded, ModelUnreachable
from ..state.journal import Call
from .loops import PerLoop
from .model import Model, Reply, Request, Site, Usage
from .settings import Price

MAX_WAIT_S = 60.0


class Replayed:
    """Answers a call that the journal already holds, and names all others for it."""

    def __init__(self, inner: Model) -> None:
        self._inner = inner
        self.name = inner.name

    async def complete(self, request: Request, site: Site) -> Reply:
        session = site.session
        if session is None:
            return await self._inner.complete(request, site)
        key = site.call_key(session, self.name, request)
        call = await session.journal.find_answer(key)
        if call is None:
            return await self._inner.complete(request, replace(site, key=key))
        return Reply(
            text=call.answer or "",
            model=call.model_answered or call.model_asked,
            usage=Usage(call.input_tokens, call.output_tokens, call.cached_tokens, call.reasoning_tokens),
            reasoning=call.reasoning,
            finish_reason=call.finish_reason,
            cost_usd=call.cost_usd,
            latency_s=call.latency_s,
            replayed=True,
            call_id=call.id,
        )


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


class Journaled:
    """Commits each attempt, answered or failed, before anyone sees its outcome."""

    def __init__(self, inner: Model) -> None:
        self._inner = inner
        self.name = inner.name

    async def complete(self, request: Request, site: Site) -> Reply:
        session = site.session
        if session is None:
            return await self._inner.complete(request, site)
        started = time.time()
        try:
            reply = await self._inner.complete(request, site)
        except ModelError as error:
            call = self._call(request, site, started, "failed", time.time() - started)
            await session.journal.commit_call(replace(call, problem=f"{type(error).__name__}: {error}"))
            raise
        call = self._call(request, site, started, "answered", reply.latency_s)
        await session.journal.commit_call(
            replace(
                call,
                model_answered=reply.model,
                answer=reply.text,
                reasoning=reply.reasoning,
                finish_reason=reply.finish_reason,
                input_tokens=reply.usage.input,
                output_tokens=reply.usage.output,
                cached_tokens=reply.usage.cached,
                reasoning_tokens=reply.usage.reasoning,
                cost_usd=reply.cost_usd,
            )
        )
        return replace(reply, call_id=call.id)

    def _call(self, request: Request, site: Site, started: float, status: str, latency_s: float) -> Call:
        key = site.key
        return Call(
            id=secrets.token_hex(8),
            thread_id=site.thread_id,
            task=site.task,
            path=site.path,
            step=site.step,
            role=site.role,
            request_hash=key.request_hash if key else "",
            occurrence=key.occurrence if key else 0,
            attempt=site.attempt,
            status=status,
            model_asked=self.name,
            messages=to_json(request.messages, fallback=repr).decode(),
            params=json.dumps(request.params()),
            latency_s=latency_s,
            started_at=started,
        )


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
    """Lets at most `limit` calls run at once in each event loop; the others wait in line."""

    def __init__(self, inner: Model, limit: int) -> None:
        self._inner = inner
        self._limit = limit
        self._gates: PerLoop[asyncio.Semaphore] = PerLoop(self._new_gate, _forget)
        self.name = inner.name

    async def complete(self, request: Request, site: Site) -> Reply:
        async with await self._gates.get():
            return await self._inner.complete(request, site)

    async def _new_gate(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self._limit)


async def _forget(_: asyncio.Semaphore) -> None:
    return None
