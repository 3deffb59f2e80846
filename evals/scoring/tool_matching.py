"""An evaluator of an agent's choice of functions, as the Berkeley Function Calling Leaderboard checks it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...state.errors import InputError
from ..suite.model import EvaluatorInput, Score, ToolUse
from .evaluators import Where, shown

CallMatch = Literal["strict", "order", "unordered", "subset", "superset"]
_LOOSE = re.compile(r"[\s,./\-_*^'\"]+")


@dataclass(frozen=True)
class ExpectedCall:
    """A function, and the values that count for each of its arguments; `arguments` None takes any."""

    name: str
    arguments: Mapping[str, Sequence[Any]] | None

    def __str__(self) -> str:
        if self.arguments is None:
            return f"{self.name}(…)"
        arguments = (f"{name}={' or '.join(map(shown, values))}" for name, values in self.arguments.items())
        return f"{self.name}({', '.join(arguments)})"


@dataclass(frozen=True, kw_only=True)
class ToolCalls(Where):
    """The tool calls that the models made, in a `node` or the whole run, against the expected ones.

    A case expects a list: of names, `find_order`, or of names with arguments, `{find_order: {order: SG-1}}`.
    A list as an argument's value holds alternatives; "" among them means that it may be left out. `[]`
    expects no call, `true` at least one of any kind, `false` none.

    match: strict: exactly these, in this order. order: these in this order, others may come between.
    unordered: exactly these, in any order. subset: none but these. superset: at least these.
    text "loose" compares text without case, spaces and punctuation. `more_arguments` lets calls have
    arguments that nobody expects.
    """

    match: CallMatch = "unordered"
    text: Literal["exact", "loose"] = "exact"
    more_arguments: bool = False

    async def score(self, inputs: EvaluatorInput) -> Score:
        if inputs.tool_calls is None:
            return Score.unscored("the record does not say which tools were called")
        if isinstance(inputs.expected, bool):
            called = bool(inputs.tool_calls)
            why = "no tool was called" if inputs.expected else f"called {_shown(inputs.tool_calls)}"
            return Score.of(called == inputs.expected, why)
        wanted = expected_calls(inputs.expected)
        problem = self._problem(wanted, inputs.tool_calls)
        return Score.of(problem is None, problem or "")

    def problem_with(self, expected: Any) -> str | None:
        """Say what is wrong with an expectation, None if it can be read."""
        try:
            if not isinstance(expected, bool):
                expected_calls(expected)
        except InputError as error:
            return str(error)
        return None

    def _problem(self, wanted: Sequence[ExpectedCall], calls: Sequence[ToolUse]) -> str | None:
        fits = [[self._differs(each, call) is None for call in calls] for each in wanted]
        if self.match in ("strict", "order"):
            place = 0
            for number, each in enumerate(wanted):
                if self.match == "strict":
                    if number >= len(calls):
                        return f"{each} was not called; called {_shown(calls)}"
                    if not fits[number][number]:
                        return f"call {number + 1}: {self._why(each, [calls[number]])}"
                    continue
                position = next((n for n in range(place, len(calls)) if fits[number][n]), None)
                if position is None:
                    return f"not in its order: {self._why(each, calls)}"
                place = position + 1
            if self.match == "strict" and len(calls) > len(wanted):
                return f"called unexpectedly: {_shown(calls[len(wanted) :])}"
            return None
        if self.match == "subset":
            strange = [call for n, call in enumerate(calls) if not any(row[n] for row in fits)]
            return self._strange(strange, wanted) if strange else None
        paired = _paired(fits)
        lost = [each for number, each in enumerate(wanted) if number not in paired]
        rest = [call for number, call in enumerate(calls) if number not in paired.values()]
        if lost:
            return "; ".join(self._why(each, rest) for each in lost)
        return self._strange(rest, ()) if rest and self.match == "unordered" else None

    def _strange(self, calls: Sequence[ToolUse], wanted: Sequence[ExpectedCall]) -> str:
        near = [each for each in wanted if each.name == calls[0].name]
        return self._why(near[0], calls) if near else f"called unexpectedly: {_shown(calls)}"

    def _why(self, each: ExpectedCall, calls: Sequence[ToolUse]) -> str:
        """Say how the nearest call differs from an expected one."""
        problems = [self._differs(each, call) for call in calls if call.name == each.name]
        why = next((problem for problem in problems if problem), f"called {_shown(calls)}")
        return f"expected {each}: {why}"

    def _differs(self, each: ExpectedCall, call: ToolUse) -> str | None:
        if call.name != each.name:
            return f"called {call.name}"
        if call.problem:
            return f"its arguments cannot be read: {call.problem}"
        if each.arguments is None:
            return None
        if not self.more_arguments and (strange := [n for n in call.arguments if n not in each.arguments]):
            return f"it has the argument {strange[0]!r}, which nobody expects"
        for name, values in each.arguments.items():
            if name not in call.arguments:
                if "" not in values:
                    return f"it lacks the argument {name!r}"
            elif not any(self._equal(value, call.arguments[name]) for value in values):
                return f"{name} is {shown(call.arguments[name])}"
        return None

    def _equal(self, wanted: Any, actual: Any) -> bool:
        if isinstance(wanted, bool) or isinstance(actual, bool):
            return wanted is actual
        if isinstance(wanted, str) and isinstance(actual, str):
            return wanted == actual or (self.text == "loose" and _loose(wanted) == _loose(actual))
        if isinstance(wanted, Mapping) and isinstance(actual, Mapping):
            return wanted.keys() == actual.keys() and all(self._equal(wanted[n], actual[n]) for n in wanted)
        if isinstance(wanted, (list, tuple)) and isinstance(actual, (list, tuple)):
            return len(wanted) == len(actual) and all(map(self._equal, wanted, actual))
        return bool(wanted == actual)


def _loose(text: str) -> str:
    return _LOOSE.sub("", text).casefold()


def expected_calls(value: Any) -> list[ExpectedCall]:
    """Return what a case expects. Raises InputError that says what the form is."""
    if isinstance(value, Mapping):
        value = [{name: arguments} for name, arguments in value.items()]
    if not isinstance(value, (list, tuple)):
        raise InputError(f"expected a list of calls, or true or false, got {shown(value)}")
    return [_expected_call(each) for each in value]


def _expected_call(value: Any) -> ExpectedCall:
    if isinstance(value, str) and value:
        return ExpectedCall(value, None)
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, arguments),) = value.items()
        if arguments is None:
            return ExpectedCall(str(name), None)
        if isinstance(arguments, Mapping):
            own = {str(n): v if isinstance(v, list) else [v] for n, v in arguments.items()}
            empty = next((n for n, values in own.items() if not values), None)
            if empty is not None:
                raise InputError(
                    f"{name}: no value counts for {empty!r}; a list holds alternatives, so an empty list as "
                    "the value is [[]]"
                )
            return ExpectedCall(str(name), own)
    raise InputError(
        f"expected a call as NAME or {{NAME: {{ARGUMENT: VALUE, or [VALUE, …]}}}}, got {shown(value)}"
    )


def _paired(fits: Sequence[Sequence[bool]]) -> dict[int, int]:
    """Return for as many expected calls as possible a call that fits, each call once."""
    owner: dict[int, int] = {}

    def take(number: int, tried: set[int]) -> bool:
        for place, fitting in enumerate(fits[number]):
            if fitting and place not in tried:
                tried.add(place)
                if place not in owner or take(owner[place], tried):
                    owner[place] = number
                    return True
        return False

    for number in range(len(fits)):
        take(number, set())
    return {number: place for place, number in owner.items()}


def _shown(calls: Sequence[ToolUse]) -> str:
    return "; ".join(_shown_calls(calls)) or "nothing"


def _shown_calls(calls: Sequence[ToolUse]) -> Iterator[str]:
    for call in calls[:5]:
        yield f"{call.name}({shown(json.dumps(dict(call.arguments), ensure_ascii=False))})"
    if len(calls) > 5:
        yield f"and {len(calls) - 5} more"
