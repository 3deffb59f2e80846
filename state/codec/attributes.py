"""The attributes of an object, read and set past its constructor and validators."""

from __future__ import annotations

import collections
import dataclasses
import sys
from functools import cached_property, lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

IMMUTABLE = 1 << 8  # the flag of a class that is written in C
HEAP = 1 << 9
ORIGIN = "__orig_class__"  # typing notes in it with which arguments a generic class was called

EXTENDABLE: tuple[type[Any], ...] = (
    str, int, float, complex, bytes, bytearray, tuple, list, dict, set, frozenset,
    collections.deque, collections.OrderedDict, collections.Counter, collections.defaultdict,
)  # fmt: skip
"""Types whose subclasses are kept: the content of the base, and the attributes."""


def has_hidden_state(cls: type[Any]) -> bool:
    """Tell whether objects of a class hold more than attributes: a lock, a file, anything made in C."""
    bases = (base for base in cls.__mro__ if base is not object and base not in EXTENDABLE)
    return any(
        not base.__flags__ & HEAP or base.__flags__ & IMMUTABLE for base in bases if not _is_abstract(base)
    )


def _is_abstract(base: type[Any]) -> bool:
    return base.__module__ in ("typing", "typing_extensions", "abc", "collections.abc")


def is_of_the_language(cls: type[Any]) -> bool:
    """Tell whether a class comes with Python: such objects are tied to the process, if they are not known."""
    return cls.__module__.partition(".")[0] in sys.stdlib_module_names - {"__main__"}


def attributes_of(value: Any) -> dict[str, Any]:
    """Return all attributes of an object by name, without those that a cached property made."""
    state: Any = object.__getstate__(value)
    slots: dict[str, Any] = {}
    if type(state) is tuple:
        state, slots = state
    if not state:
        return slots
    cls: Any = type(value)
    cached = _self_made(cls)
    plain = state if cached.isdisjoint(state) else {n: v for n, v in state.items() if n not in cached}
    return plain | slots if slots else plain


@lru_cache(maxsize=512)
def _self_made(cls: type[Any]) -> frozenset[str]:
    cached = [n for base in cls.__mro__ for n, v in vars(base).items() if isinstance(v, cached_property)]
    return frozenset([ORIGIN, *cached])


def set_attributes(value: Any, attributes: dict[str, Any]) -> None:
    """Set an object's attributes; a dataclass gets the defaults of fields that are new since."""
    own = getattr(value, "__dict__", None)
    for name, item in attributes.items():
        if own is not None and not hasattr(type(value), "__slots__"):
            own[name] = item
            continue
        try:
            object.__setattr__(value, name, item)
        except AttributeError:  # a slot that the class no longer has
            continue
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.name not in attributes:
                _set_default(value, field)


def _set_default(value: Any, field: dataclasses.Field[Any]) -> None:
    if field.default_factory is not dataclasses.MISSING:
        object.__setattr__(value, field.name, field.default_factory())
    elif field.default is not dataclasses.MISSING:
        object.__setattr__(value, field.name, field.default)
    elif field.init:
        raise LookupError(field.name)


def model_state(model: BaseModel) -> list[Any]:
    """Return what a pydantic model holds: its fields, extra and private values, and which were set."""
    known = type(model).model_fields
    values = {name: value for name, value in model.__dict__.items() if name in known}
    absent = [name for name in known if name not in values]
    extra, private = model.__pydantic_extra__, model.__pydantic_private__
    return [values, sorted(model.__pydantic_fields_set__), extra, private, absent]


def set_model_state(model: BaseModel, state: list[Any]) -> None:
    """Set what a pydantic model holds; fields that are new since get their defaults."""
    values, fields_set, extra, private, absent = state
    cls = type(model)
    kept: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        if name in values:
            kept[name] = values[name]
        elif name not in absent:
            if field.is_required():
                raise LookupError(name)
            kept[name] = field.get_default(call_default_factory=True, validated_data=kept)
    for name, attribute in cls.__private_attributes__.items():
        if private is None or name not in private:
            default = attribute.get_default()
            if default is not PydanticUndefined:
                private = {**(private or {}), name: default}
    held = set(kept) | set(extra or ())
    object.__setattr__(model, "__dict__", kept)
    object.__setattr__(model, "__pydantic_fields_set__", held.intersection(fields_set))
    is_root = cls.__pydantic_root_model__  # one has no place for these but its own dictionary
    if not is_root or extra is not None:
        object.__setattr__(model, "__pydantic_extra__", extra)
    if not is_root or private is not None:
        object.__setattr__(model, "__pydantic_private__", private)
