"""From a suite's file to a `Suite`. Every problem is collected, with the line on which it stands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from ...runners.user_code import find_object
from ...state.budget import Budget, Budgets
from ...state.errors import DefinitionError, InputError, did_you_mean
from ..scoring.evaluators import Code, Exact, Numeric, Schema, Similarity
from ..scoring.judge import Judge
from ..scoring.openevals import Messages, rubric_named
from ..scoring.tool_matching import ToolCalls
from ..suite.check import Problem, refuse
from ..suite.model import (
    PATH_MATCHES,
    VISITS,
    Case,
    Evaluator,
    Expected,
    Gate,
    PathExpected,
    RoundsExpected,
    Suite,
)
from .located import Key, Located, read_located

KINDS: dict[str, type[Any]] = {
    "code": Code,
    "exact": Exact,
    "judge": Judge,
    "messages": Messages,
    "numeric": Numeric,
    "schema": Schema,
    "similarity": Similarity,
    "tool_calls": ToolCalls,
}
SUITE_KEYS = (
    "suite", "graph", "node", "evaluators", "gates", "repeats", "concurrency", "budget", "trial_budget",
    "level", "files", "main", "cases",
)  # fmt: skip
LEVEL = 0.05
AMOUNT = NonNegativeInt | Annotated[float, Field(ge=0, allow_inf_nan=False)]
SHARE = Annotated[float, Field(gt=0, lt=1)]
CASE_KEYS = ("id", "input", "expect", "tags")
EXPECT_KEYS = ("output", "route", "path", "rounds", "nodes", "error")


def read_suite(path: str | Path) -> Suite:
    """Read a suite from .yaml, .yml or .jsonl. Raises InputError with all problems and their lines."""
    file = Path(path)
    if file.suffix not in (".yaml", ".yml", ".jsonl"):
        raise InputError(f"{file} is no suite. Expected a .yaml, .yml or .jsonl file, or file.py:attr.")
    return suite_from(read_located(file), file)


def suite_from(located: Located, source: Path | None = None) -> Suite:
    """Return the suite that located data describes."""
    reader = _SuiteReader(located, source)
    suite = reader.suite()
    refuse(located.file, reader.problems)
    return suite


class _SuiteReader:
    def __init__(self, located: Located, source: Path | None) -> None:
        self.problems = [Problem(line, f"{name!r} is there twice") for line, name in located.doubled]
        self._located = located
        self._source = source
        self._folder = source.parent if source else Path()
        self._evaluators: list[Evaluator] = []
        self._declared: list[str] = []  # the names of evaluators, those that could not be read included

    def _bad(self, key: Key, text: str) -> None:
        self.problems.append(Problem(self._located.line(key), text))

    def suite(self) -> Suite:
        data = self._located.data
        if not isinstance(data, dict):
            self._bad((), "expected a suite: a mapping with suite, graph and cases")
            return Suite("", ())
        self._known((), data, SUITE_KEYS, "suite")
        self._evaluators = list(self._all_evaluators(data.get("evaluators")))
        cases = tuple(self._cases(data.get("cases")))
        gates = tuple(self._gates(data.get("gates")))
        name = data.get("suite", self._source.stem if self._source else "suite")
        level = data.get("level", LEVEL)
        files = self._value(("files",), data.get("files"), list[str] | None, "a list of fields of the inputs")
        main = self._value(("main",), data.get("main"), list[str] | None, "a list of model roles")
        return Suite(
            name=str(name),
            cases=cases,
            graph=self._text(data, "graph"),
            node=self._text(data, "node"),
            evaluators=tuple(self._evaluators),
            gates=gates,
            repeats=self._count(data, "repeats", 1),
            concurrency=self._count(data, "concurrency", 4),
            budget=self._budgets(data, "budget"),
            trial_budget=self._budgets(data, "trial_budget"),
            level=self._value(("level",), level, SHARE, "a number between 0 and 1", LEVEL),
            source=self._source,
            files=tuple(files or ()),
            main=tuple(main or ()),
        )

    def _known(self, key: Key, data: Mapping[Any, Any], known: Iterable[str], what: str) -> None:
        for name in data:
            if name not in tuple(known):
                self._bad((*key, name), f"a {what} has no {name!r}. {did_you_mean(str(name), known)}")

    def _value(self, key: Key, value: Any, kind: Any, expected: str, default: Any = None) -> Any:
        """Return a value of a kind; of any other, tell what was expected and return the default."""
        try:
            return TypeAdapter(kind).validate_python(value, strict=True)
        except ValidationError:
            self._bad(key, f"{'.'.join(map(str, key))}: expected {expected}, got {value!r}")
            return default

    def _text(self, data: Mapping[str, Any], name: str) -> str | None:
        text: str | None = self._value((name,), data.get(name), str | None, "text")
        return text

    def _count(self, data: Mapping[str, Any], name: str, default: int) -> int:
        value = data.get(name, default)
        count: int = self._value((name,), value, PositiveInt, "a whole number from 1 on", default)
        return count

    def _budgets(self, data: Mapping[str, Any], name: str) -> Budgets | None:
        value = data.get(name)
        if not isinstance(value, list):
            return self._budget((name,), value)
        return tuple(
            budget for n, one in enumerate(value) if (budget := self._budget((name, n), one)) is not None
        )

    def _budget(self, key: Key, value: Any) -> Budget | None:
        if value is None:
            return None
        name, known = str(key[0]), [field.name for field in fields(Budget)]
        if not isinstance(value, dict):
            self._bad(key, f"{name}: expected limits such as {{usd: 0.5}}. {did_you_mean('', known)}")
            return None
        self._known(key, value, known, name)
        limits: dict[str, Any] = {}
        for limit in (limit for limit in known if limit in value):
            if limit in ("scope", "per"):
                limits[limit] = self._value((*key, limit), value[limit], str, "text")
                continue
            kind, what = (
                (AMOUNT, "a number") if limit in ("usd", "seconds") else (NonNegativeInt, "a whole number")
            )
            limits[limit] = self._value((*key, limit), value[limit], kind, f"{what} from 0 on")
        try:
            return Budget(**limits)
        except ValueError as error:
            self._bad(key, str(error))
            return None

    # Evaluators

    def _all_evaluators(self, value: Any) -> Iterable[Evaluator]:
        if value is None:
            return
        if not isinstance(value, list):
            self._bad(("evaluators",), "evaluators: expected a list")
            return
        for number, item in enumerate(value):
            key: Key = ("evaluators", number)
            if not isinstance(item, dict):
                self._bad(key, f"an evaluator: expected name and kind, got {item!r}")
                continue
            self._declared.append(str(item.get("name", item.get("kind"))))
            if (evaluator := self._evaluator(key, item)) is not None:
                if evaluator.name in [known.name for known in self._evaluators]:
                    self._bad(key, f"two evaluators have the name {evaluator.name!r}")
                self._evaluators.append(evaluator)
                yield evaluator

    def _evaluator(self, key: Key, item: dict[str, Any]) -> Evaluator | None:
        kind = item.get("kind")
        if kind not in KINDS:
            self._bad(
                (*key, "kind"), f"there is no evaluator of kind {kind!r}. {did_you_mean(str(kind), KINDS)}"
            )
            return None
        cls = KINDS[kind]
        own = {field.name: field for field in fields(cls)}
        options = {name: value for name, value in item.items() if name != "kind"}
        options.setdefault("name", kind)
        before = len(self.problems)
        self._known(key, options, own, f"{kind} evaluator")
        for name, field in own.items():
            needed = field.default is MISSING and field.default_factory is MISSING
            if needed and name not in options:
                self._bad(key, f"the {kind} evaluator {options['name']!r} needs {name!r}")
        hints = get_type_hints(cls)
        for name, value in list(options.items()):
            if name in own:
                options[name] = self._option((*key, name), kind, name, value, hints[name])
        if "/" in str(options["name"]) or ":" in str(options["name"]):
            self._bad((*key, "name"), f"the name {options['name']!r} may not have / or : in it")
        if len(self.problems) > before:
            return None
        evaluator: Evaluator = cls(**options)
        return evaluator

    def _option(self, key: Key, kind: str, name: str, value: Any, hint: Any) -> Any:
        """Return an option as its evaluator takes it: names of code become code, paths become paths."""
        try:
            if name in ("function", "type"):
                target = find_object(str(value), self._folder, named_by="the suite's code")
                if name == "function" and not callable(target):
                    raise InputError(f"{value} is {type(target).__name__}; expected a function.")
                return target
            if name == "labels" and value is not None:
                path = self._folder / str(value)
                if not path.resolve().is_relative_to(self._folder.resolve()):
                    raise InputError(f"{path} lies outside the suite's folder.")
                if not path.is_file():
                    raise InputError(f"there is no file {path}.")
                return path
            if name == "rubric":
                return rubric_named(str(value))
            return TypeAdapter(hint).validate_python(value)
        except ValidationError as error:
            self._bad(key, f"{kind}.{name}: {error.errors(include_url=False)[0]['msg']}, got {value!r}")
        except (InputError, DefinitionError) as error:
            self._bad(key, f"{kind}.{name}: {error}")
        return value

    # Cases

    def _cases(self, value: Any) -> Iterable[Case]:
        if not isinstance(value, list) or not value:
            self._bad(("cases",), "the suite has no cases; expected a list of them")
            return
        seen: dict[str, int | None] = {}
        for number, item in enumerate(value):
            key: Key = ("cases", number)
            if not isinstance(item, dict):
                self._bad(key, f"a case: expected id and input, got {item!r}")
                continue
            self._known(key, item, CASE_KEYS, "case")
            case_id = str(item.get("id", number + 1))
            line = self._located.lines.get(key)
            if case_id in seen:
                self._bad((*key, "id"), f"the case {case_id!r} is there twice, first on line {seen[case_id]}")
            seen.setdefault(case_id, line)
            inputs = item.get("input")
            if not isinstance(inputs, dict):
                self._bad(
                    (*key, "input"), f"case {case_id!r}: input: expected the state's fields, got {inputs!r}"
                )
                inputs = {}
            tags = item.get("tags") or ()
            expect = self._expected((*key, "expect"), item.get("expect"))
            yield Case(case_id, inputs, expect, line, tuple(map(str, tags)))

    def _expected(self, key: Key, data: Any) -> Expected:
        if data is None:
            return Expected()
        if not isinstance(data, dict):
            self._bad(key, f"expect: expected a mapping, got {data!r}")
            return Expected()
        self._known(key, data, [*EXPECT_KEYS, *self._declared], "case's expect")
        route, path, rounds, nodes = (data.get(name) for name in ("route", "path", "rounds", "nodes"))
        branches = route.values() if isinstance(route, dict) else [route]
        if route is not None and not all(isinstance(branch, str) for branch in branches):
            text = f"route: expected a branch's name, or one for each route's path, got {route!r}"
            self._bad((*key, "route"), text)
            route = None
        names = [evaluator.name for evaluator in self._evaluators]
        return Expected(
            output=data.get("output"),
            has_output="output" in data,
            route={str(p): branch for p, branch in route.items()} if isinstance(route, dict) else route,
            path=None if path is None else self._path((*key, "path"), path),
            rounds={} if rounds is None else self._rounds((*key, "rounds"), rounds),
            nodes={} if nodes is None else self._nodes((*key, "nodes"), nodes),
            error=None if data.get("error") is None else str(data["error"]),
            values={name: value for name, value in data.items() if name in names},
        )

    def _path(self, key: Key, value: Any) -> PathExpected | None:
        match: Any = "order"
        nodes = value
        if isinstance(value, dict):
            self._known(key, value, ("match", "nodes"), "path")
            match, nodes = value.get("match", "order"), value.get("nodes")
        if match not in PATH_MATCHES:
            self._bad((*key, "match"), f"path.match: {match!r}. {did_you_mean(str(match), PATH_MATCHES)}")
            match = "order"
        if not isinstance(nodes, list) or not nodes or not all(isinstance(node, str) for node in nodes):
            self._bad(key, f"path: expected a list of nodes, got {nodes!r}")
            return None
        return PathExpected(tuple(nodes), match)

    def _rounds(self, key: Key, value: Any) -> dict[str, RoundsExpected]:
        bounds = ("at_least", "at_most")
        alone = not isinstance(value, dict) or set(value) & set(bounds)
        by_path: dict[str, Any] = {"": value} if alone else value
        expected: dict[str, RoundsExpected] = {}
        for path, bound in by_path.items():
            if _whole(bound) and bound >= 0:
                expected[str(path)] = RoundsExpected(bound, bound)
            elif (
                not isinstance(bound, dict)
                or not set(bound) <= set(bounds)
                or not all(map(_whole, bound.values()))
            ):
                self._bad(key, f"rounds: expected a number, or at_least and at_most, got {bound!r}")
            elif bound.get("at_least", 0) > bound.get("at_most", math.inf):
                self._bad(key, "rounds: at_least is more than at_most")
            else:
                expected[str(path)] = RoundsExpected(bound.get("at_least", 0), bound.get("at_most"))
        return expected

    def _nodes(self, key: Key, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._bad(key, f"nodes: expected what is expected of each node by its path, got {value!r}")
            return {}
        by_path = {}
        for path, visits in value.items():
            if not isinstance(visits, dict) or not visits:
                self._bad((*key, path), f"nodes: {path!r}: expected first, last or each with fields")
                continue
            self._known((*key, path), visits, VISITS, "node's expectation")
            by_path[str(path)] = {visit: wanted for visit, wanted in visits.items() if visit in VISITS}
        return by_path

    # Gates

    def _gates(self, value: Any) -> Iterable[Gate]:
        if value is None:
            return
        if not isinstance(value, list):
            self._bad(("gates",), "gates: expected a list")
            return
        names = [field.name for field in fields(Gate) if field.name != "line"]
        hints = get_type_hints(Gate)
        for number, item in enumerate(value):
            key: Key = ("gates", number)
            if not isinstance(item, dict) or "metric" not in item:
                self._bad(key, f"a gate: expected metric and a bound, got {item!r}")
                continue
            self._known(key, item, names, "gate")
            options: dict[str, Any] = {}
            for name, option in item.items():
                if name in names:
                    try:
                        options[name] = TypeAdapter(hints[name]).validate_python(option)
                    except ValidationError as error:
                        self._bad((*key, name), f"gate.{name}: {error.errors(include_url=False)[0]['msg']}")
            if "metric" in options:
                yield Gate(**options, line=self._located.line(key))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
