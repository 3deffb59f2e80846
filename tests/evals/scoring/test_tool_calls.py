"""Evaluators see which tools a model called, and a suite checks its choice."""

from __future__ import annotations

import random
from itertools import permutations
from pathlib import Path
from typing import Any, get_args

import pytest

from stepgraph import ScriptedModel, Session, ToolCall, using
from stepgraph.errors import InputError
from stepgraph.evals.files.located import from_yaml
from stepgraph.evals.files.suite_file import read_suite, suite_from
from stepgraph.evals.running.runner import run_suite
from stepgraph.evals.scoring.evaluators import Code
from stepgraph.evals.scoring.tool_matching import CallMatch, ToolCalls
from stepgraph.evals.scoring.trial_record import read_record
from stepgraph.evals.suite.check import check_suite
from stepgraph.evals.suite.model import Case, EvaluatorInput, Suite, ToolUse
from stepgraph.evals.suite.targets import target_of

from .functions import Question, graph, model

HERE = Path(__file__).parent
WRONG = {
    "value": "expected triangle_area(base=10, height=5 or 5.5, unit=units or ): height is 6",
    "left-out": "it lacks the argument 'height'",
    "too-much": "it has the argument 'colour', which nobody expects",
    "word": "base is 10",
    "wrong-function": "called weather",
    "unknown-function": "called forecast",
    "one-lost": "expected weather(city=Oslo)",
    "one-twice": "city is Rome",
    "called": "called unexpectedly: weather",
    "some-none": "no tool was called",
}


def test_a_suite_checks_the_choice_of_functions(tmp_path: Path) -> None:
    suite = read_suite(HERE / "functions.yaml")
    with Session(tmp_path / "runs.sqlite") as session, using(model()):
        results = run_suite(suite, graph.compile(), session)
    scores = {trial.case: trial.scores["functions"] for trial in results.trials.values()}
    assert {case for case, score in scores.items() if not score.passed} == WRONG.keys()
    for case, reason in WRONG.items():
        assert reason in scores[case].reason


def use(name: str, **arguments: Any) -> ToolUse:
    return ToolUse(name, arguments)


async def verdict(expected: Any, calls: list[ToolUse], **options: Any) -> bool | None:
    given = EvaluatorInput(None, expected, "c", {}, {}, tool_calls=tuple(calls))
    return (await ToolCalls(name="t", **options).score(given)).passed


@pytest.mark.parametrize("match", get_args(CallMatch))
async def test_calls_match_as_their_definition_says(match: Any) -> None:
    draw = random.Random(7)
    for _ in range(60):
        wanted = draw.choices("abc", k=draw.randint(0, 3))
        called = draw.choices("abc", k=draw.randint(0, 4))
        rest = iter(called)
        fits = {
            "strict": wanted == called,
            "order": all(name in rest for name in wanted),
            "unordered": sorted(wanted) == sorted(called),
            "subset": set(called) <= set(wanted),
            "superset": any(list(p[: len(wanted)]) == wanted for p in permutations(called)),
        }
        found = await verdict(list(wanted), [use(name) for name in called], match=match)
        assert found == fits[match], (match, wanted, called)


async def test_a_call_that_fits_two_expectations_is_given_to_the_one_that_needs_it() -> None:
    expected = [{"go": {"to": ["Rome", "Oslo"]}}, {"go": {"to": "Rome"}}]
    assert await verdict(expected, [use("go", to="Rome"), use("go", to="Oslo")])
    assert await verdict(list(reversed(expected)), [use("go", to="Rome"), use("go", to="Oslo")])
    assert not await verdict(expected, [use("go", to="Oslo"), use("go", to="Oslo")])


@pytest.mark.parametrize(
    ("wanted", "given", "options", "fits"),
    [
        (1, True, {}, False),
        (True, 1, {}, False),
        (5, 5.0, {}, True),
        ("5", 5, {}, False),
        ("Rome", "rome", {}, False),
        ("Rome", " rome.", {"text": "loose"}, True),
        ([["a", "b"]], ["a", "b"], {}, True),
        ([["a", "b"]], ["b", "a"], {}, False),
        ([{"a": 1}], {"a": 1, "b": 2}, {}, False),
        (None, None, {}, True),
        (["", None], None, {}, True),
    ],
)
async def test_values_are_compared_as_json(wanted: Any, given: Any, options: Any, fits: bool) -> None:
    assert await verdict([{"f": {"x": wanted}}], [use("f", x=given)], **options) == fits


async def test_more_arguments_are_borne_if_they_may_be_there() -> None:
    assert not await verdict([{"f": {}}], [use("f", x=1)])
    assert await verdict([{"f": {}}], [use("f", x=1)], more_arguments=True)
    assert await verdict(["f"], [use("f", x=1)])
    assert await verdict(False, [])
    assert not await verdict(False, [use("f")])


def test_a_function_sees_names_arguments_results_and_their_order(tmp_path: Path) -> None:
    seen: list[ToolUse] = []

    def look(reply: str, tool_calls: tuple[ToolUse, ...]) -> bool:
        seen.extend(tool_calls)
        return True

    script: list[Any] = [
        [ToolCall("weather", {"city": "Rome"}), ToolCall("nothing", {})],
        [ToolCall("triangle_area", {"base": 2, "height": 2}, "id")],
        "Done.",
    ]
    suite = Suite(
        "s", [Case("c", {"text": "Hm?"})], evaluators=[Code(name="look", field="reply", function=look)]
    )
    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel(script)):
        run_suite(suite, graph.compile(), session)
    assert [(call.name, call.is_error) for call in seen] == [
        ("weather", False),
        ("nothing", True),
        ("triangle_area", False),
    ]
    assert [call.result for call in seen][::2] == ["Rain in Rome.", "2 square units"]
    assert seen[2].arguments == {"base": 2, "height": 2}


def test_calls_that_a_resumed_run_reads_again_count_once(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    script: list[Any] = [ToolCall("weather", {"city": "Rome"}), Stopped(), "Done."]
    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel(script)):
        compiled = graph.compile()
        with pytest.raises(Stopped):
            compiled.invoke(Question("Hm?"), session.config("thread"))
        compiled.invoke(None, session.config("thread"))
        calls = read_record(session.journal, "thread").tool_calls
    assert [(call.name, call.result) for call in calls] == [("weather", "Rain in Rome.")]


@pytest.mark.parametrize(
    ("expected", "problem"),
    [
        ("{ weathr: { city: Rome } }", "the graph has no tool 'weathr'. Did you mean 'weather'?"),
        ("[ weather: { city: [] } ]", "no value counts for 'city'"),
        ("[ weather: 7 ]", "expected a call as NAME"),
        ("some", "expected a list of calls"),
    ],
)
def test_an_expectation_that_cannot_come_true_is_told_before_anything_is_paid(
    expected: str, problem: str
) -> None:
    text = (
        "evaluators: [ { name: t, kind: tool_calls } ]\ncases:\n"
        f"  - {{ id: c, input: {{ text: Hm }}, expect: {{ t: {expected} }} }}\n"
    )
    with pytest.raises(InputError, match="nothing was run") as told:
        check_suite(suite_from(from_yaml(text, "s.yaml")), target_of(graph.compile()))
    assert problem in str(told.value)
