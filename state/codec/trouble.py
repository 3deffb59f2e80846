"""Where in a value the part is that cannot be kept: for the error that names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from .attributes import attributes_of, model_state
from .encode import CannotKeep, Encoder

DEPTH = 100
SHOWN = 6  # levels


def find_trouble(value: Any, reason: str, encoder: Encoder) -> tuple[str, str, str]:
    """Return the place of the part, its type and the reason why it cannot be kept."""
    place = ""
    for depth in range(DEPTH):
        for name, part in _parts(value):
            problem = _problem(part, encoder)
            if problem is not None:
                place += name if depth < SHOWN else ""
                value, reason = part, problem or reason
                break
        else:
            break
    return place, type(value).__qualname__, reason


def _problem(value: Any, encoder: Encoder) -> str | None:
    try:
        encoder.pack(value)
    except CannotKeep as problem:
        return str(problem)
    except (RecursionError, TypeError):
        return ""
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield "", key
            yield f"[{key!r:.40}]", item
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield f"[{place}]", item
    elif isinstance(value, (set, frozenset)):
        for item in value:
            yield "", item
    elif isinstance(value, BaseModel):
        for part in model_state(value):
            if isinstance(part, dict):
                for name, item in part.items():
                    yield f".{name}", item
    elif not isinstance(value, type) and not callable(value):
        try:
            attributes = attributes_of(value)
        except TypeError:
            return
        for name, item in attributes.items():
            yield f".{name}", item
