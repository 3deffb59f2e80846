"""The batch lane: a call that waits in a provider's batch, at a lower price, in the place of a live one.

A batch answers under the same key as a live call would: an answer is an answer. So a run that goes on live,
or the cache, takes what a batch brought, and the other way round.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property

from ...state.errors import BatchFailed, ModelError, SettingsError
from ...state.journal.batches import drop_result, forget_request
from ..backends.http import HTTPStatusError
from ..batch_terms import BATCH_TERMS, BatchTerms
from ..batches.anthropic import AnthropicBatches
from ..batches.api import BatchApi, Result
from ..batches.openai import OpenAIBatches
from ..model import AttemptOutcome, CallContext, Layer, Model, Reply, Request
from ..settings import DEFAULT_ROLE, ModelSettings
from .batch_desk import desk_of
from .retry import is_worth_retrying

_APIS: dict[str, type[OpenAIBatches] | type[AnthropicBatches]] = {
    "openai": OpenAIBatches,
    "anthropic": AnthropicBatches,
}


def batch_problem(role: str | None, member_name: str, settings: ModelSettings) -> SettingsError | None:
    """Return why a model cannot be asked in the batch lane, None if it can."""
    if settings.batch_terms is None:
        return _no_batches(role, member_name)
    if settings.params:
        return SettingsError(
            f"The batch lane cannot be used: {member_name}, which the role {role or DEFAULT_ROLE!r} is bound "
            f"to, has params for LangChain's class ({', '.join(settings.params)}), and a batch is handed in "
            "without that class. Put what the API takes into extra_body."
        )
    return None


def _no_batches(role: str | None, model: str) -> SettingsError:
    """Return the error for a model that has no batch API."""
    return SettingsError(
        f"The batch lane cannot be used: the role {role or DEFAULT_ROLE!r} is bound to {model}, whose "
        f"provider has no batch API that is known. Bind a model of {' or '.join(BATCH_TERMS)} to it; or "
        'write batch = { api = "openai" } into its settings, if its endpoint has one like OpenAI\'s; or run '
        'it live: lane="live".'
    )


class LaneLayer(Layer):
    """Takes the calls of a run in the batch lane out of the live stack, and back where their batch failed.

    `batch` is the stack that they go through, None where the model has no batch API.
    """

    def __init__(self, inner: Model, batch: Model | None, settings: ModelSettings) -> None:
        super().__init__(inner)
        self._batch = batch
        self._settings = settings

    async def complete(self, request: Request, context: CallContext) -> Reply:
        session = context.session
        if session is None or context.run.lane != "batch":
            return await self.inner.complete(request, context)
        problem = batch_problem(context.role, self.name, self._settings)
        if problem is not None or self._batch is None:
            raise problem or _no_batches(context.role, self.name)
        session.journal.check_writable()
        try:
            return await self._batch.complete(request, context)
        except ModelError as error:
            if self._settings.batch.fallback == "error" or not is_worth_retrying(error):
                raise
            why = f"live, after the batch: {error}"
        context = replace(context, attempt=context.attempt + 1, reason=why)
        return await self.inner.complete(request, context)


class BatchModel:
    """A model that is asked through its provider's batch API."""

    def __init__(self, name: str, settings: ModelSettings, terms: BatchTerms) -> None:
        self.name = name
        self._settings = settings
        self._terms = terms

    @cached_property
    def _api(self) -> BatchApi:
        return _APIS[self._terms.api](self._settings)

    async def complete(self, request: Request, context: CallContext) -> Reply:
        session, key = context.session, context.key
        if session is None or key is None:
            raise SettingsError("The batch lane needs a session: a crash would pay for its batches again.")
        outcome = context.outcome or AttemptOutcome()
        outcome.sent = False  # a call that is stopped while it waits is not over: its batch goes on
        began = time.time()
        desk = desk_of(session, self._api, self._terms, self._settings)
        try:
            while True:
                name, result = await desk.result(
                    key, context.run, context.step, lambda: self._api.body(request)
                )
                if not self._may_ask_again(result, request):
                    break
                await forget_request(session.journal, name)
            outcome.batch_request = name
            reply = self._reply(request, result)
        except ModelError:
            outcome.sent = True
            raise
        outcome.sent = True
        return replace(reply, latency_s=time.time() - began)

    def _may_ask_again(self, result: Result, request: Request) -> bool:
        """Tell whether a request was refused for a parameter that it can do without."""
        if result.outcome != "refused" or result.status is None:
            return False
        return self._api.learn(HTTPStatusError(result.status, result.body, {}), request)

    def _reply(self, request: Request, result: Result) -> Reply:
        try:
            if result.outcome == "refused":
                raise HTTPStatusError(result.status or 500, result.body, {})
            if result.outcome == "answered":
                return self._api.reply(request, result.body)
        except Exception as error:
            raise self._api.explain(error) from None
        raise _failed(self.name, result)


def _failed(model: str, result: Result) -> BatchFailed:
    """Return the error for a request that its batch did not answer."""
    outcome = {
        "expired": "was not reached within the batch's time (24 hours)",
        "canceled": "was canceled with its batch, by somebody at the provider",
        "lost": f"has no result in its batch ({result.body or 'it is missing there'})",
    }[result.outcome]
    error = BatchFailed(
        f'The request to {model} {outcome}. Resume to ask again, or run it live: lane="live".', model=model
    )
    error.lasting = result.outcome == "canceled"
    return error


class CollectedLayer(Layer):
    """Forgets what a batch brought, once its call is on record."""

    async def complete(self, request: Request, context: CallContext) -> Reply:
        outcome = context.outcome or AttemptOutcome()
        try:
            return await self.inner.complete(request, replace(context, outcome=outcome))
        finally:
            if context.session is not None and outcome.batch_request is not None:
                drop_result(context.session.journal, outcome.batch_request)
