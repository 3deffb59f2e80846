"""The keys in use are taken out of what a model says, before anybody hears it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...state.errors import ModelError
from ...state.keys_in_use import StreamCleaner, any_known, without_keys
from ..model import CallContext, Layer, Reply, Request, TokenSink, ToolCall

_TEXTS = ("text", "reasoning", "model", "finish_reason")  # of a reply


class RedactionLayer(Layer):
    """Takes the keys in use out of answers, thoughts, tool calls and errors: a server may echo them."""

    async def complete(self, request: Request, context: CallContext) -> Reply:
        sink = context.sink
        clean = None if sink is None else _CleanSink(sink)
        try:
            reply = await self.inner.complete(request, replace(context, sink=clean) if clean else context)
        except ModelError as error:
            error.args = tuple(without_keys(arg) if isinstance(arg, str) else arg for arg in error.args)
            raise
        if clean is not None:
            await clean.end()
        return _without_keys(reply) if any_known() else reply


def _without_keys(reply: Reply) -> Reply:
    """Return the reply without the keys in use; the same object where it holds none."""
    changed: dict[str, Any] = {}
    for name in _TEXTS:
        text = getattr(reply, name)
        if text and (clean := without_keys(text)) is not text:
            changed[name] = clean
    if reply.state and (state := _cleaned(reply.state)) != reply.state:
        changed["state"] = state
    if reply.tool_calls and (calls := tuple(map(_clean_call, reply.tool_calls))) != reply.tool_calls:
        changed["tool_calls"] = calls
    return replace(reply, **changed) if changed else reply


def _clean_call(call: ToolCall) -> ToolCall:
    return replace(
        call,
        name=without_keys(call.name),
        arguments=_cleaned(call.arguments),
        id=without_keys(call.id),
        extra=_cleaned(call.extra),
        problem=call.problem and without_keys(call.problem),
    )


def _cleaned(value: Any) -> Any:
    """Return plain data without the keys in use, the names in it included."""
    if isinstance(value, str):
        return without_keys(value)
    if isinstance(value, Mapping):
        return {_cleaned(name): _cleaned(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(inner) for inner in value]
    return value


class _CleanSink:
    """Hands tokens on without the keys in use, also where one is cut over several tokens."""

    def __init__(self, sink: TokenSink) -> None:
        self._sink = sink
        self.listened = sink.listened
        self._text, self._thought = StreamCleaner(), StreamCleaner()

    async def emit(self, text: str = "", *, reasoning: str = "") -> None:
        text = self._text.feed(text) if text else ""
        reasoning = self._thought.feed(reasoning) if reasoning else ""
        await self._sink.emit(text, reasoning=reasoning)  # nothing yet: but the answer begins

    async def end(self) -> None:
        """Hand on what was held back."""
        text, reasoning = self._text.rest(), self._thought.rest()
        if text or reasoning:
            await self._sink.emit(text, reasoning=reasoning)
