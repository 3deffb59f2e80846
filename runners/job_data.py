"""What a job is given, as JSON can say it: its input, and its options."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypedDict

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from ..graphs.engine.writes import same
from ..state.budget import Budget, Budgets
from ..state.errors import InputError
from ..state.schema import values_of
from ..state.statuses import Lane


class JobOptions(TypedDict, total=False):
    """What a job may be given beside its graph and its input; see `Session.config`."""

    budget: Budgets | None
    cache_s: float | None
    lane: Lane | None
    user: str | None
    tags: list[str]
    metadata: Mapping[str, Any]
    allow_changed_graph: bool
    restart: bool


def plain_options(options: JobOptions) -> dict[str, Any]:
    """Return options as JSON can say them, without those that say nothing."""
    plain: dict[str, Any] = {name: value for name, value in options.items() if value not in (None, False)}
    budget = options.get("budget")
    if budget is not None:
        budgets = (budget,) if isinstance(budget, Budget) else budget
        plain["budget"] = [each.values() for each in budgets]
    try:
        return json.loads(json.dumps(plain))  # type: ignore[no-any-return]
    except TypeError as error:
        raise InputError(f"A job's options are kept as JSON, which cannot say them: {error}.") from None


def plain_input(state: Any) -> dict[str, Any]:
    """Return an input as JSON can say it, without fields that nobody set. Raises InputError if it cannot."""
    try:
        values = values_of(state)
    except TypeError:
        raise InputError(
            f"A job's input is a state, or some of its fields by their names, not {type(state).__name__}."
        ) from None
    if isinstance(state, BaseModel):
        values = {name: value for name, value in values.items() if name in state.model_fields_set}
    elif dataclasses.is_dataclass(state):
        values = {
            f.name: values[f.name] for f in dataclasses.fields(state) if not _is_unset(f, values[f.name])
        }
    try:
        plain: dict[str, Any] = to_jsonable_python(values, inf_nan_mode="strings")
    except (PydanticSerializationError, UnicodeDecodeError, ValueError) as error:
        raise InputError(
            f"A job's input is kept as JSON, which cannot say it: {error}. Give plain data, or the name of "
            "where the worker finds it."
        ) from None
    return plain


def _is_unset(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return same(field.default_factory(), value)
    return field.default is not dataclasses.MISSING and same(field.default, value)
