"""A second call for one that takes unusually long; the first answer of the two counts."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from ...state.journal.records import HEDGE
from ..model import CallContext, Layer, Model, Reply, Request
from .streaming import is_listened


class HedgingLayer(Layer):
    """Makes the same call once more when there is no answer after so many seconds; cancels the slower one.

    Both are on record and both count against the budget. A call whose tokens somebody listens to is never
    doubled.
    """

    def __init__(self, inner: Model, after_s: float) -> None:
        super().__init__(inner)
        self._after_s = after_s

    async def complete(self, request: Request, context: CallContext) -> Reply:
        if is_listened(context):
            return await self.inner.complete(request, context)
        first = asyncio.ensure_future(self.inner.complete(request, context))
        calls = [first]
        try:
            await asyncio.wait(calls, timeout=self._after_s)
            if not first.done():
                calls.append(asyncio.ensure_future(self._second(request, context)))
                await self._first_answer(calls)
            return _outcome(calls)
        finally:
            for call in calls:
                call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*calls, return_exceptions=True)

    async def _second(self, request: Request, context: CallContext) -> Reply:
        key = context.key and replace(context.key, request_hash=context.key.request_hash + HEDGE)
        reason = f"hedge: no answer after {self._after_s:g} s"
        return await self.inner.complete(request, replace(context, key=key, reason=reason))

    async def _first_answer(self, calls: list[asyncio.Task[Reply]]) -> None:
        """Wait until one of the calls has an answer, or none can get one any more."""
        open_calls = set(calls)
        while open_calls:
            done, open_calls = await asyncio.wait(open_calls, return_when=asyncio.FIRST_COMPLETED)
            if any(call.exception() is None for call in done):
                return


def _outcome(calls: list[asyncio.Task[Reply]]) -> Reply:
    """Return the first answer, or what went wrong with the first call."""
    answered = (call for call in calls if call.done() and call.exception() is None)
    return next(answered, calls[0]).result()
