"""A value as a tree of names and texts: no brackets, no quotes but where a text looks like something else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

MOST: Final = 1000  # leaves; what has more is shown as JSON
DEEPEST: Final = 12
YES, NO, NOTHING, EMPTY, EMPTY_LIST = EXPLAINED = ("yes", "no", "(nothing)", "(empty)", "(empty list)")


@dataclass(frozen=True)
class Tree:
    """One value: a text, or named items; `is_list` where their names are numbers of our own."""

    name: str
    text: str = ""
    items: Sequence[Tree] = ()
    is_list: bool = False

    @property
    def is_leaf(self) -> bool:
        return not self.items

    @property
    def is_short(self) -> bool:
        """Tell whether it stands on a line with its name."""
        return self.is_leaf and "\n" not in self.text and len(self.text) <= 80


def tree_of(value: Any) -> Tree | None:
    """Return a list or an object as a tree; None for what is none, or larger than a tree can show."""
    if not isinstance(value, (dict, list)) or not value or not _fits(value):
        return None
    return _tree("", value)


def _fits(value: Any) -> bool:
    left = MOST
    levels = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for item in levels:
            inner += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        left -= len(inner)
        if not inner:
            return True
        if left < 0:
            return False
        levels = inner
    return False


def _tree(name: str, value: Any) -> Tree:
    if isinstance(value, dict) and value:
        return Tree(name, items=[_tree(_key(key), item) for key, item in value.items()])
    if isinstance(value, list) and value:
        items = [_tree(str(number), item) for number, item in enumerate(value, 1)]
        return Tree(name, items=items, is_list=True)
    return Tree(name, _leaf(value))


def _key(key: str) -> str:
    """Return a key as it is, in quotes where nobody could tell it otherwise."""
    is_plain = key and key == key.strip() and key.isprintable() and not key.startswith('"')
    return key if is_plain else json.dumps(key, ensure_ascii=False)


def _leaf(value: Any) -> str:
    if isinstance(value, bool):
        return YES if value else NO
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if _looks_otherwise(value) else value
    if isinstance(value, (dict, list)):
        return EMPTY if isinstance(value, dict) else EMPTY_LIST
    return json.dumps(value)


def _looks_otherwise(text: str) -> bool:
    """Tell whether a text could be taken for a number, a yes or a no, or for nothing at all."""
    if not text.strip() or text in EXPLAINED:
        return True
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return not text.lstrip().startswith(("{", "["))
