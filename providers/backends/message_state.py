"""What a provider sends with a message and wants back with it: reasoning, details, signatures of thoughts.

Nobody but that provider can read it, and some refuse what is another's, so each gets only what it names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from ..model import Message
from ..provider_table import PROVIDERS

LANGCHAIN: Final = "langchain"
"""The field of a message that holds what LangChain's class for its provider wants back."""
_ECHOED = {name for known in PROVIDERS.values() for name in known.capabilities.echo}
STATE_FIELDS: Final = frozenset({*_ECHOED, LANGCHAIN})
_CALL_FIELDS: Final = {"id", "type", "function"}


def with_state(message: Message, echo: Collection[str]) -> dict[str, Any]:
    """Return the message with those fields of a provider's own that this endpoint wants back."""
    kept = {name: value for name, value in message.items() if name not in STATE_FIELDS or name in echo}
    if calls := kept.get("tool_calls"):
        kept["tool_calls"] = [_part(call, {*echo, *_CALL_FIELDS}) for call in calls]
    return kept


def _part(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def joined(held: Any, piece: Any) -> Any:
    """Return what a field holds with another piece of a stream. Texts grow, lists get items.

    Items of one type and index are one item, as OpenRouter streams its `reasoning_details`.
    """
    if isinstance(held, str) and isinstance(piece, str):
        return held + piece
    if not isinstance(held, list) or not isinstance(piece, list):
        return piece
    items = list(held)
    for item in piece:
        if items and _is_same(items[-1], item):
            items[-1] = _grown(items[-1], item)
        else:
            items.append(item)
    return items


def _is_same(one: Any, other: Any) -> bool:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping) or one.get("index") is None:
        return False
    return (one.get("index"), one.get("type")) == (other.get("index"), other.get("type"))


def _grown(item: Mapping[str, Any], piece: Mapping[str, Any]) -> dict[str, Any]:
    grown = dict(item)
    for name, value in piece.items():
        if (
            name in ("text", "summary", "data")
            and isinstance(grown.get(name), str)
            and isinstance(value, str)
        ):
            grown[name] += value
        elif value is not None:
            grown[name] = value
    return grown
