"""What a nested graph did to a field with a reducer, as the one update that does the same.

A reducer is any function, so nothing can turn it around. But nearly all append, add or merge: what they
would have taken is tried, and counts only if the reducer makes exactly the new value of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, RemoveMessage

from ...state.errors import DefinitionError

ABSENT = object()
WINDOW = 500


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal; those that cannot be compared are not."""
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:  # a type whose == does not give a bool, such as an array
        return False


def increment(name: str, before: Any, after: Any, channel: Any, graph: str) -> Any:
    """Return the update of which a reducer makes `after` from `before`.

    The least that does it is taken, so that what parts beside this one change stays as they leave it.
    """
    for candidate in _candidates(before, after):
        if same(reduced(channel, before, candidate), after):
            return candidate
    raise DefinitionError(
        f"{graph!r} runs beside other parts and changed {name!r} in a way that cannot be put into one "
        f"update for its reducer, from {before!r:.100} to {after!r:.100}. Let it write a plain field of its "
        "own, and merge that afterwards."
    )


def _candidates(before: Any, after: Any) -> Iterator[Any]:
    """Yield what a reducer may have been given, the least first, the whole value last."""
    difference = _difference(before, after)
    if difference is not ABSENT:
        yield difference
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield _deep(before, after)
        yield {k: v for k, v in after.items() if k not in before or not same(v, before[k])}
    elif isinstance(before, Sequence) and isinstance(after, Sequence):
        if all(isinstance(item, BaseMessage) for item in itertools.chain(before, after)):
            yield _messages(before, after)
        yield after[len(before) :]
        yield from (after[-length:] for length in range(1, min(len(after), WINDOW)))  # of the last few
    yield after


def _difference(before: Any, after: Any) -> Any:
    try:
        return after - before  # numbers, sets, counters, dates
    except Exception:  # of other types, or of one with another sense of "minus"
        return ABSENT


def _deep(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> dict[Any, Any]:
    changed: dict[Any, Any] = {}
    for key, value in after.items():
        was = before.get(key, ABSENT)
        if was is ABSENT:
            changed[key] = value
        elif isinstance(was, Mapping) and isinstance(value, Mapping):
            if not same(was, value):
                changed[key] = _deep(was, value)
        elif isinstance(was, list) and isinstance(value, list) and same(value[: len(was)], was):
            if len(value) > len(was):
                changed[key] = value[len(was) :]
        elif not same(was, value):
            changed[key] = value
    return changed


def _messages(before: Sequence[BaseMessage], after: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the messages that are new or other ones, and the removal of those that are gone."""
    known = {message.id: message for message in before}
    left = {message.id for message in after}
    gone = [message.id for message in before if message.id is not None and message.id not in left]
    removals: list[BaseMessage] = [RemoveMessage(id=name) for name in gone]
    return removals + [message for message in after if not same(known.get(message.id), message)]


def reduced(channel: Any, before: Any, update: Any) -> Any:
    """Return what a field's reducer makes of a value and an update, ABSENT if it takes none such."""
    try:
        trial = channel.from_checkpoint(before)
        trial.update([update])
        return trial.get()
    except Exception:  # not of a type that the reducer takes
        return ABSENT
