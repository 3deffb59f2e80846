"""What can be wrong with a state type, told when the graph is built and not after calls were paid for."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import typing
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from langgraph.channels import UntrackedValue
from langgraph.managed.base import is_managed_value
from pydantic import AliasChoices, AliasPath, BaseModel

from .codec.encode import WRITERS, problem_of
from .errors import DefinitionError, NotSerializable
from .schema import StateType, fields_of, is_state_type, remembered

OF_THE_PROCESS = (
    collections.abc.Callable, collections.abc.Generator, collections.abc.AsyncGenerator,
    collections.abc.Coroutine, collections.abc.Awaitable,
    typing.IO, typing.TextIO, typing.BinaryIO,
)  # fmt: skip
"""Types of which no object can be kept, whatever class it is of."""


@remembered
def check_kept(state: StateType) -> None:
    """Raise NotSerializable for a field whose type says that no checkpoint can keep it."""
    try:
        fields = fields_of(state)
    except NameError:
        return
    for name, annotation in fields.items():
        if _is_tracked(annotation):
            _check(annotation, f"{state.__name__}.{name}", {state})


@remembered
def check_alias(state: StateType) -> None:
    """Raise DefinitionError for a pydantic field that LangGraph, which goes by names, would leave empty."""
    if not issubclass(state, BaseModel):
        return
    config = state.model_config
    if config.get("populate_by_name") or config.get("validate_by_name"):
        return
    for name, field in state.model_fields.items():
        if field.validation_alias is not None and not _takes(field.validation_alias, name):
            raise DefinitionError(
                f"{state.__name__}.{name} has an alias, and LangGraph fills a state by its fields' names, "
                "so that the field would be empty in every node. Let the model take both: model_config = "
                "ConfigDict(populate_by_name=True)."
            )


@remembered
def check_constructor(state: StateType) -> None:
    """Raise DefinitionError for a dataclass that its fields cannot make, as LangGraph does."""
    if not dataclasses.is_dataclass(state):
        return
    for field in dataclasses.fields(state):
        if not field.init:
            raise DefinitionError(
                f"{state.__name__}.{field.name} has init=False, but LangGraph makes each node's state by "
                "its constructor. Let the constructor take the field: field(default=…)."
            )
    parameters = inspect.signature(state).parameters.values()
    names = {field.name for field in dataclasses.fields(state)}
    for parameter in parameters:
        if parameter.name not in names and parameter.default is parameter.empty and parameter.kind < 2:
            raise DefinitionError(
                f"{state.__name__} cannot be made of its fields alone: its constructor needs "
                f"{parameter.name!r}, and LangGraph makes the state of each node anew. Give it a default."
            )


def _takes(alias: str | AliasPath | AliasChoices, name: str) -> bool:
    if isinstance(alias, AliasChoices):
        return any(_takes(choice, name) for choice in alias.choices)
    return alias == name if isinstance(alias, str) else alias.path == [name]


def _is_tracked(annotation: Any) -> bool:
    extras = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return not any(
        is_managed_value(extra)
        or isinstance(extra, UntrackedValue)
        or (isinstance(extra, type) and issubclass(extra, UntrackedValue))
        for extra in extras
    )


def _check(annotation: Any, place: str, seen: set[Any]) -> None:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _check(get_args(annotation)[0], place, seen)
    if origin in (Literal, type):
        return None
    cls = origin or annotation
    if cls in OF_THE_PROCESS:
        raise NotSerializable.of(
            place,
            _shown(annotation),
            "it belongs to the process. Make it in the node that uses it",
        )
    for argument in get_args(annotation):
        _check(argument, place, seen)
    if not isinstance(cls, type) or cls in seen or cls in (object, type, UnionType):
        return None
    seen.add(cls)
    if is_state_type(cls):
        try:
            for name, inner in fields_of(cls).items():
                _check(inner, f"{place}.{name}", seen)
        except NameError:
            return None
    elif not inspect.isabstract(cls) and not any(issubclass(known, cls) for known in WRITERS):
        problem = problem_of(cls)
        if problem and cls.__module__ not in ("typing", "typing_extensions", "collections.abc", "abc"):
            raise NotSerializable.of(place, _shown(annotation), problem)
    return None


def _shown(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
