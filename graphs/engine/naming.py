"""Names of nodes: each part has its own, and two parts that share one are refused."""

from __future__ import annotations

import inspect
from collections.abc import Container
from types import CodeType
from typing import Any, Final

from langgraph.graph.state import CompiledStateGraph

from ...state.errors import DefinitionError

OURS: Final = tuple(f"{__name__.rpartition('graphs.')[0]}graphs.{room}" for room in ("engine", "patterns"))
MADE_OF: Final = ("_function", "function", "__func__")


def caller_place() -> str:
    """Return the file and line from which a pattern is called."""
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(OURS):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""


def place_of(part: Any) -> str:
    """Return the file and line at which a part is defined, empty where nobody knows."""
    root = _root(part)
    place: str | None = getattr(root, "place", None)
    if isinstance(place, str):
        return place
    code = getattr(root, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if isinstance(code, CodeType) else ""


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two parts are of one definition: one function, step (on any model), check or pattern."""
    return _root(one) is _root(other) or (bool(place_of(one)) and place_of(one) == place_of(other))


def _root(part: Any) -> Any:
    """Return what a part was made of: a function, or a pattern."""
    if isinstance(part, CompiledStateGraph):
        return part.builder
    made_of = next((held for name in MADE_OF if (held := getattr(part, name, None)) is not None), None)
    return part if made_of is None else _root(made_of)


class Names:
    """The nodes of a graph and the parts that have given them their names."""

    def __init__(self, graph: str) -> None:
        self.graph = graph
        self.parts: dict[str, Any] = {}
        self._own: set[str] = set()

    def take(self, name: str, part: Any, nodes: Container[str], *, own: bool) -> str:
        """Return the name of a new node. Raises DefinitionError where another part has that name.

        `own` says that it is the part's own name, not one that the pattern gives it. A part that stands at
        several places is no collision, and gets a number.
        """
        other = self.parts.get(name)
        if own and name in self._own and not is_same(part, other):
            raise DefinitionError(
                f"{self.graph}: two parts are named {name!r}, {_shown(other)} and {_shown(part)}. The "
                "record, forks and drawings tell parts by their names: rename one of them, or give its "
                "pattern a name, such as chain(…, name='…'), or for a graph of your own compile(name='…')."
            )
        node, number = name, 2
        while node in nodes:
            node, number = f"{name}_{number}", number + 1
        self.parts[node] = part
        if own:
            self._own.add(node)
        return node


def _shown(part: Any) -> str:
    place = place_of(part)
    return f"a {type(part).__name__.lower()}{f' ({place})' if place else ''}"
