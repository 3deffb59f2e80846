from __future__ import annotations

import operator
from typing import Annotated, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from stepgraph.evals.suite.check import check_suite
from stepgraph.evals.suite.model import Case, Gate, Suite
from stepgraph.evals.suite.targets import target_of
from stepgraph.evals.suite.topology import topology_of
from stepgraph.state.errors import InputError

from ..conftest import graph, suite_of

TARGET = target_of(graph.compile())
CASE = "cases:\n  - id: a\n    input: {text: x}\n    expect:\n      "


def told(text: str) -> str:
    with pytest.raises(InputError) as raised:
        check_suite(suite_of(text), TARGET)
    return str(raised.value)


@pytest.mark.parametrize(
    ("expect", "problem"),
    [
        ("route: god", "line 4: case 'a': no route has a branch 'god'. Did you mean 'good'?"),
        ("route: {classfy: good}", "there is no route 'classfy'. Did you mean 'classify'?"),
        ("route: {classify: god}", "the route 'classify' has no branch 'god'"),
        ("path: [classify, goood]", "the expected path has no node 'goood'. Did you mean 'good'?"),
        ("path: [good, classify]", "cannot occur: 'classify' runs before 'good' and never again"),
        ("path: [good, bad]", "cannot occur: 'good' and 'bad' lie on different branches of 'classify'"),
        ("path: [bad/measure, bad/refine_reply/reply]", "runs before 'bad/measure' and never again"),
        ("path: {match: unordered, nodes: [good, bad/measure]}", "different branches of 'classify'"),
        ("rounds: {bad/refine_reply: 4}", "takes at most 3 rounds, never 4"),
        ("rounds: {bad/refine_rply: 1}", "there is no loop or node 'bad/refine_rply'"),
        (
            "nodes: {bad/mesure: {last: {size: 1}}}",
            "there is no node 'bad/mesure'. Did you mean 'bad/measure'?",
        ),
        ("nodes: {good: {last: {answer: x}}, bad/measure: {last: {size: 1}}}", "no run visits both nodes"),
        ("output: {anser: x}", "the output has no field 'anser'. Did you mean 'answer'?"),
    ],
)
def test_what_cannot_occur_in_this_graph_is_refused(expect: str, problem: str) -> None:
    assert problem in told(CASE + expect + "\n")


@pytest.mark.parametrize(
    "expect",
    [
        "route: good",
        "path: [classify, good]",
        "path: [bad/refine_reply/reply, bad/refine_reply/reply, bad/measure]",
        "path: {match: strict, nodes: [classify, bad]}",
        "rounds: {at_most: 3}",
        "rounds: {bad/refine_reply/reply: 2}",
        "nodes: {classify: {first: {mood: bad}}, bad/measure: {each: {size: 1}}}",
    ],
)
def test_what_can_occur_is_not(expect: str) -> None:
    check_suite(suite_of(CASE + expect + "\n"), TARGET)


def test_a_bad_input_is_refused_unless_the_case_expects_that() -> None:
    assert "line 4: case 'a': The input has a field 'txt'" in told("cases:\n  - {id: a, input: {txt: x}}\n")
    check_suite(suite_of("cases:\n  - {id: a, input: {txt: x}, expect: {error: InputError}}\n"), TARGET)


def test_evaluators_and_gates_are_checked() -> None:
    case = "cases:\n  - {id: a, input: {text: x}}\n"
    bad = "evaluators:\n  - {name: s, kind: exact, field: siz}\n" + case
    assert "there is no field 'siz'. Did you mean 'size'?" in told(bad)
    bad = "evaluators:\n  - {name: s, kind: exact, node: bad/mesure}\n" + case
    assert "there is no node 'bad/mesure'" in told(bad)
    assert "line 4: the gate's metric 'rout' is not measured" in told(
        "gates:\n  - {metric: rout, at_least: 1}\n" + case
    )
    assert "needs one of at_least" in told("gates:\n  - {metric: completed}\n" + case)
    assert "takes at_most alone" in told("gates:\n  - {metric: cost_usd, not_worse: true}\n" + case)
    judge = (
        "evaluators:\n  - {name: kind, kind: judge, rubric: Kind}\ngates:\n  - {metric: kind, at_least: 1}\n"
    )
    assert "the judge 'kind' may not gate: nobody knows how far it agrees with people" in told(judge + case)
    assert "no evaluator may be named 'seconds'" in told(
        "evaluators:\n  - {name: seconds, kind: exact}\n" + case
    )


def test_a_suite_written_in_python_is_checked_too() -> None:
    cases = [Case("a", {"text": "x"}), Case("a", {"text": "y"})]
    with pytest.raises(InputError, match="the case 'a' is there twice"):
        check_suite(Suite("s", cases), TARGET)
    with pytest.raises(InputError, match="the suite has no cases"):
        check_suite(Suite("s", []), TARGET)
    with pytest.raises(InputError, match="repeats = 0"):
        check_suite(Suite("s", cases[:1], repeats=0, gates=[Gate("completed", at_least=1)]), TARGET)


class Bag(TypedDict):
    seen: Annotated[list[str], operator.add]


def test_nodes_that_run_side_by_side_may_come_in_any_order() -> None:
    builder = StateGraph(Bag)
    for name in ("a", "b", "end"):
        builder.add_node(name, lambda state, name=name: {"seen": [name]})
    builder.add_edge(START, "a")
    builder.add_edge(START, "b")
    builder.add_edge(["a", "b"], "end")
    builder.add_edge("end", END)
    topology = topology_of(builder.compile())
    assert topology.conflict("a", "b") is None
    assert topology.conflict("b", "a") is None


def test_an_edge_that_code_decides_in_secret_may_lead_anywhere() -> None:
    builder = StateGraph(Bag)
    for name in ("a", "b", "c"):
        builder.add_node(name, lambda state, name=name: {"seen": [name]})
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: ["b", "c"])  # type: ignore[arg-type, return-value]
    topology = topology_of(builder.compile())
    assert topology.conflict("b", "c") is None


def test_supersteps_of_a_whole_suite_are_refused() -> None:
    assert "supersteps = 3 would limit nothing" in told(f"budget: {{supersteps: 3}}\n{CASE}route: good")
    check_suite(suite_of(f"trial_budget: {{supersteps: 3}}\n{CASE}route: good"), TARGET)
