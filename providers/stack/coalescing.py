"""Answers that serve more than one call: equal calls under way are coalesced, cached answers used again."""

from __future__ import annotations

import asyncio
import copy
import time
from dataclasses import dataclass, replace
from math import inf
from weakref import WeakKeyDictionary

from ...state.errors import BudgetExceeded, StepgraphError
from ...state.journal.journal import Journal
from ..model import CallContext, Layer, Model, Reply, Request
from .journal import messages_kept, reply_of, share

InFlightKey = tuple[str, str, int]
COALESCED = "an equal call was under way"
LOOKED_S = 30.0  # so long a look for a cached answer may take at most


@dataclass(slots=True)
class _Leader:
    """Who makes a call for all that wait for it, and for who looked for its answer before that was kept."""

    task: str
    reply: asyncio.Future[Reply]
    ended_at: float = inf  # by the clock of its loop


class CoalescingLayer(Layer):
    """Asks the model only for what no equal call is bringing already, and no cached answer holds.

    Calls are equal if model, messages and parameters are, `sample` included. Two equal calls within
    one execution of a node are different draws, and so are those of different threads, unless the
    cache is on: it is off unless the context gives a lifetime.
    """

    def __init__(self, inner: Model) -> None:
        super().__init__(inner)
        self._flights: WeakKeyDictionary[Journal, dict[InFlightKey, _Leader]] = WeakKeyDictionary()

    async def complete(self, request: Request, context: CallContext) -> Reply:
        session, key = context.session, context.key
        if session is None or key is None:
            return await self.inner.complete(request, context)
        journal, loop = session.journal, asyncio.get_running_loop()
        began = loop.time()
        if context.cache_s is not None:
            cached = await journal.find_cached(key.request_hash, context.cache_s)
            if cached is not None:
                reason = f"answered {time.time() - cached.started_at:.0f} s ago in {cached.thread_id}"
                return await share(self.name, request, context, reply_of(cached), "cache", reason)
            reason = await _why_asked(journal, self.name, request, context, key.request_hash)
            context = replace(context, reason=reason)

        coalesced = await journal.find_coalesced(key)
        if coalesced is not None:
            return await share(self.name, request, context, reply_of(coalesced), "coalesced", COALESCED)

        flights = self._flights.setdefault(journal, {})
        scope = key.thread_id if context.cache_s is None else ""
        flight = (scope, key.request_hash, key.occurrence)
        while (leader := flights.get(flight)) is not None and leader.reply.get_loop() is loop:
            if leader.ended_at <= began:
                break
            if context.cache_s is None:
                journal.note_coalesced(key, leader.task)
            try:
                reply = await asyncio.shield(leader.reply)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not leader.reply.cancelled() or (task is not None and task.cancelling()):
                    raise
                continue  # the leader was cancelled, not this call: take its place
            except BudgetExceeded:
                continue  # the leader's own budget ended, which says nothing about this call's
            except StepgraphError as error:
                raise copy.copy(error) from None
            return await share(self.name, request, context, reply, "coalesced", COALESCED)
        return await self._lead(flights, flight, request, context)

    async def _lead(
        self, flights: dict[InFlightKey, _Leader], flight: InFlightKey, request: Request, context: CallContext
    ) -> Reply:
        """Make the call, and let those who join have its outcome."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[Reply] = loop.create_future()
        flights[flight] = leader = _Leader(context.task, mine)
        try:
            reply = await self.inner.complete(request, context)
        except asyncio.CancelledError:
            mine.cancel()
            raise
        except BaseException as error:
            mine.set_exception(error)
            mine.exception()
            raise
        finally:
            if context.cache_s is None or mine.done():
                _forget(flights, flight, leader)
        leader.ended_at = loop.time()
        if context.cache_s is not None:  # who looked for it before it was kept joins all the same
            loop.call_later(LOOKED_S, _forget, flights, flight, leader)
        mine.set_result(reply)
        return reply


def _forget(flights: dict[InFlightKey, _Leader], flight: InFlightKey, leader: _Leader) -> None:
    if flights.get(flight) is leader:
        del flights[flight]


async def _why_asked(
    journal: Journal, model: str, request: Request, context: CallContext, digest: str
) -> str:
    """Say why no recorded answer serves, compared with the nearest call of the same step."""
    messages = messages_kept(request, context)
    like = await journal.find_like(context.step, digest, messages)
    if like is None:
        return "the first call of this step"
    if like.request_hash == digest:
        if like.problem:
            return "the recorded answer did not fit"
        return f"the recorded answer is {time.time() - like.started_at:.0f} s old"
    if like.messages != messages:
        return "no recorded call has this prompt"
    if like.model_asked != model:
        return f"the model was {like.model_asked}"
    return f"the parameters were {like.params}"
