"""What several patterns demand of their options, and say where it is not met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from ...state.errors import DefinitionError
from ...state.schema import StateType, accepts, check_fields, fields_of
from .workflow import name_of, written_by


def check_counts(pattern: str, **counts: Any) -> None:
    """Raise DefinitionError unless each option is a whole number of at least 1."""
    for option, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise DefinitionError(f"{pattern}({option}={value!r}): expected a whole number, at least 1.")


def check_timeout(pattern: str, timeout_s: float | None) -> None:
    """Raise DefinitionError for a time in which nothing can be done."""
    if timeout_s is not None and not timeout_s > 0:
        raise DefinitionError(f"{pattern}(timeout_s={timeout_s!r}): expected seconds above 0.")


def check_failed(pattern: str, failed: str) -> None:
    """Raise DefinitionError for an unknown way to take a failure."""
    if failed not in ("fail", "skip"):
        raise DefinitionError(f"{pattern}(failed={failed!r}): expected 'fail' or 'skip'.")


def check_field(pattern: str, state: StateType, annotation: Any, **options: str | None) -> None:
    """Raise DefinitionError unless the state has the field that each option names, of such a type."""
    for option, name in options.items():
        if name is None:
            continue
        where = f"{pattern}({option}={name!r})"
        check_fields(state, [name], where)
        if not accepts(fields_of(state)[name], annotation):
            shown = getattr(annotation, "__name__", str(annotation))
            inner = [getattr(argument, "__name__", str(argument)) for argument in get_args(annotation)]
            listed = f"[{', '.join(inner)}]" if inner else ""
            raise DefinitionError(
                f"{where}: {state.__name__}.{name} is {fields_of(state)[name]}; expected {shown}{listed}."
            )


def check_values(where: str, state: StateType, update: Mapping[str, Any]) -> None:
    """Raise DefinitionError unless the state has the fields of an update, and they can hold its values."""
    check_fields(state, update, where)
    for name, value in update.items():
        if not may_be(fields_of(state)[name], value):
            raise DefinitionError(
                f"{where}: {state.__name__}.{name} cannot be {value!r:.80}; it is {fields_of(state)[name]}."
            )


def may_be(annotation: Any, value: Any) -> bool:
    """Tell whether a field could hold a value; only clear misfits are False."""
    kind: Any = None if value is None else type(value)
    return accepts(annotation, Literal[value] if isinstance(value, str) else kind)


def answered_field(pattern: str, parts: Sequence[Any], field: str | None) -> str:
    """Return the field that all parts write: the one that is named, or else the one that their steps write.

    Raises DefinitionError where there is no such field, or where a part is seen not to write it.
    """
    written = {getattr(part, "writes", None) for part in parts}
    answered = field or (written.pop() if len(written) == 1 else None)
    if not answered:
        raise DefinitionError(
            f"{pattern}: say which field holds the answers: {pattern}([one, two], field='answer')."
        )
    for part in parts:
        if answered not in (written_by(part) or {answered}):
            raise DefinitionError(
                f"{pattern}: {name_of(part)!r} does not write {answered!r}, which holds the answers."
            )
    return answered
