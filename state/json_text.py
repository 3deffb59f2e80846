"""Values as JSON text, whatever is in them: for prompts, and for those who read the record."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from .schema import values_of

MAX_OUTPUT = 20_000  # characters
MAX_INPUT, MAX_FIELD = 4_000, 1_500


def json_text(value: Any) -> str:
    """Return any value as JSON, whatever is in it."""
    try:
        return to_json(value, fallback=repr, inf_nan_mode="strings").decode()
    except (PydanticSerializationError, UnicodeError, ValueError):
        return json.dumps(value, default=repr)


def state_json(state: Any) -> str:
    """Return a node's input as JSON, each long field cut by itself, so that the others stay readable."""
    text = json_text(state)
    if len(text) <= MAX_INPUT:
        return text
    try:
        values = {name: json_text(value) for name, value in values_of(state).items()}
    except TypeError:
        return as_json(state)
    cut = {n: v if len(v) <= MAX_FIELD else _cut(v, MAX_FIELD) for n, v in values.items()}
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in cut.items()) + "}"


def _cut(text: str, length: int) -> str:
    return to_json({"cut": len(text), "start": text[:length]}).decode()


def as_json(value: Any) -> str:
    """Return any state value as JSON for a reader; what JSON cannot say is shown by its repr."""
    text = json_text(value)
    if len(text) > MAX_OUTPUT:
        return _cut(text, MAX_OUTPUT)
    return text
