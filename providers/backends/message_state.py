"""What a provider sends with a message and wants back with it: reasoning, details, signatures of thoughts.

Nobody but that provider can read it, and some refuse what is another's, so each gets only what it names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from ..model import Message
from ..provider_table import PROVIDERS

LANGCHAIN: Final = "langchain"
"""The field of a message that holds what LangChain's class for its provider wants back."""
_ECHOED = {name for known in PROVIDERS.values() for name in known.capabilities.echo}
STATE_FIELDS: Final = frozenset({*_ECHOED, LANGCHAIN})
_GROWING: Final = {"text", "summary", "data"}
_CALL_FIELDS: Final = {"id", "type", "function"}


def with_state(message: Message, echo: Collection[str]) -> dict[str, Any]:
    """Return the message with those fields of a provider's own that this endpoint wants back."""
    if type(message) is dict and STATE_FIELDS.isdisjoint(message) and "tool_calls" not in message:
        return message
    kept = {name: value for name, value in message.items() if name not in STATE_FIELDS or name in echo}
    if calls := kept.get("tool_calls"):
        kept["tool_calls"] = [_part(call, {*echo, *_CALL_FIELDS}) for call in calls]
    return kept


def _part(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def joined(pieces: Sequence[Any]) -> Any:
    """Return what the pieces of a field in a stream are together: texts grow, lists get items.

    Where a piece is of another kind than the one before, it counts instead. Items of one type and index are
    one item, as OpenRouter streams its `reasoning_details`.
    """
    last = pieces[-1]
    kind = str if isinstance(last, str) else list if isinstance(last, list) else None
    if kind is None:
        return last
    begin = len(pieces) - 1
    while begin and isinstance(pieces[begin - 1], kind):
        begin -= 1
    if kind is str:
        return "".join(pieces[begin:])
    items = _Items(pieces[begin])
    for piece in pieces[begin + 1 :]:
        for item in piece:
            items.add(item)
    return items.whole()


class _Items:
    """Items that are coming in; the texts of the last one are put together once, when it is whole."""

    def __init__(self, first: Sequence[Any]) -> None:
        self._items = list(first)
        self._texts: dict[str, list[str]] = {}

    def add(self, item: Any) -> None:
        if not self._items or not _is_same(self._items[-1], item):
            self.whole()
            self._items.append(item)
            return
        if not self._texts:
            self._items[-1] = dict(self._items[-1])
        held = self._items[-1]
        for name, value in item.items():
            if name in _GROWING and isinstance(held.get(name), str) and isinstance(value, str):
                self._texts.setdefault(name, [held[name]]).append(value)
            elif value is not None:
                held[name] = value
                self._texts.pop(name, None)

    def whole(self) -> list[Any]:
        """Return all items."""
        if self._texts:
            self._items[-1] |= {name: "".join(pieces) for name, pieces in self._texts.items()}
            self._texts = {}
        return self._items


def _is_same(one: Any, other: Any) -> bool:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping) or one.get("index") is None:
        return False
    return (one.get("index"), one.get("type")) == (other.get("index"), other.get("type"))
