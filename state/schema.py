"""State types: dataclasses, TypedDicts and pydantic models, read alike."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    ParamSpec,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import typing_extensions
from langgraph.types import Command
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError
from typing_extensions import is_typeddict

from .errors import DefinitionError, InputError, did_you_mean

StateType = type[Any]
P = ParamSpec("P")
R = TypeVar("R")


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """Cache a function of types, which `lru_cache` itself is not typed to take."""
    cached: Any = lru_cache(maxsize=512)(function)
    return typing.cast("Callable[P, R]", cached)


def is_state_type(candidate: object) -> bool:
    """Tell whether a class can be the state of a graph."""
    return isinstance(candidate, type) and (
        dataclasses.is_dataclass(candidate) or is_typeddict(candidate) or issubclass(candidate, BaseModel)
    )


@remembered
def fields_of(state: StateType) -> dict[str, Any]:
    """Return the state's fields with their annotations, reducers included."""
    hints = typing.get_type_hints(state, include_extras=True)
    if isinstance(state, type) and issubclass(state, BaseModel):
        return {name: hints.get(name, info.annotation) for name, info in state.model_fields.items()}
    return {n: h for n, h in hints.items() if get_origin(h) is not typing.ClassVar}


def values_of(state: object) -> dict[str, Any]:
    """Return a state object's fields and values, without copying the values."""
    if isinstance(state, Mapping):
        return dict(state)
    if isinstance(state, BaseModel):
        return {name: getattr(state, name) for name in type(state).model_fields}
    if dataclasses.is_dataclass(state):
        return {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
    raise TypeError(f"{type(state).__name__} is not a dataclass, TypedDict or pydantic model")


def check_fields(state: StateType, names: Iterable[str], where: str) -> None:
    """Raise DefinitionError, with the nearest name, unless the state has all these fields."""
    check_known(state, names, f"{where} writes")


def check_known(state: StateType, names: Iterable[str], what: str) -> None:
    """Like `check_fields`; `what` says who does what with the fields."""
    known = fields_of(state)
    for name in names:
        if name not in known:
            raise DefinitionError(
                f"{what} {name!r}, which {state.__name__} does not have. " + did_you_mean(name, known)
            )


def signature_types(
    function: Callable[..., Any], namespace: Mapping[str, Any] | None = None
) -> tuple[StateType, Any]:
    """Return the state type a function takes and the annotation of what it returns.

    `namespace` resolves names that are local to the function which defines it.
    """
    name = getattr(function, "__name__", repr(function))
    try:
        hints = typing.get_type_hints(function, localns=dict(namespace or {}), include_extras=True)
        parameters = list(inspect.signature(function).parameters)
    except NameError as error:
        raise DefinitionError(
            f"{name}: the annotation {error.name!r} cannot be resolved. "
            "Define that type before the function, at module level."
        ) from None
    except (TypeError, ValueError):
        raise DefinitionError(f"{name!r} is not a function that takes a state.") from None
    if not parameters:
        raise DefinitionError(f"{name} takes no state. Give it one parameter: the graph's state.")
    state = hints.get(parameters[0])
    if not is_state_type(state):
        shown = "no annotation" if state is None else repr(state)
        raise DefinitionError(
            f"{name}({parameters[0]}) has {shown}; expected the graph's state type: "
            "a dataclass, a TypedDict or a pydantic model."
        )
    return typing.cast(StateType, state), hints.get("return")


def caller_names() -> Mapping[str, Any]:
    """Return the local names where the function that calls this one was called: to resolve annotations."""
    frame = inspect.currentframe()
    caller = frame.f_back.f_back if frame and frame.f_back else None
    return caller.f_locals if caller else {}


def accepts(field: Any, value: Any) -> bool:
    """Tell whether a field's annotation could hold a value's type; only clear misfits are False."""
    field, value = bare(field), bare(value)
    if field is Any or value is Any or isinstance(field, TypeVar) or isinstance(value, TypeVar):
        return True
    if get_origin(value) in (Union, types.UnionType):
        return all(accepts(field, option) for option in get_args(value))
    if get_origin(field) in (Union, types.UnionType):
        return any(accepts(option, value) for option in get_args(field))
    if get_origin(value) is Literal:
        choices = get_args(value)
        if get_origin(field) is Literal:
            return set(choices) <= set(get_args(field))
        return all(accepts(field, type(choice)) for choice in choices)
    if get_origin(field) is Literal:
        return False
    field_class, value_class = get_origin(field) or field, get_origin(value) or value
    if is_typeddict(field_class) or is_typeddict(value_class):
        return field_class is value_class or dict in (field_class, value_class)
    if not isinstance(field_class, type) or not isinstance(value_class, type):
        return True
    if field_class is float and value_class is int:
        return True
    try:
        return issubclass(value_class, field_class)
    except TypeError:
        return True


def bare(annotation: Any) -> Any:
    """Return the annotation without Annotated, Required and NotRequired around it."""
    while get_origin(annotation) in (Annotated, Required, NotRequired):
        annotation = get_args(annotation)[0]
    return type(None) if annotation is None else annotation


@remembered
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    if sys.version_info < (3, 12) and is_typeddict(annotation):
        annotation = _for_pydantic(annotation)
    return TypeAdapter(annotation)


def _for_pydantic(state: StateType) -> StateType:
    """Return a TypedDict as typing_extensions' kind, the only one that pydantic reads before Python 3.12."""
    hints = typing.get_type_hints(state, include_extras=True)
    for name, hint in hints.items():
        if get_origin(hint) not in (Required, NotRequired):
            hints[name] = Required[hint] if name in state.__required_keys__ else NotRequired[hint]
    return typing.cast(StateType, typing_extensions.TypedDict(state.__name__, hints))  # type: ignore[operator]


def validate_field(state: StateType, name: str, value: Any) -> Any:
    """Return the value as the state's field takes it, or raise pydantic's ValidationError.

    The field's type counts, and a pydantic field's constraints; not the model's own validators.
    """
    if not issubclass(state, BaseModel):
        return _adapter(bare(fields_of(state)[name])).validate_python(value)
    info = state.model_fields[name]
    annotation: Any = info.annotation
    for constraint in info.metadata:
        annotation = Annotated[annotation, constraint]
    return TypeAdapter(annotation).validate_python(value)


def json_schema_of(state: StateType, name: str) -> dict[str, Any]:
    """Return the JSON schema of what a state's field takes. Raises DefinitionError if it has none."""
    annotation = bare(fields_of(state)[name])
    try:
        return _adapter(annotation).json_schema()
    except PydanticUserError as error:
        raise DefinitionError(
            f"{state.__name__}.{name} cannot be described to a person or read from JSON: {error.message}"
        ) from None


def input_schema(state: StateType) -> dict[str, Any]:
    """Return the JSON schema of a whole state. Raises DefinitionError if it has none."""
    try:
        return _adapter(state).json_schema()
    except PydanticUserError as error:
        raise DefinitionError(f"{state.__name__} cannot be read from JSON: {error.message}") from None


def parse_input(state: StateType, data: Mapping[str, Any]) -> Any:
    """Return the state that a plain mapping describes.

    Raises InputError, which names every field that is unknown, missing or of the wrong type.
    """
    known = fields_of(state)
    for name in data:
        if name not in known:
            raise InputError(
                f"The input has a field {name!r}, which {state.__name__} does not have. "
                + did_you_mean(name, known)
            )
    try:
        return _adapter(state).validate_python(dict(data))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'input'}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise InputError(
            f"The input does not fit {state.__name__}: {problems}. Fields: {', '.join(known)}."
        ) from None
    except PydanticUserError as error:
        raise DefinitionError(f"{state.__name__} cannot be read from plain data: {error.message}") from None
    except TypeError as error:  # a type's own discriminator raises, such as that of LangChain's messages
        raise InputError(f"The input does not fit {state.__name__}: {error}") from None


def check_input(state: StateType, value: Any) -> None:
    """Raise InputError for what cannot be the input of a graph over that state."""
    if value is None or isinstance(value, (Mapping, Command)) or not is_state_type(state):
        return
    if not is_state_type(type(value)):
        raise InputError(
            f"The input is {value!r:.80}, of the type {type(value).__name__}; expected {state.__name__}, a "
            "dict with some of its fields, None to go on, or Command(resume=…) to answer."
        )


def state_of_values(state: StateType, values: Mapping[str, Any]) -> Any:
    """Return values as the state's own type, as LangGraph hands them to a node and to its v2 callers.

    Raises InputError where they do not make one, such as those of a run that has not begun.
    """
    if not is_state_type(state):
        return dict(values)
    own = {name: values[name] for name in fields_of(state) if name in values}
    try:
        return own if is_typeddict(state) else state(**own)
    except (ValidationError, TypeError, ValueError) as error:
        raise InputError(
            f"The values do not make a {state.__name__}: {_first_problem(error)}. They stand in `values`, as "
            "plain data."
        ) from None


def _first_problem(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"


def types_in(annotation: Any) -> set[type[Any]]:
    """Return every class that a value of this annotation can contain."""
    try:
        return set(_all_types_in(annotation))
    except (NameError, TypeError):  # not defined yet, or it has no hash
        types: set[type[Any]] = set()
        _collect(annotation, types, is_partial=True)
        return types


@remembered
def _all_types_in(annotation: Any) -> frozenset[type[Any]]:
    types: set[type[Any]] = set()
    _collect(annotation, types)
    return frozenset(types)


def _collect(annotation: Any, types: set[type[Any]], *, is_partial: bool = False) -> None:
    """Add every class to types. Raises NameError for one that is not defined yet, unless it is left out."""
    for argument in get_args(annotation):
        _collect(argument, types, is_partial=is_partial)
    cls = get_origin(annotation) or annotation
    if not isinstance(cls, type) or cls in types or cls.__module__ == "builtins":
        return
    types.add(cls)
    if is_state_type(cls):
        try:
            hints = typing.get_type_hints(cls, include_extras=True)
        except NameError:
            if is_partial:
                return
            raise
        for hint in hints.values():
            _collect(hint, types, is_partial=is_partial)


@remembered
def extended(state: StateType, name: str, annotation: Any) -> StateType:
    """Return a subtype of the state with one more field: for a pattern's own bookkeeping.

    The annotation must be callable without arguments to give the field's default.
    """
    title = f"{state.__name__}_{name}"
    if is_typeddict(state):
        hints = {**typing.get_type_hints(state, include_extras=True), name: annotation}
        return typing.cast(StateType, typing.TypedDict(title, hints, total=False))  # type: ignore[operator]
    if issubclass(state, BaseModel):
        extra: dict[str, Any] = {name: (annotation, Field(default_factory=annotation))}
        return create_model(title, __base__=state, **extra)
    frozen = state.__dataclass_params__.frozen
    return dataclasses.make_dataclass(
        title,
        [(name, annotation, dataclasses.field(default_factory=annotation, kw_only=True))],
        bases=(state,),
        frozen=frozen,
    )


def restored(value: Any, state: StateType) -> Any:
    """Return a value of a type that `extended` made as one of the state's own type.

    No constructor or validator runs again: both have run, and may do more than check.
    """
    if is_typeddict(state) or type(value) is state or not isinstance(value, state):
        if isinstance(value, Mapping):
            return {name: value[name] for name in fields_of(state) if name in value}
        return value
    names = fields_of(state)
    own = object.__new__(state)
    if isinstance(value, BaseModel):
        parts = {name: getattr(value, name) for name in ("__pydantic_extra__", "__pydantic_private__")}
        parts["__pydantic_fields_set__"] = value.model_fields_set & names.keys()
        for name, part in parts.items():
            object.__setattr__(own, name, part)
    private = fields_of(type(value)).keys() - names.keys()
    attributes = {name: held for name, held in getattr(value, "__dict__", {}).items() if name not in private}
    if hasattr(own, "__dict__"):
        object.__setattr__(own, "__dict__", attributes)
    for name in names:  # those in slots
        if name not in attributes and hasattr(value, name):
            object.__setattr__(own, name, getattr(value, name))
    return own
