"""Budgets around a call: reserve the most that it can cost, make it, settle for what it cost."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace

from ...state.budget import Ledger
from ...state.cost import Cost
from ...state.errors import BudgetExceeded, CircuitOpen, ModelUnreachable, SettingsError
from ...state.json_text import json_text
from ...state.session.shared_ledger import NoRoom, own, set_aside, shared
from ..backends.backend import Backend
from ..model import AttemptOutcome, CallContext, Layer, Model, Reply, Request
from ..settings import ModelSettings
from .file_tokens import UNKNOWN
from .pricing import Tariff
from .prompt_bound import split_media, text_bound, unknown_files
from .tool_emulation import emulated


class BudgetLayer(Layer):
    """Makes only calls that fit the budgets of their run; an attempt that fails settles for a call."""

    def __init__(
        self, inner: Model, tariff: Tariff | None, settings: ModelSettings, backend: Backend
    ) -> None:
        super().__init__(inner)
        self._backend = backend
        self._tariff = tariff
        self._max_tokens = settings.max_tokens
        self._file_tokens = settings.file_tokens

    async def complete(self, request: Request, context: CallContext) -> Reply:
        ledgers = context.run.ledgers
        if not ledgers:
            return await self.inner.complete(request, context)
        request, bound = await self._bounded(request, ledgers)
        outcome = AttemptOutcome(bound=bound)
        reserved = json_text({"tokens": bound.tokens, "usd": bound.known_usd})
        context = replace(context, reserved=reserved, outcome=outcome)
        held: list[Ledger] = []
        try:
            for ledger in own(ledgers):
                await ledger.reserve(bound)
                held.append(ledger)
            return await self._in_turn(ledgers, request, context)
        except CircuitOpen:
            outcome.sent = False
            raise
        except BudgetExceeded as error:
            error.args = (f"{error}{self._why_so_much(request)}",)
            raise
        finally:
            spent = outcome.cost
            for ledger in held:
                ledger.settle(bound, spent)

    def _why_so_much(self, request: Request) -> str:
        """Say which files nobody could look into, and how to say what they are at most."""
        files = unknown_files(request, self._backend.name) if self._file_tokens is None else 0
        if not files:
            return ""
        return (
            f" {files} of the prompt's files could not be looked into, such as those behind an address, and "
            f"count as {UNKNOWN:,} tokens each: send the files themselves, or set file_tokens of {self.name} "
            "to the most that one has."
        )

    async def _in_turn(self, ledgers: Sequence[Ledger], request: Request, context: CallContext) -> Reply:
        """Make the call once the budgets that threads share have room for it, outside of all queues."""
        tries = 0
        while True:
            try:
                return await self._within_time(ledgers, request, context)
            except NoRoom as full:
                await full.freed(tries)
                tries += 1

    async def _bounded(self, request: Request, ledgers: Sequence[Ledger]) -> tuple[Request, Cost]:
        """Return the request with a limit on its answer, and the most that it can cost."""
        limiting = [ledger for ledger in ledgers if ledger.limits_tokens]
        if not limiting:
            return request, Cost(calls=1)
        prompt = await prompt_tokens(request, self._backend, self._file_tokens)
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


class SharedBudgetLayer(Layer):
    """Sets aside what a call can cost in the budgets that threads share, right before it is sent.

    What was set aside and never settled is counted as spent, because it may be billed; so a call that only
    stands in line has set nothing aside. Raises NoRoom for one that may fit once others have ended.
    """

    def __init__(self, inner: Model, *, outlives: bool = False) -> None:
        super().__init__(inner)
        self._outlives = outlives  # its process: a batch goes on

    async def complete(self, request: Request, context: CallContext) -> Reply:
        outcome = context.outcome
        ledgers = () if outcome is None else shared(context.run.ledgers)
        if not ledgers or outcome is None:
            return await self.inner.complete(request, context)
        owner = hashlib.sha256(repr(context.key).encode()).hexdigest() if self._outlives else None
        outcome.held = await set_aside(ledgers, outcome.bound, owner)
        try:
            return await self.inner.complete(request, context)
        finally:
            if outcome.held is not None:
                outcome.held.settle(outcome.cost)
                outcome.held = None


async def prompt_tokens(request: Request, backend: Backend, file_tokens: int | None = None) -> int:
    """Return the most tokens that a prompt can have: as the model's tokenizer says, else by its bytes.

    `file_tokens` is what a file that cannot be looked into has at most.
    """
    sent = emulated(request) if backend.tools == "emulated" else request
    text, media = split_media(sent, backend.name, file_tokens)
    counted = await backend.count_tokens(text)
    return (text_bound(text) if counted is None else counted) + media
