"""Values as JSON text, whatever is in them: for prompts, and for those who read the record."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json, to_jsonable_python

from .blobs import MIN_BYTES, address_of, carried, referring
from .schema import values_of

MAX_OUTPUT = 20_000  # characters
MAX_INPUT, MAX_FIELD = 4_000, 1_500
MAX_DEPTH = 50
MAX_NESTING = 100  # of what comes from outside: a checkpoint can keep it, however deep the graph is nested
MAX_BITS = 10_000  # Python writes longer numbers as decimals only if told to


def json_text(value: Any, *, addresses: bool = False) -> str:
    """Return any value as JSON, whatever is in it; many bytes that are no text as data `addresses`."""
    try:
        return to_json(value, fallback=repr, inf_nan_mode="strings").decode()
    except Exception:  # bytes that are no text, keys that are none, circles, a serializer or repr that raises
        return json.dumps(_plain(value, frozenset(), addresses))


def object_in(text: str | None) -> dict[str, Any]:
    """Return the object that a JSON text holds, which is empty where it holds none."""
    try:
        value = json.loads(text or "null")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def text_or_json(value: Any) -> str:
    """Return a text as it is, and any other plain data as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def is_too_deep(value: Any) -> bool:
    """Tell whether lists and objects lie in each other deeper than what comes from outside may."""
    level = [value]
    for _ in range(MAX_NESTING):
        level = [part for outer in level for part in _parts(outer) if isinstance(part, (dict, list))]
        if not level:
            return False
    return any(isinstance(part, (dict, list)) for part in level)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _plain(value: Any, above: frozenset[int], addresses: bool = False) -> Any:
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
        return _bytes(bytes(value), addresses)
    if id(value) in above or len(above) > MAX_DEPTH:
        return "..."
    inside = above | {id(value)}
    try:
        if isinstance(value, Mapping):
            return {_key(key): _plain(item, inside, addresses) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset, deque)):
            return [_plain(item, inside, addresses) for item in value]
        if not isinstance(value, type) and (is_dataclass(value) or isinstance(value, BaseModel)):
            return {name: _plain(item, inside, addresses) for name, item in values_of(value).items()}
        return _plain(to_jsonable_python(value, fallback=repr), inside, addresses)
    except Exception:
        return _shown(value)


def _bytes(value: bytes, addresses: bool) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return (
            address_of(value)
            if addresses and len(value) >= MIN_BYTES
            else value.decode("utf-8", "backslashreplace")
        )


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
    text = referring(json_text(state, addresses=True))
    if len(text) <= MAX_INPUT:
        return text
    try:
        values = {
            name: referring(json_text(value, addresses=True)) for name, value in values_of(state).items()
        }
    except Exception:  # no state, or one whose fields cannot be read
        return as_json(state)
    cut = {n: v if len(v) <= MAX_FIELD else _cut(v, MAX_FIELD) for n, v in values.items()}
    return carried(text, "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in cut.items()) + "}")


def _cut(text: str, length: int) -> str:
    return to_json({"cut": len(text), "start": text[:length]}).decode()


def as_json(value: Any, most: int | None = MAX_OUTPUT) -> str:
    """Return any state value as JSON for a reader; what JSON cannot say is shown by its repr."""
    text = referring(json_text(value, addresses=True))
    if most is not None and len(text) > most:
        return carried(text, _cut(text, most))
    return text
