"""An agent's conversation made to fit its context: counted, left out as little as needed, and summed up."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig

from ..providers.model import Model, Request
from ..providers.stack.budgeting import prompt_tokens
from ..providers.stack.prompt_bound import bound_of
from ..providers.stack.stack import ModelStack
from ..state.errors import ContextTooLong
from .contexts import READ_LINES_SCHEMA, READ_SCHEMA, Context, LeftOut, less, shown
from .excerpts import Excerpts
from .steps import Step
from .summaries import transcript

GOALS: Final = (0.6, 0.4, 0.2, 0.0)  # of the room: the conversation then has some turns to grow
ANSWER_SHARE: Final = 8  # of the tokens, for an answer that has no limit of its own
LIST_SHARE: Final = 4  # of the room, for the list of what is left out
LEAST_CHARS: Final = 200
SUM_UP: Final = (
    "Sum up what was found out and decided in these turns of your work, for yourself, in at most ten "
    "sentences. Keep every name, number, date, code and wish word for word."
)

Build = Callable[[Sequence[AnyMessage]], Request]


class Window:
    """What a step's model is shown of an agent's conversation."""

    def __init__(self, step: Step[Any, Any], context: Context, max_chars: int) -> None:
        self._step = step
        self._tokens = context.tokens
        self._chars = max_chars
        self._excerpts = Excerpts() if context.compress else None
        self.summariser: Step[Any, Any] | None = None
        if context.summary is not None:
            self.summariser = copy.copy(step.on(context.summary))
            self.summariser.name = f"{step.name}_summary"

    @property
    def tool(self) -> Mapping[str, Any]:
        """The schema of the tool with which the model reads what it is not shown."""
        return READ_SCHEMA if self._excerpts is None else READ_LINES_SCHEMA

    async def fitted(
        self, build: Build, messages: Sequence[AnyMessage], out: LeftOut, config: RunnableConfig | None
    ) -> tuple[LeftOut, Request]:
        """Return what is left out from now on, and the request that fits. Raises ContextTooLong."""
        model = await self._step.bound_model(config)
        out = replace(out, chars=out.chars or self._chars)
        request = self._built(build, messages, out, 0)
        answer = request.max_tokens or _answer_tokens(model) or self._tokens // ANSWER_SHARE
        room = self._tokens - min(answer, self._tokens // 2)
        request = self._built(build, messages, out, room)
        count = await self._count(model, request)
        summed_to = out.turns
        while count > room:
            for goal in GOALS:
                size = bound_of(request) * goal * room / count
                out = self._less(build, messages, out, room, size)
                if out.turns > summed_to:
                    summary = await self._summed_up(
                        messages[summed_to : out.turns], out.summary, room, config
                    )
                    out, summed_to = replace(out, summary=summary), out.turns
                request = self._built(build, messages, out, room)
                count = await self._count(model, request)
                if count <= room:
                    return out, request
            if out.chars <= LEAST_CHARS:
                raise ContextTooLong(
                    f"Step {self._step.name!r}: question, tools and the newest turn have {count:,} "
                    f"tokens, and Context(tokens={self._tokens:,}) leaves {room:,} for them. Give it "
                    "more, or fewer tools.",
                    model=model.name,
                )
            out = replace(out, chars=max(LEAST_CHARS, out.chars // 2))
            request = self._built(build, messages, out, room)
            count = await self._count(model, request)
        return out, request

    def _built(self, build: Build, messages: Sequence[AnyMessage], out: LeftOut, room: int) -> Request:
        return build(shown(messages, out, min(room // LIST_SHARE, out.chars), self._excerpts))

    def _less(
        self, build: Build, messages: Sequence[AnyMessage], out: LeftOut, room: int, size: float
    ) -> LeftOut:
        def fits(other: LeftOut) -> bool:
            return bound_of(self._built(build, messages, other, room)) <= size

        return less(messages, out, fits, self._chars)

    async def _count(self, model: Model, request: Request) -> int:
        if not isinstance(model, ModelStack):
            return bound_of(request)
        counts = [await prompt_tokens(request, member.backend) for member in model.members]
        return max(counts)

    async def _summed_up(
        self, gone: Sequence[AnyMessage], before: str, room: int, config: RunnableConfig | None
    ) -> str:
        """Return a summary of turns, and of what was summed up before; as it was if there is none."""
        if self.summariser is None:
            return before
        text, most = transcript(gone), room // 2
        for start in range(0, len(text), most):
            known = f"Known so far: {before}\n\n" if before else ""
            prompt = f"{known}{text[start : start + most]}\n\n{SUM_UP}"
            request = Request(
                messages=({"role": "user", "content": prompt},),
                temperature=0.0,
                max_tokens=room // ANSWER_SHARE,
            )
            reply = await self.summariser.complete(request, config)
            before = reply.text.strip()[: room // ANSWER_SHARE] or before
        return before


def _answer_tokens(model: Model) -> int | None:
    """Return the most tokens that a model's settings let an answer have."""
    if not isinstance(model, ModelStack):
        return None
    limits = [member.settings.max_tokens or member.backend.max_tokens for member in model.members]
    return max((limit for limit in limits if limit), default=None)
