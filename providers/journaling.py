"""The journal around a call: a recorded answer is replayed, every attempt is committed."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from dataclasses import replace

from ..state.errors import ModelError
from ..state.journal import Call, bindable, insert
from ..state.recorder import json_text
from .model import Model, Reply, Request, Site, Usage


class Replayed:
    """Answers a call that the journal already holds, and names all others for it.

    `identity` tells models apart that have one name: another address, other settings.
    """

    def __init__(self, inner: Model, identity: str) -> None:
        self._inner = inner
        self._identity = identity
        self.name = inner.name

    async def complete(self, request: Request, site: Site) -> Reply:
        session = site.session
        if session is None:
            return await self._inner.complete(request, site)
        key = site.call_key(session, self._identity, request)
        call = await session.journal.find_answer(key)
        if call is None:
            return await self._inner.complete(request, replace(site, key=key))
        return replace(reply_of(call), replayed=True)


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
        call = call_record(self.name, request, site, started, "answered", 0.0)
        try:
            reply = await self._inner.complete(request, site)
        except (ModelError, asyncio.CancelledError) as error:
            told = f"{type(error).__name__}: {error}"
            failed = replace(call, status="failed", latency_s=time.time() - started, problem=told)
            if isinstance(error, ModelError):
                await session.journal.commit_call(failed)
            else:
                session.journal.add_later(insert(failed))
            raise
        reply = replace(reply, text=bindable(reply.text), reasoning=bindable(reply.reasoning))
        await session.journal.commit_call(
            replace(
                call,
                latency_s=reply.latency_s,
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


def reply_of(call: Call) -> Reply:
    """Return the reply that a recorded call got."""
    return Reply(
        text=call.answer or "",
        model=call.model_answered or call.model_asked,
        usage=Usage(call.input_tokens, call.output_tokens, call.cached_tokens, call.reasoning_tokens),
        reasoning=call.reasoning,
        finish_reason=call.finish_reason,
        cost_usd=call.cost_usd,
        latency_s=call.latency_s,
        source=call.source,
        call_id=call.id,
    )


def call_record(
    model: str, request: Request, site: Site, started: float, status: str, latency_s: float
) -> Call:
    """Return the journal's row for an attempt, without what only an answer tells."""
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
        model_asked=model,
        messages=json_text(request.messages),
        params=json.dumps(request.params(), default=repr),
        latency_s=latency_s,
        started_at=started,
        reason=site.reason,
    )
