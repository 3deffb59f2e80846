"""Answers of Anthropic's Messages and OpenAI's Responses API, made fit for the classes that read them.

The classes take what comes on trust: a count sent as text, or arguments that are null, end them in an error
of their own, and an error within a 200 in none that tells what it was. Chat completions do not come here: our
own reader reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .http import HTTPStatusError, MalformedBody, check_fault, status_in
from .tool_calls import read_arguments
from .usages import as_count

_HOLDERS = ("response", "message")  # where an event of a stream has the answer


class BodyFitter:
    """Makes the body of an answer fit, or the events of one stream."""

    def __init__(self) -> None:
        self._so_far: dict[str, Any] = {}  # the counts of Anthropic's events, and those that were handed on
        self._handed: dict[str, Any] = {}

    def fit(self, data: bytes) -> bytes:
        """Return a body, or an event's data. Raises HTTPStatusError if it says that something went wrong."""
        try:
            part = json.loads(data)
        except (ValueError, RecursionError):
            return data  # the class says what is wrong
        if not isinstance(part, Mapping):
            raise MalformedBody(f"a JSON {type(part).__name__} where an object should be")
        return json.dumps(self._part(part)).encode()

    def _part(self, part: Mapping[str, Any]) -> dict[str, Any]:
        if part.get("type") == "error" and not part.get("error"):  # the Responses API's event
            raise HTTPStatusError(status_in(part), {"error": dict(part)}, {})
        check_fault(part, {})
        fit_part = {**part}
        for name in _HOLDERS:
            if isinstance(part.get(name), Mapping):
                fit_part[name] = self._part(part[name])
        if isinstance(part.get("usage"), Mapping):
            fit_part["usage"] = _counts(part["usage"])
        if part.get("type") == "message_start" and isinstance(fit_part.get("message"), Mapping):
            self._so_far = {**(fit_part["message"].get("usage") or {})}
        elif part.get("type") == "message_delta":
            fit_part["usage"] = self._since(fit_part.get("usage") or {})
        for name in ("output", "content"):
            if isinstance(part.get(name), list):
                fit_part[name] = [_item(item) for item in part[name]]
        return fit_part

    def _since(self, usage: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is new in counts: each is the whole so far, and the class adds them up."""
        self._so_far |= {name: count for name, count in usage.items() if count is not None}
        before, self._handed = self._handed, {**self._so_far}
        return {
            name: count - before.get(name, 0) if isinstance(count, int) else count
            for name, count in self._so_far.items()
            if isinstance(count, int) or name not in before
        }


def _counts(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return counts without those that are none; one that is sent as text is one."""
    fit: dict[str, Any] = {}
    for name, value in usage.items():
        if not name.endswith("_tokens"):
            fit[name] = value
        elif (count := as_count(value)) is not None:
            fit[name] = count
    return fit


def _item(item: Any) -> Any:
    """Return an item of an answer; a tool's call with an object as its arguments, wherever they are one."""
    if not isinstance(item, Mapping):
        return item
    name = {"function_call": "arguments", "tool_use": "input"}.get(str(item.get("type")))
    raw = None if name is None else item.get(name)
    if name is None or isinstance(raw, Mapping):
        return item
    arguments, problem = read_arguments(raw if isinstance(raw, str) else json.dumps(raw))
    if problem is not None:
        return item
    return {**item, name: json.dumps(arguments) if name == "arguments" else arguments}
