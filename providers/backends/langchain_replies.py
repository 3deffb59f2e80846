"""From LangChain's messages, whole or in chunks, to replies, whichever provider's class made them.

LangChain has standard forms for text, tool calls, reasoning and counts. Why an answer ended has none: each
provider's own word is in the message's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks

from ...state.json_text import MAX_NESTING, is_too_deep
from ..model import Reply, ToolCall, Usage
from ..provider_table import Capabilities
from .completion import PartialCompletion, split_thought
from .finish import checked_calls, checked_finish
from .http import HTML_HELP, HTTPStatusError, MalformedBody, check_fault
from .httpx_bounds import UNFINISHED
from .langchain_classes import COMPLETION
from .message_state import LANGCHAIN
from .paused_turns import PAUSED, Paused
from .standard_blocks import AudioDraft, Block, blocks_in, kept_blocks
from .tool_calls import TOO_DEEP, ToolCallDrafts, read_arguments, without_cut
from .usages import OPENAI_NAMES, believable, count_in, read_cost, read_usage

# Where the classes keep why the answer ended: OpenAI, Google, Groq, Mistral; Anthropic; Bedrock; Ollama.
_FINISH: Final = ("finish_reason", "stop_reason", "stopReason", "done_reason")
# What the provider reads again: signatures of thoughts, encrypted reasoning.
_KEPT_KWARGS: Final = ("reasoning", "reasoning_content", "__gemini_function_call_thought_signatures__")


def read_message(message: AIMessage, metadata: Mapping[str, Any], model: str, can: Capabilities) -> Reply:
    """Return the reply that a message holds. Raises MalformedBody or HTTPStatusError if it is not whole,
    and Paused with the reply where it is a turn that goes on.
    """
    finish = PAUSED if told_finish(metadata) == PAUSED else _finish(metadata, can)
    text, thought = split_thought(
        str(message.text) or AudioDraft().add(message.additional_kwargs.get("audio"))
    )
    refusal = _refusal(message)
    usage = believable(usage_of(message, metadata), answered=bool(text))
    raw = metadata.get("token_usage")
    reply = Reply(
        text=text or refusal,
        tool_calls=without_cut(finish, tool_calls_of(message), parsed=True),
        model=str(metadata.get("model_name") or metadata.get("model") or model),
        usage=usage,
        reasoning=reasoning_in(message) or thought or None,
        finish_reason="refusal" if refusal and not text else finish,
        cost_usd=read_cost(raw) if isinstance(raw, Mapping) else None,
        state=state_of(message),
        media=media_in(message),
    )
    if finish == PAUSED:
        container = metadata.get("container")
        number = container.get("id") if isinstance(container, Mapping) else None
        raise Paused(reply, number if isinstance(number, str) else None)
    return reply


def media_in(message: AIMessage) -> tuple[Block, ...]:
    """Return the images, sounds and files of a message, as standard blocks."""
    extra = message.additional_kwargs
    draft = AudioDraft()
    transcript = draft.add(extra.get("audio"))
    parts = message.content_blocks if isinstance(message.content, list) or "tool_outputs" in extra else ()
    return (
        kept_blocks([*blocks_in([*parts]), *draft.blocks()])
        if parts or transcript or "audio" in extra
        else ()
    )


class ChunkedCompletion:
    """A chat completion that OpenAI's class hands on chunk by chunk."""

    def __init__(self, model: str, can: Capabilities) -> None:
        self._draft = PartialCompletion(can, model)
        self._chunks = 0

    @property
    def calls_tools(self) -> bool:
        return bool(self._draft.tool_calls)

    def add(self, chunk: Any) -> tuple[str, str]:
        """Add a chunk; return the text and the reasoning that are new in it."""
        part = checked_completion(chunk.generation_info)
        if UNFINISHED in part:
            if self._draft.finish_reason is None:
                raise MalformedBody("the stream ended before the answer did")
            return "", ""
        self._chunks += bool(part.get("choices"))
        return self._draft.chunk(part)

    def reply(self) -> Reply:
        """Return the answer. Raises MalformedBody or HTTPStatusError if it is not whole."""
        if not self._chunks:
            raise MalformedBody("the answer has no choices")
        return self._draft.reply()


def checked_completion(info: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the completion, or the chunk, in what OpenAI's class hands on.

    Raises MalformedBody for what is none, and HTTPStatusError for what says that something went wrong.
    """
    part = (info or {}).get(COMPLETION)
    if not isinstance(part, Mapping):
        page = isinstance(part, str) and part.lstrip().startswith("<")
        kind = HTML_HELP if page else f"a JSON {type(part).__name__} where an object should be"
        raise MalformedBody(kind, lasting=page)
    if is_too_deep(part):
        raise MalformedBody(f"the answer is nested more than {MAX_NESTING} deep")
    check_fault(part, {})
    return part


class ChunkedMessage:
    """A message that is still coming in."""

    def __init__(self, model: str, can: Capabilities) -> None:
        self._model = model
        self._can = can
        self.metadata: dict[str, Any] = {}
        self._chunks: list[AIMessageChunk] = []
        self._calls = ToolCallDrafts()

    @property
    def calls_tools(self) -> bool:
        return bool(self._calls)

    def add(self, chunk: Any) -> tuple[str, str]:
        """Add a generation's chunk; return the text and the reasoning that are new in it."""
        message = chunk.message
        info = {**(chunk.generation_info or {}), **message.response_metadata}
        self.metadata |= {name: value for name, value in info.items() if value}
        if not isinstance(message, AIMessageChunk):
            raise MalformedBody(f"a message of type {type(message).__name__}")
        for place, call in enumerate(message.tool_call_chunks):
            function = {"name": call["name"], "arguments": call["args"]}
            self._calls.add({"index": call["index"], "id": call["id"], "function": function}, place)
        self._chunks.append(message)
        text = str(message.text) or AudioDraft().add(message.additional_kwargs.get("audio"))
        return text, reasoning_in(message)

    def calls(self) -> tuple[ToolCall, ...]:
        """Return the calls of tools so far."""
        return self._calls.calls()

    def reply(self) -> Reply:
        """Return the answer. Raises MalformedBody or HTTPStatusError if it is not whole."""
        if not self._chunks:
            raise MalformedBody("the stream has no chunks")
        first, *rest = self._chunks
        message = add_ai_message_chunks(first, *rest) if rest else first
        reply = read_message(message, self.metadata, self._model, self._can)
        calls = self.calls()
        checked_calls(reply.finish_reason, calls)
        return replace(reply, tool_calls=without_cut(reply.finish_reason, calls))


def tool_calls_of(message: AIMessage) -> tuple[ToolCall, ...]:
    """Return the calls of a message; what LangChain could not read is read as our own client does."""
    good, bad = [], []
    for call in message.tool_calls:
        deep = is_too_deep(call["args"])
        arguments, problem = ({}, TOO_DEEP) if deep else (call["args"], None)
        good.append(ToolCall(call["name"], arguments, id=call["id"] or "", problem=problem))
    for invalid in message.invalid_tool_calls:
        arguments, problem = read_arguments(invalid["args"] or "")
        bad.append(ToolCall(invalid["name"] or "", arguments, id=invalid["id"] or "", problem=problem))
    calls = (*good, *bad)
    return tuple(
        ToolCall(call.name, call.arguments, id=call.id or f"call_{number}", problem=call.problem)
        for number, call in enumerate(calls)
    )


def reasoning_in(message: AIMessage) -> str:
    """Return the reasoning that a message or chunk shows."""
    text = message.additional_kwargs.get("reasoning_content")
    if isinstance(text, str) and text:
        return text
    if not isinstance(message.content, list) and "reasoning" not in message.additional_kwargs:
        return ""
    thoughts = (part.get("reasoning") for part in message.content_blocks if part["type"] == "reasoning")
    return "\n\n".join(thought for thought in thoughts if isinstance(thought, str) and thought)


def _refusal(message: AIMessage) -> str:
    """Return what the model says instead of an answer, where the provider tells it apart."""
    text = message.additional_kwargs.get("refusal")
    parts = message.content if isinstance(message.content, list) else []
    refusals = [p.get("refusal") for p in parts if isinstance(p, Mapping) and p.get("type") == "refusal"]
    return text if isinstance(text, str) else "".join(part for part in refusals if isinstance(part, str))


def usage_of(message: AIMessage, metadata: Mapping[str, Any]) -> Usage:
    """Return the token counts; what the server does not say is unknown, never zero."""
    raw = metadata.get("token_usage")
    if isinstance(raw, Mapping) and raw.keys() & OPENAI_NAMES:
        return read_usage(raw)
    usage: Any = message.usage_metadata
    if not usage:
        return Usage()
    prompt, answered = count_in(usage, "input_tokens"), count_in(usage, "output_tokens")
    if not prompt and not answered:
        prompt = answered = None
    inputs, outputs = usage.get("input_token_details", {}), usage.get("output_token_details", {})
    cached, written = _detail(inputs, "cache_read"), _detail(inputs, "cache_creation", "input_tokens")
    reasoning = _detail(outputs, "reasoning")
    return Usage(
        input=prompt,
        output=answered,
        cached=None if cached is None else min(cached, prompt or 0),
        reasoning=None if reasoning is None else min(reasoning, answered or 0),
        cache_write=written,
    )


def _detail(details: Mapping[str, Any], name: str, lasting: str | None = None) -> int | None:
    """Return a count with those of its kinds: OpenAI's by tier of service, Anthropic's by lifetime."""
    kinds = [
        n for n in details if n == name or n.endswith(f"_{name}") or (lasting and n.endswith(f"_{lasting}"))
    ]
    counts = [count for kind in kinds if (count := count_in(details, kind)) is not None]
    return sum(counts) if counts else None


def told_finish(metadata: Mapping[str, Any]) -> str | None:
    """Return why an answer ended, in its provider's word."""
    return next((metadata[n] for n in _FINISH if isinstance(metadata.get(n), str) and metadata[n]), None)


def _finish(metadata: Mapping[str, Any], can: Capabilities) -> str | None:
    reason = told_finish(metadata)
    if reason is not None and reason != "FINISH_REASON_UNSPECIFIED":
        return checked_finish(reason, always=can.always_finishes, known=can.finish)
    blocked = metadata.get("prompt_feedback")
    if isinstance(blocked, Mapping) and blocked.get(
        "block_reason"
    ):  # Gemini reads the prompt, and stops there
        return "content_filter"
    return checked_finish(_status(metadata), always=can.always_finishes, known=can.finish)


def _status(metadata: Mapping[str, Any]) -> str | None:
    """Return how an answer of OpenAI's Responses API ended. Raises HTTPStatusError if it failed."""
    status = metadata.get("status")
    if status == "incomplete":
        details = metadata.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        return str(reason or "incomplete")
    if status == "failed":
        raise HTTPStatusError(502, {"error": metadata.get("error") or "the answer failed"}, {})
    return status if isinstance(status, str) else None


def state_of(message: AIMessage, package: str = "") -> dict[str, Any]:
    """Return what the provider wants back with the message, if it is more than text and tool calls.

    `package` is that of the class which made it, and can read it again.
    """
    kept = {name: value for name, value in message.additional_kwargs.items() if name in _KEPT_KWARGS}
    parts = message.content if isinstance(message.content, list) else []
    telling = [p for p in parts if isinstance(p, Mapping) and (p.get("type") not in _PLAIN or _has_marks(p))]
    if not telling and not kept:
        return {}
    held = {
        "by": package,
        "content": message.content,
        "kwargs": kept,
        "metadata": _origin(message),
        "id": message.id,
    }
    try:
        kept = json.loads(json.dumps(held))
        return {} if is_too_deep(kept) else {LANGCHAIN: kept}
    except (TypeError, ValueError, RecursionError):
        return {}  # an object that no file can hold is no state that a resume could send


_PLAIN: Final = {"text", "tool_use", "tool_call", "function_call", "input_json_delta"}


def _has_marks(part: Mapping[str, Any]) -> bool:
    return bool(part.get("extras") or part.get("signature") or part.get("id"))


def _origin(message: AIMessage) -> dict[str, Any]:
    metadata = message.response_metadata
    return {name: metadata[name] for name in ("model_provider", "output_version", "id") if name in metadata}
