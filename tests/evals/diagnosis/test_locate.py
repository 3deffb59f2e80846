from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, using
from stepgraph.evals.diagnosis.locate import Divergence, RunDiagnosis, case_of, locate
from stepgraph.evals.diagnosis.sections import located_sections
from stepgraph.evals.report.render import as_text
from stepgraph.evals.running.runner import run_suite
from stepgraph.evals.scoring.evaluators import Exact
from stepgraph.evals.scoring.judge import Judge
from stepgraph.evals.suite.model import Case, Expected, PathExpected, PathMatch, Suite
from stepgraph.state.errors import InputError

from ..conftest import graph, mood_of

PATH = (
    "classify",
    "bad",
    "bad/refine_reply",
    "bad/refine_reply/begin",
    "bad/refine_reply/reply",
    "bad/refine_reply/polite",
    "bad/refine_reply/reply",
    "bad/refine_reply/polite",
    "bad/measure",
)
Find = Callable[..., Any]


@pytest.fixture
def find(session: Session) -> Find:
    """Run the notes' workflow on a text, and say where it left what is expected."""

    async def run(text: str, expected: Expected, *evaluators: Any) -> RunDiagnosis:
        case = Case("a", {"text": text}, expected)
        app: Any = graph.compile()
        with using(ScriptedModel(mood_of)), contextlib.suppress(ZeroDivisionError):
            await app.ainvoke(case.input, session.config("t"))
        return await locate(session, Suite("s", [case], evaluators=evaluators), "t", case)

    return run


async def test_a_run_that_went_as_expected(find: Find) -> None:
    expected = Expected(route="bad", output={"size": 18}, has_output=True)
    found = await find("I hate it", expected)
    assert (found.path, found.first) == (PATH, None)
    assert "It went as expected" in as_text(located_sections(found))


async def test_the_wrong_branch_comes_before_all_that_followed_from_it(find: Find) -> None:
    expected = Expected(
        route="good",
        path=PathExpected(("classify", "good")),
        output={"answer": "fine"},
        has_output=True,
        nodes={"good": {"last": {"answer": "fine"}}},
    )
    found = await find("I hate it", expected)
    assert found.first == Divergence(0, "classify", "route", "expected good, took bad")
    assert [(divergence.what, divergence.node) for divergence in found.divergences] == [
        ("route", "classify"),
        ("path", "classify"),
        ("output answer", "bad/refine_reply/reply"),
        ("node", "good"),
    ]
    text = as_text(located_sections(found))
    assert text.startswith("It went wrong at classify")


async def test_a_node_s_visit_that_is_not_as_expected(find: Find) -> None:
    nodes: Any = {"bad/refine_reply/reply": {"first": {"answer": "Calm down, please."}}}
    found = await find("I hate it", Expected(nodes=nodes))
    assert (found.first.place, found.first.node) == (4, "bad/refine_reply/reply")
    assert found.first.problem.startswith("first visit: answer: expected Calm down, please.")


async def test_an_evaluator_of_a_node_tells_too_and_judges_are_not_asked(find: Find) -> None:
    exact = Exact(name="wording", node="bad/refine_reply/reply", field="answer", visit="last")
    judge = Judge(name="kind", node="bad/measure", rubric="Is it kind?")
    found = await find("I hate it", Expected(values={"wording": "Calm!"}), exact, judge)
    assert (found.first.place, found.first.what) == (6, "wording")
    assert found.judged == ("kind",)


async def test_a_wrong_output_beside_an_expected_error_is_a_divergence(find: Find) -> None:
    found = await find("crash", Expected(error="ZeroDivisionError", output={"size": 1}, has_output=True))
    assert found.first.what == "output size"


async def test_an_error_is_put_down_to_the_innermost_node(find: Find) -> None:
    found = await find("crash", Expected(output={"size": 1}, has_output=True))
    assert found.first == Divergence(8, "bad/measure", "error", "it raised an error")
    assert found.divergences[1] == Divergence(9, "(no node wrote it)", "output size", "expected 1, got null")


@pytest.mark.parametrize(
    ("nodes", "match", "place", "problem"),
    [
        (("classify", "bad", "good"), "order", 1, "expected good some time after it, which did not come"),
        (("classify", "good"), "strict", 0, "expected good next, went to bad"),
        (("classify",), "strict", 0, "expected the end, went on to bad"),
        (("classify", "good"), "subset", 4, "bad/refine_reply/reply"),
        (("good", "classify"), "superset", 8, "good did not come"),
    ],
)
async def test_where_a_path_departs(
    find: Find, nodes: tuple[str, ...], match: PathMatch, place: int, problem: str
) -> None:
    found = await find("I hate it", Expected(path=PathExpected(nodes, match)))
    assert found.first.place == place
    assert problem in found.first.problem


async def test_a_thread_of_a_suite_names_its_case(session: Session) -> None:
    case = Case("a/b", {"text": "I love it"}, Expected(route="bad"))
    suite = Suite("s", [case])
    with using(ScriptedModel(mood_of)):
        (trial,) = run_suite(suite, graph.compile(), session, run="r").trials.values()
    assert case_of(suite, trial.thread, None) is case
    assert (await locate(session, suite, trial.thread, case)).first is not None
    with pytest.raises(InputError, match="--case ID"):
        case_of(suite, "t", None)
    with pytest.raises(InputError, match="no case 'x'"):
        case_of(suite, "t", "x")
    with pytest.raises(InputError, match="holds no run"):
        await locate(session, suite, "unknown", case)
