"""A model that answers from a script: for tests of workflows, without any server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from langchain_core.messages import AIMessage
from pydantic import BaseModel
from pydantic_core import to_json

from ...state.errors import ScriptError
from ..backends.backend import Backend
from ..backends.standard_blocks import blocks_in, kept_blocks
from ..model import CallContext, Reply, Request, ToolCall, Usage, WrappedSchema
from ..prices import FREE, Price
from ..stack.tool_emulation import FINAL_ANSWER

Answer = ToolCall | str | BaseModel | Mapping[str, Any] | list[Any] | int | float | bool | BaseException
Script = Iterable[Answer] | Mapping[str, Iterable[Answer]] | Callable[[Request, CallContext], Answer]


class ScriptedModel(Backend):
    """Replays answers, records what it was asked, and fails when answers are left over.

    `script` is a sequence of answers in the order of the calls; or a mapping from step name to that
    step's answers, for parallel branches; or a function of request and context. An answer is text, a
    pydantic model, a value that goes out as JSON, an `AIMessage`, which can hold images, or an exception to
    raise; a `ToolCall`, or a list of them, has an agent run tools.

    Used as a context manager, or with `finish()`, it raises ScriptError unless all were used.
    Tokens are counted as words, so that usage is there and is predictable; they are free unless
    `price` says otherwise.

        with ScriptedModel(["howto", "1. Boil water.", "Boil water.", {"score": 5}]) as model:
            with using(model):
                app.invoke(Post("tea"))
    """

    name = "scripted"

    def __init__(
        self,
        script: Script,
        *,
        delay_s: float = 0.0,
        reasoning: str | None = None,
        price: Price = FREE,
    ) -> None:
        if isinstance(script, str):
            raise ScriptError(
                f"ScriptedModel({script!r}): expected a list of answers, even for a single one."
            )
        self.price = price
        self.asks: list[tuple[str, Request]] = []
        self._function = script if callable(script) else None
        self._by_step = (
            {step: list(answers) for step, answers in script.items()} if isinstance(script, Mapping) else None
        )
        self._queue = [] if callable(script) or isinstance(script, Mapping) else list(script)
        self._delay = delay_s
        self._reasoning = reasoning
        self._lock = threading.Lock()

    async def complete(self, request: Request, context: CallContext) -> Reply:
        with self._lock:
            self.asks.append((context.step, request))
            answer = self._next(request, context)
        if self._delay:
            await asyncio.sleep(self._delay)
        if isinstance(answer, BaseException):
            raise answer
        tool_calls = _tool_calls(answer)
        media = kept_blocks(blocks_in(answer.content)) if isinstance(answer, AIMessage) else ()
        if isinstance(answer, AIMessage):
            answer = str(answer.text)
        text = "" if tool_calls else _text(answer, request)
        answer_text = text or to_json(tool_calls).decode()
        return Reply(
            text=text,
            tool_calls=tool_calls,
            model=self.name,
            usage=Usage(
                input=sum(len(str(m.get("content")).split()) for m in request.messages),
                output=len(answer_text.split()),
            ),
            reasoning=self._reasoning,
            finish_reason="tool_calls" if tool_calls else "stop",
            media=media,
        )

    def _next(self, request: Request, context: CallContext) -> Answer:
        if self._function is not None:
            return self._function(request, context)
        queue = self._queue if self._by_step is None else self._by_step.get(context.step, [])
        if not queue:
            unknown = self._by_step is not None and context.step not in self._by_step
            named = f" The script is for the steps {', '.join(self._by_step or ())}." if unknown else ""
            raise ScriptError(
                f"The scripted model has no answer left for step {context.step!r} "
                f"(call {len(self.asks)}).{named} Its prompt ends: "
                f"{str(request.messages[-1]['content'])[-200:]!r}"
            )
        return queue.pop(0)

    @property
    def left(self) -> list[Answer]:
        """The answers that nobody asked for yet."""
        return [*self._queue, *(a for queue in (self._by_step or {}).values() for a in queue)]

    def finish(self) -> None:
        """Raise ScriptError unless every answer was used."""
        if self.left:
            raise ScriptError(
                f"{len(self.left)} scripted answers were never asked for, the first: {self.left[0]!r}. "
                f"Calls made: {[step for step, _ in self.asks]}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()


def _tool_calls(answer: Any) -> tuple[ToolCall, ...]:
    if isinstance(answer, ToolCall):
        return (answer,)
    if isinstance(answer, list) and answer and all(isinstance(item, ToolCall) for item in answer):
        return tuple(answer)
    return ()


def _text(answer: Any, request: Request) -> str:
    if isinstance(answer, BaseModel):
        return answer.model_dump_json()
    final = (tool["parameters"] for tool in request.tools if tool["name"] == FINAL_ANSWER)
    schema = request.schema or next(final, None)
    if isinstance(schema, WrappedSchema) and not (
        isinstance(answer, str) and answer.lstrip().startswith("{")
    ):
        return json.dumps({"answer": answer})
    return answer if isinstance(answer, str) else to_json(answer).decode()
