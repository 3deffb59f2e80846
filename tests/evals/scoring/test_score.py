"""What a case expects, what a trial did, and the score that comes of the two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from stepgraph.evals.scoring.evaluators import Exact
from stepgraph.evals.scoring.score import (
    NOTHING_EXPECTED,
    TrialOutcome,
    expected_of,
    fits,
    score_trial,
    together,
    visits,
)
from stepgraph.evals.scoring.trial_record import Loop, NodeVisit, Record, Route
from stepgraph.evals.suite.model import (
    Case,
    Evaluator,
    Expected,
    PathExpected,
    RoundsExpected,
    Score,
    Suite,
)

RECORD = Record(
    passages=(
        NodeVisit("sort", "done", {"kind": "bill"}),
        NodeVisit("write", "done", {"reply": "one"}),
        NodeVisit("write", "failed", None),
        NodeVisit("write", "done", {"reply": "two"}),
    ),
    routes=(Route("sort", "bill"), Route("deep/sort", "late")),
    loops=(Loop("write", 2, "approved"), Loop("other", 5, "again")),
)
DONE = TrialOutcome("done", {"reply": "two", "kind": "bill"})


async def scores(
    expect: Expected, outcome: TrialOutcome = DONE, *evaluators: Evaluator, record: Record = RECORD
) -> dict[str, Score]:
    suite = Suite("s", [], evaluators=evaluators)
    return await score_trial(suite, Case("c", {}, expect), outcome, record)


@pytest.mark.parametrize(
    ("bound", "problem"),
    [
        ({"": RoundsExpected(0, 5)}, ""),
        ({"": RoundsExpected(5)}, ""),
        ({"": RoundsExpected(6)}, "the loop took 5 rounds, expected 6"),
        ({"": RoundsExpected(0, 4)}, "the loop took 5 rounds, expected 0 to 4"),
        ({"write": RoundsExpected(2, 2)}, ""),
        ({"write": RoundsExpected(3, 4)}, "write took 2 rounds, expected 3 to 4"),
        ({"sort": RoundsExpected(1, 1)}, ""),  # no loop: how often the node ran
        ({"nowhere": RoundsExpected(0, 0)}, ""),
        ({"nowhere": RoundsExpected(1)}, "nowhere took 0 rounds, expected 1"),
        (
            {"write": RoundsExpected(3), "sort": RoundsExpected(2)},
            "write took 2 rounds, expected 3; sort took",
        ),
    ],
)
async def test_rounds(bound: Mapping[str, RoundsExpected], problem: str) -> None:
    score = (await scores(Expected(rounds=bound)))["rounds"]
    assert score.passed == (not problem)
    assert score.reason.startswith(problem)
    assert bool(score.reason) == bool(problem)


async def test_without_a_loop_no_round_was_taken() -> None:
    expect = Expected(rounds={"": RoundsExpected(0, 0)})
    assert (await scores(expect, record=Record()))["rounds"].passed
    expect = Expected(rounds={"": RoundsExpected(1)})
    assert (await scores(expect, record=Record()))["rounds"].reason == "the loop took 0 rounds, expected 1"


@pytest.mark.parametrize(
    ("route", "name", "reason"),
    [
        ("bill", "route", ""),
        ("late", "route", "expected late, took bill"),
        ({"deep/sort": "late"}, "route:deep/sort", ""),
        ({"deep/sort": "bill"}, "route:deep/sort", "expected bill, took late"),
        ({"gone": "bill"}, "route:gone", "expected bill, took no route"),
    ],
)
async def test_routes(route: Any, name: str, reason: str) -> None:
    assert (await scores(Expected(route=route)))[name] == Score.of(not reason, reason)


async def test_the_path() -> None:
    assert (await scores(Expected(path=PathExpected(("sort", "write")))))["path"].passed
    wrong = (await scores(Expected(path=PathExpected(("write", "sort")))))["path"]
    assert (wrong.passed, bool(wrong.reason)) == (False, True)


@pytest.mark.parametrize(
    ("visit", "wanted", "reason"),
    [
        ("first", {"reply": "one"}, ""),
        ("last", {"reply": "two"}, ""),
        ("last", {"reply": "one"}, "last visit: reply: expected one, got two"),
        ("each", {"reply": "one"}, "each visit: reply: expected one, got two"),
        ("last", {"gone": "one"}, "last visit: gone is missing"),
    ],
)
async def test_what_a_node_wrote(visit: Any, wanted: Any, reason: str) -> None:
    score = (await scores(Expected(nodes={"write": {visit: wanted}})))["node:write"]
    assert (score.passed, score.reason) == (not reason, reason)
    assert score.value == {"": 1.0}.get(reason, 0.5 if visit == "each" else 0.0)


async def test_a_node_that_was_not_visited_is_bad() -> None:
    score = (await scores(Expected(nodes={"gone": {"last": {}}})))["node:gone"]
    assert score == Score.of(False, "the node was not visited")


async def test_the_output_and_how_the_run_ended() -> None:
    good = await scores(Expected(output={"reply": "two"}, has_output=True))
    assert (good["output"], good["completed"]) == (Score.of(True), Score.of(True))
    failed = TrialOutcome("failed", {}, error="boom", kind="ValueError")
    bad = await scores(Expected(output={"reply": "two"}, has_output=True), failed, Exact(name="same"))
    assert bad["output"] == bad["completed"] == Score.of(False, "failed: boom")
    assert bad["same"] == Score.of(False, "failed: boom"), "a failure never drops out"
    exact = await scores(Expected(values={"same": "x"}), failed, Exact(name="same", node="write"))
    assert list(exact) == ["completed"], "of a node nothing can be said"


async def test_an_expected_error_is_good_and_a_run_without_it_is_bad() -> None:
    failed = TrialOutcome("failed", {}, error="boom", kind="ValueError")
    assert all(score.passed for score in (await scores(Expected(error="ValueError"), failed)).values())
    other = await scores(Expected(error="KeyError"), failed)
    assert other["error"].reason == "expected KeyError, got failed: boom"
    assert not other["completed"].passed
    done = await scores(Expected(error="KeyError"))
    assert done["error"].reason == "expected KeyError, got done"
    assert not done["completed"].passed


async def test_an_evaluator_looks_at_the_state_or_at_a_node() -> None:
    expect = Expected(values={"of_state": "two", "of_node": "one", "no_field": "x"})
    found = await scores(
        expect,
        DONE,
        Exact(name="of_state", field="reply"),
        Exact(name="of_node", node="write", visit="each", field="reply"),
        Exact(name="no_field", field="gone"),
        Exact(name="nothing_expected", field="reply"),
    )
    assert found["of_state"] == Score.of(True)
    assert (found["of_node"].value, found["of_node"].passed) == (0.5, False)
    assert found["no_field"] == Score.of(False, "there is no field 'gone'")
    assert "nothing_expected" not in found


async def test_an_evaluator_that_has_the_name_of_an_expectation_takes_its_place() -> None:
    expect = Expected(output={"reply": "TWO"}, has_output=True, values={"output": "TWO"})
    found = await scores(expect, DONE, Exact(name="output", field="reply", case=False))
    assert found["output"] == Score.of(True)


def test_what_a_case_expects_of_an_evaluator() -> None:
    case = Case("c", {}, Expected(output={"reply": "a"}, has_output=True, nodes={"write": {"last": "b"}}))
    assert expected_of(Exact(name="x"), case) == {"reply": "a"}
    assert expected_of(Exact(name="x", field="reply"), case) == "a"
    assert expected_of(Exact(name="x", field="gone"), case) is NOTHING_EXPECTED
    assert expected_of(Exact(name="x", node="write"), case) == "b"
    assert expected_of(Exact(name="x", node="write", field="f"), case) is NOTHING_EXPECTED
    assert expected_of(Exact(name="x", node="write", visit="first"), case) is NOTHING_EXPECTED


def test_finished_visits_only() -> None:
    outputs = {v: [p.output for p in visits(RECORD, "write", v)] for v in ("first", "last", "each")}  # type: ignore[arg-type]
    one, two = {"reply": "one"}, {"reply": "two"}
    assert outputs == {"first": [one], "last": [two], "each": [one, two]}


def test_a_value_fits() -> None:
    assert fits({"a": 1}, {"a": 1, "b": 2}, "").passed
    assert fits(1, 1, "").passed
    assert fits({"a": (1,)}, {"a": [1]}, "").passed, "compared as JSON"
    assert fits(1, 2, "here: ").reason == "here: expected 1, got 2"
    assert fits(1, 1, "here: ", cut=True).value is None


def test_scores_together() -> None:
    good, bad, none = Score.of(True, "good"), Score.of(False, "bad"), Score.unscored("cut")
    assert together([good, bad]) == Score(0.5, False, "bad")
    assert together([none, none]) == none
    assert together([good, none]) == Score(1.0, True, "cut")
    assert together([Score(0.5, None, "half"), good]) == Score(0.75, None, "half")
