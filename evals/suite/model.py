"""What a suite says: cases, what is expected of each, how it is measured, and when it fails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic_core import to_jsonable_python

from ...state.budget import Budgets, ThreadBudgets
from .trees import SUFFIX, unpacked

Visit = Literal["first", "last", "each"]
PathMatch = Literal["strict", "order", "unordered", "subset", "superset"]
VISITS: tuple[Visit, ...] = ("first", "last", "each")
PATH_MATCHES: tuple[PathMatch, ...] = ("strict", "order", "unordered", "subset", "superset")

TrialStatus = Literal["done", "failed", "cut", "waiting"]

COMPLETED = "completed"
MEASURES = ("cost_usd", "seconds", "tokens", "calls")
"""What is measured of every trial, beside quality."""


@dataclass(frozen=True)
class Score:
    """What one evaluator says about one trial.

    `value` lies between 0 (bad) and 1 (good); None means that nobody could say, which is not zero.
    """

    value: float | None
    passed: bool | None = None
    reason: str = ""

    @classmethod
    def of(cls, good: bool, reason: str = "") -> Score:
        return cls(float(good), good, "" if good else reason)

    @classmethod
    def unscored(cls, reason: str) -> Score:
        return cls(None, None, reason)


@dataclass(frozen=True)
class ToolUse:
    """One tool call that a model made, in which node, and what came of it.

    `result` is what the model got to read, None if the call was never carried out, or its result is not
    on record. `problem` says why its arguments cannot be read, if they cannot.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    result: str | None = None
    is_error: bool = False
    problem: str | None = None
    path: str = ""
    task: str = field(default="", repr=False)
    id: str = field(default="", repr=False)


@dataclass(frozen=True)
class EvaluatorInput:
    """What an evaluator may look at: one value of a trial, and where it comes from.

    `tool_calls` are those that the models made in the node that the evaluator looks at, or in the whole run,
    in their order; None where nobody knows.
    """

    actual: Any
    expected: Any
    case: str
    input: Mapping[str, Any]
    values: Mapping[str, Any]
    route: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    tool_calls: tuple[ToolUse, ...] | None = None


class Evaluator(Protocol):
    """Scores one value of a trial.

    It looks at the final state, or at the output of a `node` (its first, last or each visit); `field`
    picks one field of that. `needs_expected` leaves cases out that expect nothing of it.
    """

    @property
    def name(self) -> str: ...
    @property
    def field(self) -> str | None: ...
    @property
    def node(self) -> str | None: ...
    @property
    def visit(self) -> Visit: ...
    @property
    def needs_expected(self) -> bool: ...

    async def score(self, inputs: EvaluatorInput) -> Score:
        """Return what it says of one value: a share from 0 to 1, or unscored with the reason."""
        ...


@dataclass(frozen=True)
class PathExpected:
    """The nodes that a run passes, by their paths ("billing/find_payments").

    strict: exactly these, in this order. order: these in this order, others may come between.
    unordered: exactly these, in any order. subset: none but these. superset: at least these.
    """

    nodes: tuple[str, ...]
    match: PathMatch = "order"


@dataclass(frozen=True)
class RoundsExpected:
    """How many rounds a loop may take."""

    at_least: int = 0
    at_most: int | None = None


@dataclass(frozen=True)
class Expected:
    """What is expected of a case; what is left out is not checked.

    `route` names the branch of the first route, or of each route by its path. `rounds` is keyed by
    the loop's path, "" for the only one. `nodes` holds fields by path and visit. `error` names the
    error that must end the run, "Interrupted" if it must wait for a person. `values` holds what
    named evaluators expect.
    """

    output: Any = None
    has_output: bool = False
    route: str | Mapping[str, str] | None = None
    path: PathExpected | None = None
    rounds: Mapping[str, RoundsExpected] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[Visit, Any]] = field(default_factory=dict)
    error: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def branches(self) -> Mapping[str, str]:
        """The expected branch of each route by its path; "" is the first route, whichever it is."""
        return {"": self.route} if isinstance(self.route, str) else dict(self.route or {})


@dataclass(frozen=True)
class Case:
    """One input and what is expected of it; `line` is where it stands in its file."""

    id: str
    input: Mapping[str, Any]
    expect: Expected = field(default_factory=Expected)
    line: int | None = None
    tags: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Tell two versions of a case apart."""
        return digest({"id": self.id, "input": self.input, "expect": self.expect})


@dataclass(frozen=True)
class Gate:
    """When a suite fails.

    `at_least` and `at_most` bound the mean over all trials. With a `level`, the gate fails only if the
    trials contradict the bound at that level of significance. `not_worse` compares with a baseline,
    case by case; a loss up to `margin` is borne. `unscored` is the share of trials that may lack a
    score.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    not_worse: bool = False
    margin: float = 0.0
    level: float | None = None
    unscored: float = 0.2
    line: int | None = None

    def __str__(self) -> str:
        if self.not_worse:
            rest = f" by more than {self.margin:g}" if self.margin else ""
            return f"{self.metric} not worse than the baseline{rest}"
        bound = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        return f"{self.metric} {bound}" + (f" (level {self.level:g})" if self.level is not None else "")


@dataclass(frozen=True)
class Suite:
    """Cases for a graph, or for one node of it run alone (`node`, whose cases' input is its state).

    Each case runs `repeats` times. `budget` limits the whole suite, `trial_budget` each trial.
    `level` is the level of significance of comparisons. `files` names fields of the inputs that hold the
    path of a file or folder, which is looked for beside the suite's file; a `.tree` is a folder in one text.
    `main` names the model roles of the main agent: the report tells its tokens apart from the workers'.
    """

    name: str
    cases: Sequence[Case]
    graph: str | None = None
    node: str | None = None
    evaluators: Sequence[Evaluator] = ()
    gates: Sequence[Gate] = ()
    repeats: int = 1
    concurrency: int = 4
    budget: Budgets | None = None
    trial_budget: Budgets | None = None
    level: float = 0.05
    source: Path | None = None
    files: Sequence[str] = ()
    main: Sequence[str] = ()

    @property
    def fingerprint(self) -> str:
        """Tell two versions of a suite apart, as far as its trials' scores go."""
        parts = {
            "cases": [case.digest for case in self.cases],
            "evaluators": [repr(evaluator) for evaluator in self.evaluators],
            "node": self.node,
            "repeats": self.repeats,
            "trial_budget": self._trial_limits(),
        }
        return digest(parts)

    def _trial_limits(self) -> Any:
        """Return the limits that cut single trials; where a shared one ends, no trial has a result."""
        own = ThreadBudgets.of(self.trial_budget).own
        return own and {name: value for name, value in asdict(own).items() if name not in ("scope", "per")}

    @property
    def trials(self) -> list[tuple[Case, int]]:
        """Every trial: each case with the number of its repeat, from 1."""
        return [(case, repeat) for repeat in range(1, self.repeats + 1) for case in self.cases]

    def input_of(self, case: Case) -> Mapping[str, Any]:
        """Return what a case's run is given: its input, with its files as they are found from here."""
        if not self.files:
            return case.input
        placed = self.files_of(case)
        paths = {name: unpacked(path) if path.suffix == SUFFIX else path for name, path in placed.items()}
        return {**case.input, **{name: str(path) for name, path in paths.items()}}

    def files_of(self, case: Case) -> dict[str, Path]:
        """Return where the files of a case's input lie."""
        if self.source is None:
            return {}
        folder = self.source.absolute().parent
        values = {name: case.input.get(name) for name in self.files}
        return {name: folder / path for name, path in values.items() if isinstance(path, str)}

    def only(self, ids: Sequence[str]) -> Suite:
        """Return the suite with some of its cases."""
        wanted = set(ids)
        return replace(self, cases=tuple(case for case in self.cases if case.id in wanted))


def digest(value: Any) -> str:
    """Return a short hash of any plain value."""
    text = json.dumps(to_jsonable_python(value, fallback=repr), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
