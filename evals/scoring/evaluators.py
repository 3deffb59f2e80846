"""Evaluators that need no model: exact, schema, numeric, similarity, code."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter, ValidationError

from ...providers.embedding import embed
from ...state.event_loops import in_thread
from ...state.json_text import json_text
from ...state.keys_in_use import without_keys
from ..suite.model import EvaluatorInput, Score, Visit

SHOWN = 200


def shown(value: Any) -> str:
    """Return a value for a reason: JSON, cut."""
    text = value if isinstance(value, str) else json_text(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


@dataclass(frozen=True, kw_only=True)
class Where:
    """What every evaluator has: its name, and what of a trial it looks at."""

    name: str
    field: str | None = None
    node: str | None = None
    visit: Visit = "last"

    needs_expected: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Exact(Where):
    """Equal, as JSON; `case` and `space` say whether upper case and white space count in text."""

    case: bool = True
    space: bool = True

    async def score(self, inputs: EvaluatorInput) -> Score:
        if self._plain(inputs.actual) == self._plain(inputs.expected):
            return Score.of(True)
        return Score.of(False, f"expected {shown(inputs.expected)}, got {shown(inputs.actual)}")

    def _plain(self, value: Any) -> Any:
        if isinstance(value, str):
            value = value if self.case else value.casefold()
            return value if self.space else " ".join(value.split())
        if isinstance(value, Mapping):
            return {name: self._plain(part) for name, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._plain(part) for part in value]
        return value


@dataclass(frozen=True, kw_only=True)
class Schema(Where):
    """Fits a type: a pydantic model, dataclass, TypedDict or any other annotation."""

    type: Any

    needs_expected: ClassVar[bool] = False

    async def score(self, inputs: EvaluatorInput) -> Score:
        try:
            TypeAdapter(self.type).validate_python(inputs.actual)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "value"
            return Score.of(False, f"{place}: {first['msg']}")
        return Score.of(True)


@dataclass(frozen=True, kw_only=True)
class Numeric(Where):
    """A number within `tolerance` of the expected one, or within the share `relative` of it."""

    tolerance: float = 0.0
    relative: float = 0.0

    async def score(self, inputs: EvaluatorInput) -> Score:
        try:
            actual, expected = _number(inputs.actual), _number(inputs.expected)
        except (TypeError, ValueError):
            return Score.of(
                False, f"expected the number {shown(inputs.expected)}, got {shown(inputs.actual)}"
            )
        allowed = max(self.tolerance, self.relative * abs(expected))
        near = math.isclose(actual, expected, rel_tol=1e-12, abs_tol=allowed)
        return Score.of(near, f"expected {expected:g} ± {allowed:g}, got {actual:g}")


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError("a bool is no number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


@dataclass(frozen=True, kw_only=True)
class Similarity(Where):
    """How like the expected text it is, 0 to 1; passes from `at_least` on.

    by "text": the share of characters in common runs. by "meaning": the cosine of static word
    embeddings, which needs the extra `local`.
    """

    by: Literal["text", "meaning"] = "text"
    at_least: float = 0.8

    async def score(self, inputs: EvaluatorInput) -> Score:
        actual, expected = shown_whole(inputs.actual), shown_whole(inputs.expected)
        measure = _alike if self.by == "text" else _near
        value = await in_thread(measure, actual, expected)
        good = value >= self.at_least
        return Score(value, good, "" if good else f"{value:.2f} alike, below {self.at_least:.2f}")


def shown_whole(value: Any) -> str:
    """Return a value as text: JSON, unless it is text."""
    return value if isinstance(value, str) else json_text(value)


def _alike(actual: str, expected: str) -> float:
    return difflib.SequenceMatcher(None, actual, expected, autojunk=False).ratio()


def _near(actual: str, expected: str) -> float:
    if not actual.strip() or not expected.strip():
        return float(actual.strip() == expected.strip())
    one, other = embed([actual, expected])
    return min(1.0, max(0.0, sum(a * b for a, b in zip(one, other, strict=True))))


@dataclass(frozen=True, kw_only=True)
class Code(Where):
    """A Python function of the value; it may take `expected`, `input`, `values`, `route`, `path` too, and
    `tool_calls`, a list of `ToolUse`.

    It returns a bool, a number from 0 to 1, a (value, reason) pair, or a `Score`; None is unscored.
    A number passes from `at_least` on. A function that raises scores nothing: that is its own fault.
    """

    function: Callable[..., Any] = field(compare=False)
    at_least: float = 0.5
    wants_expected: bool = False

    @property
    def needs_expected(self) -> bool:  # type: ignore[override]
        return self.wants_expected

    def __repr__(self) -> str:
        function = f"{self.function.__module__}:{self.function.__qualname__}"
        return (
            f"Code({self.name!r}, {function}, {self.field!r}, {self.node!r}, {self.visit}, {self.at_least})"
        )

    async def score(self, inputs: EvaluatorInput) -> Score:
        parameters = inspect.signature(self.function).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        names = list(parameters)[1:]  # the first takes the value, whatever it is called
        offered = ("expected", "input", "values", "route", "path", "case", "tool_calls")
        extra = {name: getattr(inputs, name) for name in offered if takes_all or name in names}
        try:
            if inspect.iscoroutinefunction(self.function):
                result = await self.function(inputs.actual, **extra)
            else:
                result = await in_thread(self.function, inputs.actual, **extra)
        except Exception as error:
            return Score.unscored(without_keys(f"{self.name} raised {type(error).__name__}: {error}"))
        return self._read(result)

    def _read(self, result: Any) -> Score:
        reason = ""
        if isinstance(result, Score):
            return result
        value: Any = result
        if isinstance(result, tuple) and len(result) == 2:
            value, reason = result[0], str(result[1])
        if value is None:
            return Score.unscored(reason or f"{self.name} gave no score")
        if isinstance(value, bool):
            return Score.of(value, reason or f"{self.name} said no")
        try:
            number = float(value)
        except (TypeError, ValueError):
            return Score.unscored(f"{self.name} gave {shown(value)}; expected a bool or a number from 0 to 1")
        if not 0 <= number <= 1:
            return Score.unscored(f"{self.name} gave {number:g}; expected a number from 0 to 1")
        good = number >= self.at_least
        return Score(number, good, reason or ("" if good else f"{number:.2f}, below {self.at_least:.2f}"))
