"""Whether what a node writes has the type of the field that it is written to."""

from __future__ import annotations

import collections.abc
import dataclasses
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypeVar, Union, get_args, get_origin

from langgraph.channels.base import BaseChannel
from langgraph.types import Overwrite
from pydantic import BaseModel, ValidationError
from typing_extensions import TypeAliasType, is_typeddict

from .errors import InputError
from .schema import StateType, bare, fields_of, validate_field

ITERATED = (list, tuple, set, frozenset, collections.deque)
ALSO = {float: (int,), complex: (int, float)}


class Misfit(NamedTuple):
    """Where in a value something is of another type than was expected."""

    place: str
    expected: Any
    got: Any


def fitted(state: StateType, field: str, value: Any, writer: str) -> Any:
    """Return the value as the state's field takes it. Raises InputError that names the writer and the field.

    A pydantic state converts what it can convert, as its own constructor does; others take only their own
    types. What goes through a reducer is the reducer's affair.
    """
    if isinstance(value, Overwrite) or has_reducer(fields_of(state)[field]):
        return value
    place = f"{state.__name__}.{field}"
    annotation = fields_of(state)[field]
    if issubclass(state, BaseModel):
        try:
            return validate_field(state, field, value)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            at = "".join(f"[{part!r}]" for part in problem["loc"])
            message = problem["msg"] if at else f"{problem['msg']}; expected {shown(annotation)}"
            raise _wrong(writer, f"{place}{at}", message, problem["input"]) from None
    mismatch = misfit(annotation, value, place)
    if mismatch is not None and not (value is None and _default(state, field) is None):
        raise _wrong(writer, mismatch.place, f"expected {shown(mismatch.expected)}", mismatch.got)
    return value


def _wrong(writer: str, place: str, expected: str, got: Any) -> InputError:
    return InputError(
        f"{writer} wrote {got!r:.100} to {place}: {expected}, got {type(got).__name__}. Write what the field "
        "takes, or change the field's type."
    )


def has_reducer(annotation: Any) -> bool:
    """Tell whether what is written to a field is merged into it, instead of being its new value."""
    if get_origin(annotation) is not Annotated:
        return False
    last = get_args(annotation)[-1]
    return callable(last) or isinstance(last, BaseChannel)


def misfit(annotation: Any, value: Any, place: str = "") -> Misfit | None:
    """Return the first place where a value is of another type than its annotation says; None if it fits.

    Only clear misfits count: what cannot be told by looking at the value is taken to fit.
    """
    annotation = bare(annotation)
    while isinstance(annotation, (NewType, TypeAliasType)):
        annotation = bare(
            annotation.__supertype__ if isinstance(annotation, NewType) else annotation.__value__
        )
    if annotation in (Any, object) or isinstance(annotation, TypeVar):
        return None
    here = Misfit(place, annotation, value)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        misfits = [misfit(option, value, place) for option in arguments]
        inside = [one for one in misfits if one is not None and one.place != place]
        return None if None in misfits else inside[0] if len(inside) == 1 else here
    if origin is Literal:
        return None if any(value is choice or value == choice for choice in arguments) else here
    cls = origin or annotation
    if cls is collections.abc.Callable:
        return None if callable(value) else here
    if is_typeddict(cls):
        fields = fields_of(cls)
        return (
            _first(
                (fields[name], item, f"{place}[{name!r}]") for name, item in value.items() if name in fields
            )
            if isinstance(value, Mapping)
            else here
        )
    if not isinstance(cls, type):
        return None
    try:
        if not isinstance(value, (cls, *ALSO.get(cls, ()))):
            return here
    except TypeError:  # a protocol that cannot be checked
        return None
    return _inside(value, arguments, place)


def _inside(value: Any, arguments: tuple[Any, ...], place: str) -> Misfit | None:
    if isinstance(value, tuple) and arguments and arguments[-1] is not Ellipsis:
        pairs = enumerate(zip(arguments, value, strict=False))
        return _first((kind, item, f"{place}[{n}]") for n, (kind, item) in pairs)
    if isinstance(value, Mapping) and len(arguments) == 2:
        keys = _first((arguments[0], key, f"a key of {place}") for key in value)
        return keys or _first((arguments[1], item, f"{place}[{key!r}]") for key, item in value.items())
    if isinstance(value, ITERATED) and arguments:
        return _first((arguments[0], item, f"{place}[{n}]") for n, item in enumerate(value))
    return None


def _first(checks: collections.abc.Iterable[tuple[Any, Any, str]]) -> Misfit | None:
    plain: set[tuple[Any, type]] = set()  # classes that are known to fit, so that long lists are quick
    for annotation, value, place in checks:
        if (annotation, type(value)) in plain:
            continue
        mismatch = misfit(annotation, value, place)
        if mismatch is not None:
            return mismatch
        if isinstance(annotation, type) and not get_args(annotation) and not is_typeddict(annotation):
            plain.add((annotation, type(value)))
    return None


def _default(state: StateType, field: str) -> Any:
    """Return the default of a dataclass's field, which its author may give None whatever the type says."""
    if not dataclasses.is_dataclass(state):
        return ...
    return state.__dataclass_fields__[field].default


def shown(annotation: Any) -> str:
    """Return a type as its author writes it."""
    annotation = bare(annotation)
    if isinstance(annotation, type) and not get_args(annotation):
        return "None" if annotation is type(None) else annotation.__name__
    return str(annotation).replace("typing.", "")
