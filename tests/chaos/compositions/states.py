"""The state types of the compositions: dataclass, TypedDict and pydantic, at three levels, plain or rich.

A whole has workers on a `Piece`, and a piece has workers on a `Grain`. Each level has lanes: fields of the
same kinds side by side, so that parts which run at once write fields of their own. Rich states also hold what
JSON does not know: tuples, sets, enums, nested dataclasses, keys that are no text.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from enum import Enum
from typing import Annotated, Any, Literal

from langchain_core.messages import AnyMessage, BaseMessage
from langgraph.graph.message import add_messages
from pydantic import BaseModel, Field, create_model
from typing_extensions import TypedDict

from stepgraph import Passage

KINDS = ("dataclass", "typeddict", "pydantic")
LEVELS = ("Whole", "Piece", "Grain")
LANES = 3
TOKEN = re.compile(r"<[0-9a-f]{12}>")

Side = Literal["left", "right", "none"]


class Mood(Enum):
    GLAD = "glad"
    CALM = 2


@dataclass(frozen=True)
class Spot:
    name: str = ""
    at: tuple[int, int] = (0, 0)
    moods: frozenset[Mood] = frozenset()


def _fields(level: int, below: Any, *, rich: bool) -> dict[str, tuple[Any, Any]]:
    """Return each field's annotation, and what makes its default."""
    known: dict[str, tuple[Any, Any]] = {"log": (Annotated[list[str], operator.add], list)}
    if level == 0:
        known["messages"] = (Annotated[list[AnyMessage], add_messages], list)
    for lane in range(LANES):
        own: dict[str, tuple[Any, Any]] = {
            "text": (str, str),
            "score": (int, int),
            "count": (int, int),
            "ok": (bool, bool),
            "side": (Side, lambda: "none"),
            "drafts": (list[str], list),
            "found": (list[Passage], list),
        }
        if below is not None:
            own["items"] = (list[below], list)
            own["plan"] = (list[below], list)
            own["digest"] = (below | None, lambda: None)
        if rich:
            own["pair"] = (tuple[str, int], lambda: ("", 0))
            own["tags"] = (set[str], set)
            own["mood"] = (Mood, lambda: Mood.CALM)
            own["spot"] = (Spot, Spot)
            own["moods"] = (dict[Mood, int], dict)
        known.update({f"{name}{lane}": kind for name, kind in own.items()})
    return known


def _state(kind: str, name: str, known: Mapping[str, tuple[Any, Any]]) -> Any:
    if kind == "dataclass":
        columns = [(n, hint, field(default_factory=made)) for n, (hint, made) in known.items()]
        return make_dataclass(name, columns, namespace={"__module__": __name__})
    if kind == "pydantic":
        columns = {n: (hint, Field(default_factory=made)) for n, (hint, made) in known.items()}
        return create_model(name, __module__=__name__, **columns)  # type: ignore[call-overload]
    made = TypedDict(name, {n: hint for n, (hint, _) in known.items()})  # type: ignore[operator]
    made.__module__ = __name__
    return made


@dataclass(frozen=True)
class Level:
    """A state type and the defaults of its fields."""

    number: int
    state: Any
    defaults: Mapping[str, Any]
    empty: Mapping[str, str]

    def make(self, **values: Any) -> Any:
        return self.state(**{**{name: made() for name, made in self.defaults.items()}, **values})

    def shown(self, state: Any) -> str:
        """Return all that a state holds beside defaults, types included, the same in every process."""
        found = ((name, shown(get(state, name))) for name in self.defaults)
        return "{" + ", ".join(f"{name}={text}" for name, text in found if text != self.empty[name]) + "}"


def _family(kind: str, *, rich: bool) -> tuple[Level, ...]:
    below = None
    levels: list[Level] = []
    for number in (2, 1, 0):
        known = _fields(number, below, rich=rich)
        name = f"{'Rich' if rich else 'Plain'}{LEVELS[number]}{kind.title()}"
        below = globals()[name] = _state(kind, name, known)
        defaults = {n: made for n, (_, made) in known.items()}
        levels.append(Level(number, below, defaults, {n: shown(made()) for n, made in defaults.items()}))
    return tuple(reversed(levels))


def get(state: Any, name: str) -> Any:
    return state.get(name) if isinstance(state, Mapping) else getattr(state, name, None)


def shown(value: Any) -> str:
    """Return a value with the types of all that is in it; sets and mappings in a sure order."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}({', '.join(sorted(map(shown, value)))})"
    if isinstance(value, BaseMessage):
        return f"{type(value).__name__}({value.id}, {value.content!r})"
    if isinstance(value, BaseModel):
        parts = [f"{name}={shown(getattr(value, name))}" for name in type(value).model_fields]
        return f"{type(value).__name__}({', '.join(parts)})"
    if is_dataclass(value):
        parts = [f"{each.name}={shown(getattr(value, each.name))}" for each in fields(value)]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(sorted(f"{shown(k)}: {shown(v)}" for k, v in value.items())) + "}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(shown, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner},)"
    return repr(value)


FAMILIES = {(kind, rich): _family(kind, rich=rich) for kind in KINDS for rich in (False, True)}
