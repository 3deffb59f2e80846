"""A request in the form of Anthropic's Messages API, and the reply that a message holds."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ...state.errors import ModelRefused
from ..backends.finish import checked_calls, checked_finish
from ..backends.http import MalformedBody
from ..backends.langchain import with_schema_in_prompt
from ..backends.message_state import with_state
from ..backends.refused_params import ParameterLeftOut
from ..backends.tool_calls import without_cut
from ..backends.usages import count_in
from ..backends.wire_names import WireNames
from ..dials import on_the_wire
from ..model import Message, Reply, Request, ToolCall, Usage
from ..prefix_marks import marked
from ..settings import ModelSettings

ANSWER_TOKENS: Final = 4096  # the API wants a limit
STATE: Final = "thinking_blocks"
_SYSTEM: Final = ("system", "developer")
_DIALS: Final = ("top_p", "service_tier")  # those that have the same name there
_RENAMED: Final = ("stop", "reasoning_effort")


def message_body(request: Request, settings: ModelSettings) -> dict[str, Any]:
    """Return the body of a request."""
    request = WireNames.of(request).request(request)
    messages = marked(request, "cache_control")
    if request.schema is not None:
        shared = request.prefix is not None
        messages = with_schema_in_prompt(messages, request.schema, behind=shared)
    system = [part for m in messages if m["role"] in _SYSTEM for part in _parts(m.get("content"))]
    body: dict[str, Any] = {
        "model": settings.model,
        "max_tokens": request.max_tokens or settings.max_tokens or ANSWER_TOKENS,
        "messages": _turns([with_state(m, (STATE,)) for m in messages]),
    }
    if system:
        body["system"] = system
    temperature = request.temperature if request.temperature is not None else settings.temperature
    if temperature is not None:
        body["temperature"] = temperature
    own = (settings.dials(), request.dials or {})
    extra = [{"extra_body": dials["extra_body"]} for dials in own if dials.get("extra_body")]
    dials = on_the_wire(*({name: v for name, v in each.items() if name != "extra_body"} for each in own))
    body = on_the_wire(*extra) | body | {name: dials[name] for name in _DIALS if name in dials}
    for name in sorted(dials.keys() - {*_DIALS, *_RENAMED}):
        warning = f"Anthropic's API takes no {name}: {settings.model} is asked without. Leave it out of the "
        warnings.warn(warning + "question, or bind another model.", ParameterLeftOut, stacklevel=2)
    if "stop" in dials:
        body["stop_sequences"] = dials["stop"]
    if "reasoning_effort" in dials:
        body["output_config"] = {**body.get("output_config", {}), "effort": dials["reasoning_effort"]}
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice == "none":
            body["tool_choice"] = {"type": "none"}
    return body


def message_reply(request: Request, answer: Mapping[str, Any], model: str) -> Reply:
    """Return the reply that a message holds. Raises MalformedBody or HTTPStatusError if it holds none."""
    blocks = answer.get("content") if isinstance(answer, Mapping) else None
    if not isinstance(blocks, list) or not all(isinstance(block, Mapping) for block in blocks):
        raise MalformedBody("the answer has no content")
    reason = answer.get("stop_reason")
    if reason == "model_context_window_exceeded":
        reason = "max_tokens"
    thought = [block for block in blocks if block.get("type") in ("thinking", "redacted_thinking")]
    calls = [
        ToolCall(str(block.get("name")), block.get("input") or {}, str(block.get("id")))
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    finish = checked_finish(reason, always=True)
    checked_calls(finish, calls)
    return WireNames.of(request).reply(
        Reply(
            text="".join(str(block.get("text") or "") for block in blocks if block.get("type") == "text"),
            model=str(answer.get("model") or model),
            tool_calls=without_cut(finish, tuple(calls), parsed=True),
            usage=_usage(answer.get("usage") or {}),
            reasoning="".join(str(block.get("thinking") or "") for block in thought) or None,
            finish_reason=finish,
            state={STATE: thought} if thought else {},
        )
    )


def _usage(raw: Mapping[str, Any]) -> Usage:
    """Return the counts; there, what the cache holds is not part of the input."""
    fresh = count_in(raw, "input_tokens")
    cached, written = count_in(raw, "cache_read_input_tokens"), count_in(raw, "cache_creation_input_tokens")
    whole = None if fresh is None else fresh + (cached or 0) + (written or 0)
    return Usage(whole, count_in(raw, "output_tokens"), cached, cache_write=written)


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    named = {"name": tool["name"], "input_schema": tool.get("parameters") or {"type": "object"}}
    return {**named, "description": tool["description"]} if tool.get("description") else named


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the turns; what follows a turn of the same side belongs to it, as results of tools do."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] in _SYSTEM:
            continue
        role = "assistant" if message["role"] == "assistant" else "user"
        blocks = list(_blocks(message))
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> Iterator[dict[str, Any]]:
    if message["role"] == "tool":
        content = list(_parts(message.get("content")))
        yield {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content}
        return
    yield from message.get(STATE) or ()
    yield from _parts(message.get("content"))
    for call in message.get("tool_calls") or ():
        function = call["function"]
        try:
            arguments = json.loads(function.get("arguments") or "{}")
        except ValueError:
            arguments = {}
        inputs = arguments if isinstance(arguments, dict) else {}
        yield {"type": "tool_use", "id": call["id"], "name": function["name"], "input": inputs}


def _parts(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, str):
        if content:
            yield {"type": "text", "text": content}
        return
    for item in content or ():
        part = item if isinstance(item, Mapping) else {"type": "text", "text": str(item)}
        block = _block(part)
        yield {**block, "cache_control": part["cache_control"]} if "cache_control" in part else block


def _block(part: Mapping[str, Any]) -> dict[str, Any]:
    match part.get("type"):
        case "text":
            return {"type": "text", "text": part["text"]}
        case "image_url":
            image = part["image_url"]
            return {"type": "image", "source": _source(image["url"] if isinstance(image, Mapping) else image)}
        case "file" if isinstance(part.get("file"), Mapping) and "file_data" in part["file"]:
            return {"type": "document", "source": _source(part["file"]["file_data"])}
        case "image" | "file" if "base64" in part:  # LangChain's standard blocks
            kind = "image" if part["type"] == "image" else "document"
            return {"type": kind, "source": _inline(part["mime_type"], part["base64"])}
        case "image" | "file" if "url" in part:
            kind = "image" if part["type"] == "image" else "document"
            return {"type": kind, "source": _source(part["url"])}
        case "image" | "document" if isinstance(part.get("source"), Mapping):  # the API's own
            return {name: value for name, value in part.items() if name != "cache_control"}
    raise ModelRefused(
        f"A message has a part of type {part.get('type')!r}, which Anthropic's API does not take. Send text, "
        "images or PDFs."
    )


def _source(url: str) -> dict[str, Any]:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    head, _, data = url.partition(",")
    return _inline(head.removeprefix("data:").partition(";")[0], data)


def _inline(media_type: str, data: str) -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": data}
