"""Chains of models: where one cannot answer, or its answer will not do, the next one is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...state.errors import (
    AuthenticationFailed,
    ContextTooLong,
    ModelError,
    ModelFiltered,
    ModelNotFound,
    ModelRefused,
    ModelUnavailable,
    ModelUnreachable,
)
from ...state.journal.records import Call
from ..model import CallContext, Layer, Model, Reply, Request
from ..settings import ALWAYS, Trigger
from .journal import reject, reply_of

_TRIGGERS: tuple[tuple[type[ModelError], Trigger], ...] = (
    (ModelFiltered, "filtered"),
    (ContextTooLong, "too_long"),
    (ModelRefused, "refused"),
    (ModelUnavailable, "busy"),
    (ModelUnreachable, "unreachable"),
    (AuthenticationFailed, "denied"),
    (ModelNotFound, "denied"),
    (ModelError, "garbled"),
)


def trigger_of(error: ModelError) -> Trigger:
    """Return the reason for which a chain goes on after an error."""
    return next(trigger for kind, trigger in _TRIGGERS if isinstance(error, kind))


class FallbackChain:
    """Asks its members in turn, until one answers in a way that will do.

    `on` names the reasons to go on: those of `trigger_of`, `invalid` (the answer does not fit the step's
    type) and `unsure` (the answer's own confidence is below `min_confidence`). An answer that will not do
    stays on record as rejected, so that a resume passes its member over and does not pay for it again.
    Every attempt after the first member's says why it was made.
    """

    def __init__(
        self,
        models: Sequence[Model],
        on: Sequence[Trigger] = ALWAYS,
        min_confidence: float | None = None,
    ) -> None:
        self.models = tuple(models)
        self._on = frozenset(on)
        self._min_confidence = min_confidence
        self.name = self.models[0].name

    async def complete(self, request: Request, context: CallContext) -> Reply:
        attempt = context.attempt
        history: list[str] = []
        rejected = await self._rejected(context)
        *before, last = self.models
        for member in before:
            if rejected and rejected[0].model_asked == member.name:
                call = rejected.pop(0)
                attempt = max(attempt, call.attempt + 1)
                history.append(f"{member.name}: {call.problem}")
                continue
            try:
                reply = await member.complete(request, _after(history, attempt, context))
            except ModelError as error:
                attempt += error.attempts
                if trigger_of(error) not in self._on:
                    raise _with_history(error, history) from None
                history.append(f"{member.name} failed ({_brief(error)})")
                continue
            problem = self._problem(reply, context)
            if problem is None:
                return reply
            attempt += 1
            reject(reply, context, problem)
            history.append(f"{member.name}: {problem}")
        try:
            return await last.complete(request, _after(history, attempt, context))
        except ModelError as error:
            raise _with_history(error, history) from None

    async def _rejected(self, context: CallContext) -> list[Call]:
        """Return the answers that this very call got before a crash, and that would not do.

        After the last member's answer was given up, all of them are asked anew.
        """
        if context.session is None or context.key is None:
            return []
        calls = await context.session.journal.find_rejected(context.key)
        ends = [place for place, call in enumerate(calls) if call.model_asked == self.models[-1].name]
        return calls[ends[-1] + 1 :] if ends else calls

    @property
    def most_answers(self) -> int:
        """How many of the members can answer one request, and be paid for it."""
        return len(self.models) if self._on & {"filtered", "invalid", "unsure"} else 1

    def doubt(self, call: Call, context: CallContext) -> str | None:
        """Return why an answer on record will not do, although nobody came to reject it."""
        problem = refusal_in(call)
        if problem is not None or call.source != "model" or call.model_asked == self.models[-1].name:
            return problem
        return self._problem(reply_of(call), context)

    def _problem(self, reply: Reply, context: CallContext) -> str | None:
        """Return why an answer will not do, if the next model may be asked for that."""
        if context.check is None or not self._on & {"invalid", "unsure"}:
            return None
        verdict = context.check(reply)
        if verdict.problem is not None:
            return verdict.problem if "invalid" in self._on else None
        if "unsure" not in self._on or verdict.confidence is None or self._min_confidence is None:
            return None
        if verdict.confidence < self._min_confidence:
            return f"its confidence is {verdict.confidence:g}, below {self._min_confidence:g}"
        return None


_REFUSALS = {
    "content_filter": "the provider's content filter stopped the answer",
    "refusal": "the model refused",
}


def refusal_in(call: Call, _: CallContext | None = None) -> str | None:
    """Return why an answer on record is none, although nobody came to reject it."""
    why = _REFUSALS.get(call.finish_reason or "")
    return None if why is None else f"{why}: {(call.answer or '')[:300]!r}"


class RefusalLayer(Layer):
    """Turns an answer that a content filter cut, or that is a refusal, into a ModelFiltered.

    It is paid for and stays on record, as rejected.
    """

    async def complete(self, request: Request, context: CallContext) -> Reply:
        reply = await self.inner.complete(request, context)
        why = _REFUSALS.get(reply.finish_reason or "")
        if why is None:
            return reply
        reject(reply, context, f"{why}: {reply.text[:300]!r}")
        raise ModelFiltered(
            f"{self.name}: {why} ({reply.text[:200]!r}). Change the prompt, or bind another model after "
            "this one.",
            model=self.name,
        )


def _after(history: Sequence[str], attempt: int, context: CallContext) -> CallContext:
    """Return the context in which a member is asked after what happened before it."""
    reason = f"fallback: {history[-1]}" if history else context.reason
    return replace(context, attempt=attempt, reason=reason)


def _brief(error: ModelError) -> str:
    status = f", HTTP {error.status}" if error.status else ""
    tries = f", {error.attempts} attempts" if error.attempts > 1 else ""
    return f"{type(error).__name__}{status}{tries}"


def _with_history(error: ModelError, history: Sequence[str]) -> ModelError:
    if history:
        error.args = (f"{error} Asked before it: {'; '.join(history)}.",)
    return error
