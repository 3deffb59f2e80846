"""Tool calls for models that have none of their own: they fill in a JSON schema, which is read as a call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...state.json_text import MAX_NESTING, is_too_deep
from ..model import CallContext, Layer, Message, Reply, Request, ToolCall, with_order

FINAL_ANSWER = "final_answer"
"""The name under which a model gives its answer instead of a tool call."""

_OBJECT = re.compile(r"^\s*(?:```(?:json)?\s*\n)?(\{.*)", re.DOTALL)
_TEXT_ANSWER: Mapping[str, Any] = {
    "name": FINAL_ANSWER,
    "description": "Give the final answer, once you know it.",
    "parameters": {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    },
}


class ToolEmulationLayer(Layer):
    """Puts tools to a model as the choices of one JSON object, and reads its answer as one tool call.

    What was called before, and the results, it is shown as plain messages.
    """

    async def complete(self, request: Request, context: CallContext) -> Reply:
        reply = await self.inner.complete(emulated(request), context)
        if not request.tools or request.tool_choice == "none":
            return reply
        return read_call(reply, options_of(request.tools))


def emulated(request: Request) -> Request:
    """Return the request as a model without tools gets it."""
    plain = replace(request, tools=(), tool_choice="auto")
    if not request.tools or request.tool_choice == "none":
        return replace(plain, messages=as_facts(request.messages))
    options = options_of(request.tools)
    behind = request.prefix is not None
    messages = with_options(plain_messages(request.messages), options, behind=behind)
    return replace(plain, messages=messages, schema=schema_of_options(options))


def options_of(tools: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Return the tools and, unless there is a tool for it, the final answer as text."""
    if any(tool["name"] == FINAL_ANSWER for tool in tools):
        return tuple(tools)
    return (*tools, _TEXT_ANSWER)


def schema_of_options(options: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the JSON schema of one call: a name, and the arguments that belong to it."""
    return {
        "title": "ToolCall",
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "const": option["name"]},
                    "arguments": option.get("parameters") or {"type": "object", "properties": {}},
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for option in options
        ],
    }


def with_options(
    messages: tuple[Message, ...], options: Iterable[Mapping[str, Any]], *, behind: bool = False
) -> tuple[Message, ...]:
    """Return the messages with a system message that names the options; see `with_order` for `behind`."""
    lines = [f"- {_signature(option)}: {option.get('description') or ''}".rstrip(": ") for option in options]
    order = (
        'Answer with one JSON object and nothing else: {"name": …, "arguments": {…}}. It calls one of these, '
        f"and you are told the result. When you know enough, call {FINAL_ANSWER}.\n" + "\n".join(lines)
    )
    return with_order(messages, order, behind=behind)


def _signature(option: Mapping[str, Any]) -> str:
    properties = (option.get("parameters") or {}).get("properties", {})
    shown = ", ".join(f"{name}: {_kind(schema)}" for name, schema in properties.items())
    return f"{option['name']}({shown})"


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    return str(schema.get("type", "value"))


def read_call(reply: Reply, options: Sequence[Mapping[str, Any]]) -> Reply:
    """Return the reply with its text read as a tool call, or as the final answer.

    Text that does not begin like a JSON object is taken for the answer itself.
    """
    match = _OBJECT.match(reply.text)
    if match is None:
        return reply
    try:
        row, _ = json.JSONDecoder().raw_decode(match.group(1))
    except (ValueError, RecursionError) as error:
        reason = "it was cut off" if reply.finish_reason == "length" else str(error)
        return replace(reply, text="", tool_calls=(ToolCall("", problem=f"no valid JSON, {reason}"),))
    if is_too_deep(row):
        problem = f"nested more than {MAX_NESTING} deep"
        return replace(reply, text="", tool_calls=(ToolCall("", problem=problem),))
    name, arguments = row.get("name"), row.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        problem = 'it is not of the form {"name": text, "arguments": object}'
        return replace(reply, text="", tool_calls=(ToolCall("", problem=problem),))
    if name == FINAL_ANSWER and _TEXT_ANSWER in options:
        return replace(reply, text=str(arguments.get("answer", "")))
    return replace(reply, text="", tool_calls=(ToolCall(name, arguments),))


def plain_messages(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Return the messages with tool calls and their results as the text of ordinary messages."""
    names: dict[str, str] = {}
    plain: list[Message] = []
    for message in messages:
        if message["role"] == "tool":
            name = names.get(message.get("tool_call_id", ""), "the tool")
            plain.append({"role": "user", "content": f"Result of {name}:\n{message['content']}"})
        elif calls := message.get("tool_calls"):
            names |= {call["id"]: call["function"]["name"] for call in calls}
            said = [message["content"]] if message.get("content") else []
            plain.append({"role": "assistant", "content": "\n".join([*said, *map(_written, calls)])})
        else:
            plain.append(message)
    return tuple(plain)


def as_facts(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Return the messages with all that was found out by tools as one message, before the last one.

    A small model that reads its own tool calls goes on writing them when it should answer.
    """
    kept: list[Message] = []
    facts: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            facts.append(str(message["content"]))
        elif not message.get("tool_calls"):
            kept.append(message)
    if facts:
        message = {"role": "user", "content": "This was found out:\n" + "\n".join(facts)}
        kept.insert(max(0, len(kept) - 1), message)
    return tuple(kept)


def _written(call: Mapping[str, Any]) -> str:
    function = call["function"]
    return f'{{"name": {json.dumps(function["name"])}, "arguments": {function["arguments"]}}}'
