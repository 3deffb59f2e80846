"""States of two versions and the migration between them."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import Any, TypedDict

from pydantic import create_model

from stepgraph import (
    migration,
)


def states(kind: str) -> tuple[Any, Any]:
    """Return a state with `name`, and one with `first` and `last` in its place, of one name."""
    old, new = {"name": (str, ""), "text": (str, "")}, {"first": str, "last": str, "text": (str, "")}
    if kind == "pydantic":
        models: Any = create_model
        return models("Person", **old), models("Person", first=(str, ...), last=(str, ...), text=(str, ""))
    if kind == "TypedDict":
        typed: Any = TypedDict
        return typed("Person", dict.fromkeys(old, str)), typed("Person", dict.fromkeys(new, str))
    first = [
        (name, *default) if isinstance(default, tuple) else (name, default) for name, default in old.items()
    ]
    second = [(name, *made) if isinstance(made, tuple) else (name, made) for name, made in new.items()]
    return make_dataclass("Person", first), make_dataclass("Person", second)


@migration(from_="1")
def split(old: dict[str, Any]) -> dict[str, Any]:
    first, _, last = old.pop("name").partition(" ")
    return {**old, "first": first, "last": last}
