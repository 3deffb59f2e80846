"""The journal around a call: a recorded answer is replayed, every attempt is committed."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from ...state.blobs import referring
from ...state.errors import ModelError, StoreError
from ...state.journal.earlier import prompt_of
from ...state.journal.records import Call, bindable, insert
from ...state.json_text import json_text
from ...state.money import dollars, picos
from ...state.session.foreign_calls import COUNTED, Seen, handlers_of, is_langfuses, under_way
from ...state.session.session import Session
from ...state.statuses import CallSource
from ..model import AttemptOutcome, CallContext, Layer, Model, Reply, Request, ToolCall, Usage, repr_json

rehearsing: ContextVar[bool] = ContextVar("rehearsing", default=False)
"""Whether a node only tries what is answered already: then nothing is asked, whoever would answer."""


class WouldAsk(Exception):
    """A call that is only rehearsed has no answer on record: this is what it would ask, and of whom."""

    def __init__(self, model: str, prompt: str) -> None:
        super().__init__(f"{model} would be asked")
        self.model = model
        self.prompt = prompt


def reject(reply: Reply, context: CallContext, problem: str) -> None:
    """Keep an answer on record as one that will not do."""
    if context.session is not None and reply.call_id is not None:
        context.session.journal.note_problem(context.thread_id, reply.call_id, problem)
        context.session.journal.reject(context.thread_id, [reply.call_id])


class ReplayLayer(Layer):
    """Answers a call that the journal already holds, and names all others for it.

    `identity` tells models apart that have one name: another address, other settings. `doubt` says why an
    answer will not do that was committed right before a crash, so that nobody came to reject it.
    """

    def __init__(self, inner: Model, identity: str, doubt: Callable[[Call, CallContext], str | None]) -> None:
        super().__init__(inner)
        self._identity = identity
        self._doubt = doubt

    async def complete(self, request: Request, context: CallContext) -> Reply:
        session = context.session
        if session is None:
            _refuse_in_rehearsal(self.name, request, context)
            return await self.inner.complete(request, context)
        key = context.call_key(session, self._identity, request)
        call = await session.journal.find_answer(key)
        call = call or await session.journal.claim_answer(key, context.path, context.run.written_by)
        if call is None:
            _refuse_in_rehearsal(self.name, request, context)
            prompt = partial(_prompt, request, context)
            await session.journal.check_unanswered(key, context.path, context.step, prompt)
            return await self.inner.complete(request, replace(context, key=key))
        reply = replace(reply_of(call), replayed=True)
        problem = self._doubt(call, context)
        if problem is not None:
            reject(reply, context, problem)
            _refuse_in_rehearsal(self.name, request, context)
            return await self.inner.complete(request, replace(context, key=key))
        return reply


def _refuse_in_rehearsal(model: str, request: Request, context: CallContext) -> None:
    if rehearsing.get():
        raise WouldAsk(model, _prompt(request, context))


class JournalLayer(Layer):
    """Commits each attempt, answered or failed, before anyone sees its outcome.

    `dials` are those of the model's settings; they go on record with the question's own, and the provider.
    """

    def __init__(
        self, inner: Model, dials: Mapping[str, Any] | None = None, provider: str | None = None
    ) -> None:
        super().__init__(inner)
        self._beside = {"settings": dials, "provider": provider}

    async def complete(self, request: Request, context: CallContext) -> Reply:
        session = context.session
        if session is None:
            return await self.inner.complete(request, context)
        context.run.check_halt()
        await context.run.check_claim()
        started = time.time()
        columns = call_columns(self.name, request, context, started, self._beside)
        outcome = context.outcome or AttemptOutcome()
        outcome.sent = True
        token = under_way.set(seen := Seen())
        try:
            reply = await self.inner.complete(request, context)
        except (ModelError, asyncio.CancelledError) as error:
            if not outcome.sent:
                raise  # it waits in a batch, and can still be collected
            message = session.journal.mask.text(f"{type(error).__name__}: {error}")
            columns |= {"status": "failed", "latency_s": time.time() - started, "problem": message}
            failed = Call(**columns, batch_request=outcome.batch_request)
            if isinstance(error, ModelError):
                await _commit(session, failed, outcome)
            else:
                session.journal.add_later(insert(failed))
            raise
        finally:
            under_way.reset(token)
        outcome.reply = reply = _estimated(reply, context.reserved)
        first = seen.first_token_at
        reply = replace(
            reply, text=bindable(reply.text), reasoning=bindable(reply.reasoning), call_id=columns["id"]
        )
        columns["latency_s"] = reply.latency_s
        call = Call(
            **columns,
            first_token_s=None if first is None else first - started,
            **answer_columns(reply),
            input_tokens=reply.usage.input,
            output_tokens=reply.usage.output,
            cached_tokens=reply.usage.cached,
            reasoning_tokens=reply.usage.reasoning,
            cache_write_tokens=reply.usage.cache_write,
            cost_usd=reply.cost_usd,
            cost_parts=json_text(reply.cost_parts) if reply.cost_parts else None,
            price_source=reply.price_source,
            price_date=reply.price_date,
            estimated_tokens=reply.estimated_tokens or None,
            estimated_picos=picos(reply.estimated_usd) or None,
            batch_request=outcome.batch_request,
        )
        await _commit(session, call, outcome)
        return reply


async def _commit(session: Session, call: Call, outcome: AttemptOutcome) -> None:
    """Commit a call, and with it what it cost the budgets that threads share."""
    held, outcome.held = outcome.held, None
    if held is None or held.journal is not session.journal:
        outcome.held = held
        await session.journal.commit_call(call)
        return
    try:
        await session.journal.commit_call(call, *held.settlements(outcome.cost))
    except StoreError:
        outcome.held = held  # its answer is saved elsewhere; it settles when it can
        raise
    finally:
        if outcome.held is None:
            held.settled()


def _estimated(reply: Reply, reserved: str | None) -> Reply:
    """Return the reply with what its budgets are charged where nobody counted: what they set aside for it."""
    known = reply.usage.input, reply.usage.output
    if reserved is None or (None not in known and reply.cost_usd is not None):
        return reply
    bound = json.loads(reserved)
    return replace(
        reply,
        estimated_tokens=max(0, bound["tokens"] - sum(n or 0 for n in known)) if None in known else 0,
        estimated_usd=bound["usd"] if reply.cost_usd is None else 0.0,
    )


def reply_of(call: Call) -> Reply:
    """Return the reply that a recorded call got."""
    return Reply(
        text=call.answer or "",
        tool_calls=tuple(ToolCall(**row) for row in json.loads(call.tool_calls or "[]")),
        model=call.model_answered or call.model_asked,
        usage=Usage(
            call.input_tokens,
            call.output_tokens,
            call.cached_tokens,
            call.reasoning_tokens,
            call.cache_write_tokens,
        ),
        reasoning=call.reasoning,
        state=json.loads(call.reply_state or "{}"),
        media=tuple(json.loads(call.media or "[]")),
        finish_reason=call.finish_reason,
        cost_usd=call.cost_usd,
        price_source=call.price_source,
        price_date=call.price_date,
        estimated_tokens=call.estimated_tokens or 0,
        estimated_usd=dollars(call.estimated_picos or 0),
        latency_s=call.latency_s,
        source=call.source,
        call_id=call.id,
    )


def answer_columns(reply: Reply) -> dict[str, Any]:
    """Return what a reply says, as the journal keeps it."""
    tool_calls = [_shown(tool_call) for tool_call in reply.tool_calls]
    return {
        "model_answered": reply.model,
        "answer": referring(reply.text),
        "tool_calls": referring(json_text(tool_calls)) if tool_calls else None,
        "reasoning": reply.reasoning and referring(reply.reasoning),
        "reply_state": referring(json_text(reply.state)) if reply.state else None,
        "media": referring(json_text(reply.media)) if reply.media else None,
        "finish_reason": reply.finish_reason,
    }


def _shown(tool_call: ToolCall) -> dict[str, Any]:
    values = asdict(tool_call)
    if not tool_call.extra:
        del values["extra"]
    return values


def _prompt(request: Request, context: CallContext) -> str:
    return prompt_of(messages_kept(request, context), _params(request))


def _params(request: Request, beside: Mapping[str, Any] | None = None) -> str:
    fields = {"prompt": request.prompt, **(beside or {})}
    return repr_json({**request.params(), **{n: v for n, v in fields.items() if v}})


def messages_kept(request: Request, context: CallContext) -> str:
    """Return a request's messages as the journal keeps them, as JSON."""
    text = referring(json_text(request.messages))
    return text if context.session is None else context.session.journal.mask.json(text)


def call_record(
    model: str,
    request: Request,
    context: CallContext,
    started: float,
    beside: Mapping[str, Any] | None = None,
) -> Call:
    """Return the journal's row for an attempt, without what only an answer tells.

    `beside` goes on record with the request's own parameters, where it says anything.
    """
    return Call(**call_columns(model, request, context, started, beside))


def call_columns(
    model: str,
    request: Request,
    context: CallContext,
    started: float,
    beside: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the values of that row by their names."""
    key, run = context.key, context.run
    return {
        "id": secrets.token_hex(8),
        "thread_id": run.thread_id,
        "task": run.task,
        "path": run.path,
        "step": context.step,
        "role": context.role,
        "request_hash": key.request_hash if key else "",
        "occurrence": key.occurrence if key else 0,
        "attempt": context.attempt,
        "status": "answered",
        "model_asked": model,
        "messages": messages_kept(request, context),
        "reserved": context.reserved,
        "params": _params(request, beside),
        "latency_s": 0.0,
        "started_at": started,
        "reason": _reason(context),
    }


async def share(
    model: str, request: Request, context: CallContext, reply: Reply, source: CallSource, reason: str
) -> Reply:
    """Commit an answer that is there already as this call's own, at no cost, and return it."""
    call = replace(
        call_record(model, request, context, time.time()),
        **answer_columns(reply),
        input_tokens=0,
        output_tokens=0,
        cost_usd=0.0,
        source=source,
        origin=reply.call_id,
        reason=reason,
    )
    if context.session is not None:
        await context.session.journal.commit_call(call)
    return reply_of(call)


def _reason(context: CallContext) -> str | None:
    session = context.session
    if (
        session is None
        or session.sends_to_langfuse
        or not any(map(is_langfuses, handlers_of(context.config)))
    ):
        return context.reason
    return f"{context.reason}; {COUNTED}" if context.reason else COUNTED
