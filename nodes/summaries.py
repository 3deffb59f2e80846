"""What was said, as text: for a model that sums it up."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage


def transcript(messages: Iterable[AnyMessage]) -> str:
    """Return messages as lines that say who said what."""
    return "\n".join(f"{_who(message)}: {message.content}" for message in messages)


def _who(message: AnyMessage) -> str:
    if isinstance(message, ToolMessage):
        return f"Tool {message.name}"
    return "User" if isinstance(message, HumanMessage) else "Assistant"
