"""Budgets around a call: reserve the most that it can cost, make it, settle for what it cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from ...state.budget import Ledger
from ...state.cost import Cost
from ...state.errors import CircuitOpen, ModelUnreachable, SettingsError
from ...state.json_text import json_text
from ..backends.backend import Backend
from ..model import AttemptOutcome, CallContext, Layer, Model, Reply, Request
from .pricing import Tariff
from .prompt_bound import split_media, text_bound
from .tool_emulation import emulated


class BudgetLayer(Layer):
    """Makes only calls that fit the budgets of their run; an attempt that fails settles for a call."""

    def __init__(self, inner: Model, tariff: Tariff | None, max_tokens: int | None, backend: Backend) -> None:
        super().__init__(inner)
        self._backend = backend
        self._tariff = tariff
        self._max_tokens = max_tokens

    async def complete(self, request: Request, context: CallContext) -> Reply:
        ledgers = context.run.ledgers
        if not ledgers:
            return await self.inner.complete(request, context)
        request, bound = await self._bounded(request, ledgers)
        outcome = AttemptOutcome()
        reserved = json_text({"tokens": bound.tokens, "usd": bound.known_usd})
        context = replace(context, reserved=reserved, outcome=outcome)
        held: list[Ledger] = []
        try:
            for ledger in ledgers:
                await ledger.reserve(bound)
                held.append(ledger)
            return await self._within_time(ledgers, request, context)
        except CircuitOpen:
            outcome.sent = False
            raise
        finally:
            spent = self._cost(outcome)
            for ledger in held:
                ledger.settle(bound, spent)

    async def _bounded(self, request: Request, ledgers: Sequence[Ledger]) -> tuple[Request, Cost]:
        """Return the request with a limit on its answer, and the most that it can cost."""
        limiting = [ledger for ledger in ledgers if ledger.limits_tokens]
        if not limiting:
            return request, Cost(calls=1)
        prompt = await prompt_tokens(request, self._backend)
        answer = request.max_tokens or self._max_tokens or self._backend.max_tokens
        if answer is None:
            answer = min(ledger.budget.answer_tokens for ledger in limiting)
            request = replace(request, max_tokens=answer)
        usd = 0.0
        if any(ledger.budget.usd is not None for ledger in ledgers):
            most = None if self._tariff is None else self._tariff.most(prompt, answer)
            if most is None:
                raise SettingsError(
                    f"The run has a budget in dollars, but the price of {self.name} is not known. Set it: "
                    "price = { input = …, output = … } in dollars per million tokens."
                )
            usd = most
        return request, Cost(calls=1, input_tokens=prompt, output_tokens=answer, known_usd=usd)

    async def _within_time(self, ledgers: Sequence[Ledger], request: Request, context: CallContext) -> Reply:
        left = [s for ledger in ledgers if (s := ledger.seconds_left()) is not None]
        if not left:
            return await self.inner.complete(request, context)
        try:
            async with asyncio.timeout(min(left)):
                return await self.inner.complete(request, context)
        except (TimeoutError, ModelUnreachable):
            for ledger in ledgers:
                if (seconds := ledger.seconds_left()) is not None and seconds <= 0:
                    raise ledger.end("seconds") from None
            raise

    def _cost(self, outcome: AttemptOutcome) -> Cost:
        """Return what the call cost; where the server does not say, what that is estimated to be.

        One that was cancelled while its answer was being kept is paid for; one that was cancelled in
        line was never made.
        """
        reply = outcome.reply
        if reply is None:
            return Cost(calls=int(outcome.sent))
        return Cost(
            1,
            reply.usage.input or 0,
            reply.usage.output or 0,
            reply.cost_usd or 0.0,
            int(reply.cost_usd is None),
            reply.estimated_tokens,
            reply.estimated_usd,
        )


async def prompt_tokens(request: Request, backend: Backend) -> int:
    """Return the most tokens that a prompt can have: as the model's tokenizer says, else by its bytes."""
    sent = emulated(request) if backend.tools == "emulated" else request
    text, media = split_media(sent, backend.name)
    counted = await backend.count_tokens(text)
    return (text_bound(text) if counted is None else counted) + media
