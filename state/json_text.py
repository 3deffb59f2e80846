"""Values as JSON text, whatever is in them: for prompts, and for those who read the record."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json, to_jsonable_python

from .schema import values_of

MAX_OUTPUT = 20_000  # characters
MAX_INPUT, MAX_FIELD = 4_000, 1_500
MAX_DEPTH = 50
MAX_BITS = 10_000  # Python writes longer numbers as decimals only if told to


def json_text(value: Any) -> str:
    """Return any value as JSON, whatever is in it."""
    try:
        return to_json(value, fallback=repr, inf_nan_mode="strings").decode()
    except Exception:  # bytes that are no text, keys that are none, circles, a serializer or repr that raises
        return json.dumps(_plain(value, frozenset()))


def _plain(value: Any, above: frozenset[int]) -> Any:
    """Return a value as what JSON knows, part by part; `above` holds what it lies in."""
    if value is None or isinstance(value, (bool, float)):
        return (
            value if value is None or isinstance(value, bool) or math.isfinite(value) else str(float(value))
        )
    if type(value) is int:
        return value if value.bit_length() < MAX_BITS else hex(value)
    if isinstance(value, Enum):
        return _plain(value.value, above)
    if isinstance(value, str):
        return str.__str__(value).encode("utf-8", "replace").decode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if id(value) in above or len(above) > MAX_DEPTH:
        return "..."
    inside = above | {id(value)}
    try:
        if isinstance(value, Mapping):
            return {_key(key): _plain(item, inside) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset, deque)):
            return [_plain(item, inside) for item in value]
        if not isinstance(value, type) and (is_dataclass(value) or isinstance(value, BaseModel)):
            return {name: _plain(item, inside) for name, item in values_of(value).items()}
        return _plain(to_jsonable_python(value, fallback=repr), inside)
    except Exception:
        return _shown(value)


def _key(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return str(_plain(key, frozenset()))
    if isinstance(key, (bool, int, float)) or key is None:
        return json.dumps(_plain(key, frozenset())).strip('"')
    return str(_plain(_shown(key), frozenset()))


def _shown(value: Any) -> str:
    try:
        return repr(value).encode("utf-8", "replace").decode()
    except Exception:
        return f"<{type(value).__name__}>"


def state_json(state: Any) -> str:
    """Return a node's input as JSON, each long field cut by itself, so that the others stay readable."""
    text = json_text(state)
    if len(text) <= MAX_INPUT:
        return text
    try:
        values = {name: json_text(value) for name, value in values_of(state).items()}
    except Exception:  # no state, or one whose fields cannot be read
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
