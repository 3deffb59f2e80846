"""What a node execution was, where it ran a tool for an agent: the call, and what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ...state.json_text import object_in, text_or_json
from ...state.names import CALL, MESSAGES
from .spans import Row, Span
from .values import cut_text


@dataclass(frozen=True)
class ToolRun:
    """One tool call of an agent. `arguments` are JSON; `result` is None where there is none yet."""

    name: str
    id: str
    arguments: str
    result: str | None
    is_error: bool


def tool_run_of(span: Span) -> ToolRun | None:
    """Return the tool call that a node ran, None for any other span."""
    if span.kind != "node" or CALL not in (span.row.get("input") or ""):
        return None
    call = object_in(span.row.get("input")).get(CALL)
    if not isinstance(call, dict):
        return None
    output = object_in(span.row.get("output"))
    messages = output.get(MESSAGES)
    message = messages[-1] if isinstance(messages, list) and messages else messages
    message = message if isinstance(message, dict) else {}
    content = _whole(output) or _whole(message) or message.get("content")
    cut = _whole(call)
    return ToolRun(
        name=_name_in(cut) if cut else str(call.get("name")),
        id=str(call.get("id") or ""),
        arguments=cut or text_or_json(call.get("args")),
        result=content if content is None else text_or_json(content),
        is_error=message.get("status") == "error",
    )


def _whole(value: Any) -> str | None:
    """Return what the record has of a value that was too long for it, None for all else."""
    cut = cut_text(value)
    return f"{cut[0]}… ({cut[1]} characters)" if cut else None


def _name_in(text: str) -> str:
    match = re.search(r'"name":\s*"([^"]*)"', text)
    return match[1] if match else "tool"


def tool_calls_as_sent(calls: list[Row]) -> list[Row]:
    """Return the tool calls of an answer in OpenAI's form, as they stand in the next prompt."""
    return [
        {
            "id": call.get("id") or f"call_{number}",
            "type": "function",
            "function": {"name": call.get("name"), "arguments": text_or_json(call.get("arguments"))},
        }
        for number, call in enumerate(calls)
    ]
