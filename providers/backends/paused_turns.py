"""Turns that Anthropic pauses while its own tools run there: they are continued, and are one answer.

The answer so far goes back as it came, with the container that it ran in, until the turn ends:
https://platform.claude.com/docs/build-with-claude/handling-stop-reasons
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage

from ..model import Reply, Usage
from .http import MalformedBody
from .message_state import LANGCHAIN

PAUSED: Final = "pause_turn"
MOST_PAUSES: Final = 8
"""How often a turn is continued; then what there is of it is an answer that was cut."""


class Paused(MalformedBody):
    """The provider paused a turn: `reply` is what there is of it, `container` where its tools ran."""

    def __init__(self, reply: Reply, container: str | None) -> None:
        super().__init__(f"the turn is paused (stop reason {PAUSED}) and was not continued", lasting=True)
        self.reply = reply
        self.container = container


class Turn:
    """One turn of a model, in as many parts as its provider makes of it."""

    def __init__(self) -> None:
        self._parts: list[Reply] = []
        self._content: list[Any] = []
        self._container: str | None = None

    def add(self, pause: Paused) -> Reply | None:
        """Add a part that was paused; return the turn, as one that was cut, when it was paused too often."""
        self._container = pause.container or self._container
        if len(self._parts) == MOST_PAUSES:
            return self.whole(replace(pause.reply, finish_reason="length"))
        self._parts.append(pause.reply)
        self._content += _content_of(pause.reply)
        return None

    def messages(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Return the messages of the next request: those of the first, and the turn so far."""
        if not self._parts:
            return [*messages]
        held = self._parts[-1].state.get(LANGCHAIN) or {}
        return [*messages, AIMessage(list(self._content), response_metadata=held.get("metadata") or {})]

    def arguments(self, arguments: Mapping[str, Any], usual: Any = None) -> dict[str, Any]:
        """Return the arguments of the next request; `usual` is the container that the class itself names."""
        if self._container is None:
            return {**arguments}
        container = arguments.get("container") or usual
        inner = {**container, "id": self._container} if isinstance(container, Mapping) else self._container
        return {**arguments, "container": inner}

    def whole(self, last: Reply) -> Reply:
        """Return the turn that ends with this part: all that was said, and the tokens of all parts."""
        if not self._parts:
            return last
        parts = [*self._parts, last]
        states = (part.state.get(LANGCHAIN) for part in reversed(parts))
        held: Mapping[str, Any] = next((state for state in states if state), {})
        return replace(
            last,
            text="".join(part.text for part in parts),
            tool_calls=tuple(call for part in parts for call in part.tool_calls),
            usage=_sum(part.usage for part in parts),
            reasoning="\n\n".join(part.reasoning for part in parts if part.reasoning) or None,
            state={LANGCHAIN: {**held, "content": [*self._content, *_content_of(last)]}} if held else {},
            media=tuple(block for part in parts for block in part.media),
        )


def _content_of(reply: Reply) -> list[Any]:
    content = (reply.state.get(LANGCHAIN) or {}).get("content") or reply.text
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _sum(usages: Iterable[Usage]) -> Usage:
    """Return the sum; what one part does not tell is not known of the turn."""
    known = [*usages]
    names = ("input", "output", "cached", "reasoning", "cache_write")
    counts = {name: [getattr(usage, name) for usage in known] for name in names}
    return Usage(**{name: None if None in each else sum(each) for name, each in counts.items()})
