from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from stepgraph.evals.files.results import Header, Results, Trial
from stepgraph.evals.report.gates import rule_on
from stepgraph.evals.report.summary import summarise
from stepgraph.evals.statistics.compare import compare
from stepgraph.evals.suite.model import Case, Gate, Score, Suite
from stepgraph.state.cost import Cost
from stepgraph.state.errors import InputError


def results_of(
    scores: Mapping[str, list[float | None]],
    *,
    run: str = "r",
    gates: tuple[Gate, ...] = (),
    usd: float = 0.0,
    metric: str = "route",
) -> Results:
    """Return results with these values of a metric, by case, one for each repeat."""
    cases = [Case(name, {"text": name}) for name in scores]
    repeats = max(len(values) for values in scores.values())
    header = Header.of(Suite("s", cases, gates=gates, repeats=repeats), run, {})
    results = Results(None, header)
    for case, values in scores.items():
        for repeat, value in enumerate(values, 1):
            passed = None if value is None else value >= 0.5
            results.add(
                Trial(
                    case,
                    repeat,
                    "t",
                    "done",
                    scores={metric: Score(value, passed, "why")},
                    cost=Cost(1, 10, known_usd=usd),
                )
            )
    return results


def cases(good: int, bad: int, start: int = 0) -> dict[str, list[float | None]]:
    return {f"c{start + n}": [1.0 if n < good else 0.0] for n in range(good + bad)}


def test_a_loss_beyond_chance_is_worse() -> None:
    found = compare(results_of(cases(28, 2), run="a"), results_of(cases(16, 14), run="b", usd=0.5))
    (route,) = found.differences
    assert (route.verdict, route.test, route.lost, route.gained) == ("worse", "McNemar", 12, 0)
    assert route.change == pytest.approx(-0.4)
    assert route.interval[0] < -0.4 < route.interval[1] < 0
    cost = next(change for change in found.changes if change.measure == "cost_usd")
    assert (cost.a, cost.b, cost.interval) == (0.0, 0.5, pytest.approx((0.5, 0.5)))


def test_a_slight_loss_is_undecided_and_says_what_could_be_seen() -> None:
    (route,) = compare(results_of(cases(28, 2)), results_of(cases(26, 4))).differences
    assert route.verdict == "undecided"
    assert route.smallest is not None
    assert 0.1 < route.smallest < 0.3


def test_repeats_of_a_case_are_one_case() -> None:
    """Ten repeats of three cases are three cases' worth of evidence, not thirty trials'."""
    before = results_of({f"c{n}": [1.0] * 10 for n in range(3)})
    after = results_of({f"c{n}": [0.0] * 10 for n in range(3)})
    assert compare(before, after).differences[0].verdict == "undecided"


def test_cases_that_changed_or_did_not_run_are_left_out() -> None:
    a, b = results_of(cases(5, 0)), results_of(cases(5, 0))
    b.header = replace(b.header, cases={**b.header.cases, "c0": "other", "new": "x"})
    del b.trials["c1", 1]
    found = compare(a, b)
    assert found.differences[0].cases == 3
    assert found.left_out == ("c0: the case was changed", "new: only in r", "c1: not run in both")


def gated(good: int, bad: int, gate: Gate, **options: Any) -> Any:
    (ruling,) = rule_on(results_of(cases(good, bad), gates=(gate,)), **options)
    return ruling


def test_a_bound_is_kept_or_not() -> None:
    assert gated(9, 1, Gate("route", at_least=0.9)).status == "passed"
    assert gated(8, 2, Gate("route", at_least=0.9)).status == "failed"
    assert gated(8, 2, Gate("route", at_least=0.9, level=0.05)).status == "passed"  # chance may explain it
    assert gated(4, 6, Gate("route", at_least=0.9, level=0.05)).status == "failed"
    assert gated(1, 9, Gate("route", at_most=0.2)).status == "passed"


def test_a_bound_from_above_with_a_level_fails_only_beyond_chance() -> None:
    assert gated(2, 8, Gate("route", at_most=0.1, level=0.05)).status == "passed"  # chance may explain it
    assert gated(6, 4, Gate("route", at_most=0.1, level=0.05)).status == "failed"
    assert gated(0, 10, Gate("route", at_most=0.0, level=0.05)).status == "passed"


def test_a_gate_that_compares_fails_only_beyond_chance() -> None:
    gate = Gate("route", not_worse=True)
    baseline = results_of(cases(28, 2))
    assert gated(28, 2, gate, baseline=baseline).status == "passed"
    slight = gated(26, 4, gate, baseline=baseline)
    assert (slight.status, slight.why) == ("passed", "a loss, but chance may explain it")
    worse = gated(16, 14, gate, baseline=baseline)
    assert worse.status == "failed"
    assert worse.measured.startswith("0.933 -> 0.533, -0.400 [")
    assert worse.measured.endswith("over 30 cases, 12 lost, 0 gained")


def test_a_gate_that_compares_needs_a_baseline() -> None:
    with pytest.raises(InputError, match="--no-baseline for the first run"):
        gated(9, 1, Gate("route", not_worse=True))
    assert gated(9, 1, Gate("route", not_worse=True), skip=True).status == "skipped"


def test_what_was_not_scored_cannot_pass_a_gate() -> None:
    gate = Gate("route", at_least=0.5)
    none = results_of({"a": [None], "b": [None]}, gates=(gate,))
    assert rule_on(none)[0].why == "nothing was scored, so nothing is known"
    half = results_of({"a": [None], "b": [1.0]}, gates=(gate,))
    assert rule_on(half)[0].status == "failed"
    assert "1 of 2 trials could not be scored" in rule_on(half)[0].why
    lenient = results_of({"a": [None], "b": [1.0]}, gates=(replace(gate, unscored=0.5),))
    assert rule_on(lenient)[0].status == "passed"


def test_cost_may_gate_but_an_unknown_cost_cannot_pass() -> None:
    gate = Gate("cost_usd", at_most=0.01)
    cheap = results_of(cases(2, 0), gates=(gate,), usd=0.009)
    assert rule_on(cheap)[0].status == "passed"
    dear = results_of(cases(2, 0), gates=(gate,), usd=0.02)
    assert rule_on(dear)[0].status == "failed"
    unknown = results_of(cases(2, 0), gates=(gate,))
    unknown.trials["c0", 1] = replace(unknown.trials["c0", 1], cost=Cost(1, 10, unknown=1))
    assert rule_on(unknown)[0].why == "cost_usd is not known for every trial: set prices"


def test_the_outcome_is_passed_failed_or_partial() -> None:
    gate = (Gate("route", at_least=0.9),)
    assert summarise(results_of(cases(9, 1), gates=gate)).outcome == "passed"
    assert summarise(results_of(cases(8, 2), gates=gate)).outcome == "failed"
    assert summarise(results_of(cases(9, 1))).outcome == "failed"  # without gates every trial must pass
    partial = results_of(cases(9, 1), gates=gate)
    del partial.trials["c0", 1]
    assert summarise(partial).outcome == "partial"
