"""Names of tools and schemas as endpoints take them: letters, digits, "_" and "-", at most 64.

Tools of other makers are called "github.search" or "Lookup order", generic types "Choice[Kind]".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ..model import Message, Reply, Request

MAX_NAME: Final = 64  # https://platform.openai.com/docs/api-reference/chat/create: tools, response_format
MAX_ID: Final = 40  # of a call; the API: "string too long. Expected a string with maximum length 40"
_UNFIT = re.compile(r"[^a-zA-Z0-9_-]+")


def wire_name(name: str) -> str:
    """Return the name, changed where no endpoint would take it; equal names stay equal, others differ."""
    fit = _UNFIT.sub("_", name)
    if fit == name and 0 < len(name) <= MAX_NAME:
        return name
    mark = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:6]
    return f"{fit.strip('_')[: MAX_NAME - 7]}_{mark}".lstrip("_")


def schema_name(schema: Mapping[str, Any]) -> str:
    """Return what a JSON schema is called on the wire: its title, made fit, because a model may read it."""
    return _UNFIT.sub("_", str(schema.get("title", ""))).strip("_")[:MAX_NAME] or "Answer"


@dataclass(frozen=True)
class WireNames:
    """The tools of one request under names that fit, there and back."""

    own: Mapping[str, str]

    @classmethod
    def of(cls, request: Request) -> WireNames:
        if not request.tools:
            return NO_NAMES
        return cls({wire_name(str(tool["name"])): str(tool["name"]) for tool in request.tools})

    def request(self, request: Request) -> Request:
        """Return the request with the names that fit."""
        if all(wire == own for wire, own in self.own.items()):
            return request
        tools = tuple({**tool, "name": wire_name(str(tool["name"]))} for tool in request.tools)
        return replace(request, tools=tools, messages=tuple(map(_message, request.messages)))

    def reply(self, reply: Reply) -> Reply:
        """Return the reply with the tools' own names."""
        if not reply.tool_calls:
            return reply
        calls = tuple(replace(call, name=self.own.get(call.name, call.name)) for call in reply.tool_calls)
        return replace(reply, tool_calls=calls) if calls != reply.tool_calls else reply


NO_NAMES: Final = WireNames({})


def with_short_ids(request: Request) -> Request:
    """Return the request with ids of calls that OpenAI's API takes, which other models' servers may not make.

    vLLM's are longer. What the API itself gave stays as it is.
    """
    if not any(map(_has_long_id, request.messages)):
        return request
    return replace(request, messages=tuple(map(_with_short_ids, request.messages)))


def _has_long_id(message: Message) -> bool:
    calls = message.get("tool_calls") or ()
    ids = [message.get("tool_call_id"), *(call.get("id") for call in calls)]
    return any(isinstance(own, str) and len(own) > MAX_ID for own in ids)


def _with_short_ids(message: Message) -> Message:
    if not _has_long_id(message):
        return message
    calls = message.get("tool_calls")
    if not calls:
        return {**message, "tool_call_id": _short(message["tool_call_id"])}
    return {**message, "tool_calls": [{**call, "id": _short(call["id"])} for call in calls]}


def _short(own: str) -> str:
    digest = hashlib.sha256(own.encode("utf-8", "replace")).hexdigest()
    return own if len(own) <= MAX_ID else f"call_{digest[:24]}"


def _message(message: Message) -> Message:
    calls: Iterable[Mapping[str, Any]] | None = message.get("tool_calls")
    if not calls:
        return message
    return {**message, "tool_calls": [_call(call) for call in calls]}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "name": wire_name(str(function["name"]))}}
