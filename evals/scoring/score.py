"""From what a trial did to its scores: the case's own expectations, and the suite's evaluators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...state.json_text import json_text
from ..suite.model import (
    COMPLETED,
    Case,
    Evaluator,
    EvaluatorInput,
    RoundsExpected,
    Score,
    Suite,
    TrialStatus,
    Visit,
)
from .evaluators import shown
from .path_match import path_problem
from .tool_matching import ToolCalls
from .trial_record import NodeVisit, Record

NODE = "node:"


@dataclass(frozen=True)
class TrialOutcome:
    """How a run ended: `values` is its last state as plain data."""

    status: TrialStatus
    values: Mapping[str, Any]
    error: str | None = None
    kind: str | None = None
    limit: str | None = None
    missing: tuple[str, ...] = ()


async def score_trial(suite: Suite, case: Case, outcome: TrialOutcome, record: Record) -> dict[str, Score]:
    """Return every score of a trial by its metric's name.

    A run that did not end well scores nothing but bad, unless its error is the expected one: a failure
    never drops out of the denominator.
    """
    scores: dict[str, Score] = {}
    expected_error = case.expect.error is not None and outcome.kind == case.expect.error
    good = (outcome.status == "done" and case.expect.error is None) or expected_error
    ended = f"{outcome.status}: {outcome.error}" if outcome.error else outcome.status
    if case.expect.error is not None:
        scores["error"] = Score.of(expected_error, f"expected {case.expect.error}, got {ended}")
    scores[COMPLETED] = Score.of(good, ended)
    explicit = {evaluator.name for evaluator in suite.evaluators}
    for name, score in _own(case, outcome, record):
        if name not in explicit:
            scores[name] = score if good else Score.of(False, ended)
    whole = NodeVisit("", outcome.status, dict(outcome.values))
    for evaluator in suite.evaluators:
        expected = expected_of(evaluator, case)
        if evaluator.needs_expected and expected is NOTHING_EXPECTED:
            continue
        if not good:
            if evaluator.node is None:
                scores[evaluator.name] = Score.of(False, ended)
            continue
        passages = [whole] if evaluator.node is None else visits(record, evaluator.node, evaluator.visit)
        results = [
            await score_passage(evaluator, expected, case, outcome, record, passage) for passage in passages
        ]
        if results:
            scores[evaluator.name] = results[0] if len(results) == 1 else together(results)
    return scores


NOTHING_EXPECTED: Final = object()


def expected_of(evaluator: Evaluator, case: Case) -> Any:
    """Return what a case expects of an evaluator, or NOTHING_EXPECTED.

    It stands under the evaluator's name, or under `output`, or under the node's visit.
    """
    expect = case.expect
    if evaluator.name in expect.values:
        return expect.values[evaluator.name]
    if isinstance(evaluator, ToolCalls):  # an output is no list of calls
        return NOTHING_EXPECTED
    source: Any = expect.output if expect.has_output else None
    if evaluator.node is not None:
        source = expect.nodes.get(evaluator.node, {}).get(evaluator.visit)
    if evaluator.field is None:
        return NOTHING_EXPECTED if source is None else source
    return source.get(evaluator.field, NOTHING_EXPECTED) if isinstance(source, Mapping) else NOTHING_EXPECTED


def _own(case: Case, outcome: TrialOutcome, record: Record) -> Iterator[tuple[str, Score]]:
    """Score what the case itself expects of output, route, path, rounds and nodes."""
    expect = case.expect
    if expect.has_output:
        yield "output", fits(expect.output, outcome.values, "")
    for path, branch in expect.branches.items():
        took = [r.choice for r in record.routes if not path or r.path == path]
        choice = took[0] if took else "no route"
        score = Score.of(choice == branch, f"expected {branch}, took {choice}")
        yield ("route" if not path else f"route:{path}"), score
    if expect.path is not None:
        problem = path_problem(expect.path, record.path)
        yield "path", Score.of(problem is None, problem or "")
    if expect.rounds:
        problems = [p for path, bound in expect.rounds.items() if (p := _rounds_problem(path, bound, record))]
        yield "rounds", Score.of(not problems, "; ".join(problems))
    for path, by_visit in expect.nodes.items():
        results = [
            fits(wanted, passage.output, f"{visit} visit: ", cut=passage.cut)
            for visit, wanted in by_visit.items()
            for passage in visits(record, path, visit)
        ]
        yield f"{NODE}{path}", together(results) if results else Score.of(False, "the node was not visited")


def _rounds_problem(path: str, bound: RoundsExpected, record: Record) -> str | None:
    rounds = [loop.rounds for loop in record.loops if not path or loop.path == path]
    if not rounds and path:
        rounds = [record.path.count(path)]
    took = max(rounds, default=0)
    if took < bound.at_least or (bound.at_most is not None and took > bound.at_most):
        most = "" if bound.at_most is None else f" to {bound.at_most}"
        return f"{path or 'the loop'} took {took} rounds, expected {bound.at_least}{most}"
    return None


def fits(wanted: Any, actual: Any, where: str, *, cut: bool = False) -> Score:
    """Compare as JSON; of a mapping only the fields that are named count."""
    if cut:
        return Score.unscored(f"{where}the record keeps only the start of a large output")
    if isinstance(wanted, Mapping) and isinstance(actual, Mapping):
        for name, value in wanted.items():
            if name not in actual:
                return Score.of(False, f"{where}{name} is missing")
            if actual[name] != value and json_text(actual[name]) != json_text(value):
                return Score.of(False, f"{where}{name}: expected {shown(value)}, got {shown(actual[name])}")
        return Score.of(True)
    return Score.of(wanted == actual, f"{where}expected {shown(wanted)}, got {shown(actual)}")


def visits(record: Record, node: str, visit: Visit) -> Sequence[NodeVisit]:
    """Return the finished executions of a node that an expectation is about."""
    passages = [passage for passage in record.passages if passage.path == node and passage.status == "done"]
    if visit == "each":
        return passages
    return passages[:1] if visit == "first" else passages[-1:]


def together(scores: Sequence[Score]) -> Score:
    """Return the mean of scores, which passes if all did."""
    scored = [score for score in scores if score.value is not None]
    if not scored:
        return scores[0]
    reasons = dict.fromkeys(s.reason for s in scores if s.reason and s.passed is not True)
    passed = None if any(s.passed is None for s in scored) else all(s.passed for s in scored)
    value = sum(score.value or 0.0 for score in scored) / len(scored)
    return Score(value, passed, "; ".join(reasons) or scored[-1].reason)


async def score_passage(
    evaluator: Evaluator, expected: Any, case: Case, outcome: TrialOutcome, record: Record, passage: NodeVisit
) -> Score:
    """Return what an evaluator says of one execution of its node, or of the whole run's final state."""
    looks_at_calls = isinstance(evaluator, ToolCalls)
    if passage.cut and not looks_at_calls:
        return Score.unscored("the record keeps only the start of a large output")
    actual = passage.output
    if evaluator.field is not None and not looks_at_calls:
        if not isinstance(actual, Mapping) or evaluator.field not in actual:
            return Score.of(False, f"there is no field {evaluator.field!r}")
        actual = actual[evaluator.field]
    expected = None if expected is NOTHING_EXPECTED else expected
    routes = tuple(route.choice for route in record.routes)
    calls = record.tool_calls if evaluator.node is None else record.tool_calls_in(passage)
    return await evaluator.score(
        EvaluatorInput(actual, expected, case.id, case.input, outcome.values, routes, record.path, calls)
    )
