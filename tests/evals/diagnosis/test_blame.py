from __future__ import annotations

import operator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from stepgraph import Budget, ScriptedModel, Session, chain, rule, using
from stepgraph.evals.diagnosis.blame import blame
from stepgraph.evals.diagnosis.findings import Blame
from stepgraph.evals.diagnosis.screen import comes_before, healthy
from stepgraph.evals.diagnosis.sections import blame_sections
from stepgraph.evals.files.results import Header, Results, Trial
from stepgraph.evals.report.render import as_html, as_text
from stepgraph.evals.running.runner import run_suite
from stepgraph.evals.scoring.evaluators import Code
from stepgraph.evals.suite.model import Case, Expected, Score, Suite
from stepgraph.evals.suite.topology import Compiled, topology_of
from stepgraph.state.errors import InputError

from ..conftest import Note, graph, measure, mood_of
from ..planted import Plan, carry_out, outcome_of, suite_of
from ..planted_graphs import form_of


def blamed(
    session: Session, suite: Suite, a: Compiled, b: Compiled, script: Any = mood_of, **options: Any
) -> Blame:
    """Run a suite on two graphs, and blame a node of the second."""
    with using(ScriptedModel(script)):
        before = run_suite(suite, a, session, run="a")
        after = run_suite(suite, b, session, run="b")
        return blame(before, after, suite, b, session, **options)


@pytest.mark.slow
def test_a_planted_fault_is_found_and_confirmed() -> None:
    plan = Plan(seed=1, node="check", fault=0.5, cases=30)
    (found,) = carry_out(plan)
    assert outcome_of(plan, found) == "right"
    assert "check got worse, confirmed by graft" in as_text(blame_sections(found))
    (graft,) = [graft for graft in found.grafts if graft.worse]
    assert (graft.node, graft.kind) == ("check", "alone")
    assert graft.interval[1] < 0


@pytest.mark.slow
def test_without_a_fault_nobody_is_blamed() -> None:
    (found,) = carry_out(Plan(seed=1, node=None, cases=30))
    assert (found.verdict, found.node) == ("undecided", None)
    text = as_text(blame_sections(found))
    assert "Undecided: no node can be blamed" in text
    assert "That does not mean that nothing got worse" in text


@pytest.mark.slow
def test_nodes_without_scores_are_told_apart_by_going_on_from_both_sides() -> None:
    plan = Plan(seed=1, node="draft", fault=0.8, cases=30, scored=False)
    (found,) = carry_out(plan)
    assert outcome_of(plan, found) == "right"
    assert [graft.node for graft in found.grafts] == ["sort", "find", "check", "draft", "polish"]
    assert {graft.kind for graft in found.grafts} == {"onward"}


def notes(count: int = 12) -> list[Case]:
    """Return cases that all take the bad branch, with what its nodes must write."""
    answer: Any = {"last": {"answer": "Calm down, please."}}
    expected = Expected(nodes={"bad/refine_reply/reply": answer, "bad/measure": {"last": {"size": 18}}})
    return [Case(f"n{n}", {"text": f"I hate it, {n} times"}, expected) for n in range(count)]


def rude(request: Any, context: Any) -> Any:
    """Answer as `mood_of` does, but in B's runs and grafts leave the reply wanting."""
    if context.step == "reply" and context.thread_id.startswith("eval/b"):
        return "Shut up, please."
    return mood_of(request, context)


def test_a_nested_node_in_a_loop_is_blamed_and_what_comes_after_it_is_not(session: Session) -> None:
    app = graph.compile()
    found = blamed(session, Suite("s", notes()), app, app, rude)
    assert (found.verdict, found.node, found.also) == ("blamed", "bad/refine_reply/reply", ())
    screened = {s.node: s for s in found.screened}
    assert "bad/measure" not in screened  # in B its input was never healthy
    assert found.left_out == {}


def broken(note: Note) -> dict[str, int]:
    raise ZeroDivisionError("by nought")


def test_a_node_that_raises_an_error_is_blamed(session: Session) -> None:
    good, bad = chain(measure, polite, name="n"), chain(_named(broken, "measure"), polite, name="n")
    cases = [Case(f"n{n}", {"text": "x"}, Expected(output={"size": 0}, has_output=True)) for n in range(10)]
    found = blamed(session, Suite("s", cases), good.compile(), bad.compile())
    assert (found.verdict, found.node) == ("blamed", "measure")
    assert [(s.node, s.metric, s.a, s.b) for s in found.screened if s.suspect] == [("measure", "ended", 1, 0)]


def _named(function: Any, name: str) -> Any:
    function.__name__ = name
    return function


@rule("problems")
def polite(note: Note) -> str:
    return "fine"


def test_without_grafts_a_node_is_only_suspected(session: Session) -> None:
    app = graph.compile()
    found = blamed(session, Suite("s", notes()), app, app, rude, graft=False)
    assert (found.verdict, found.node, found.grafts) == ("suspected", "bad/refine_reply/reply", ())
    assert "is suspected, not confirmed" in as_text(blame_sections(found))


def test_when_the_budget_of_the_grafts_ends_nothing_is_confirmed_and_it_can_go_on(session: Session) -> None:
    app, suite = graph.compile(), Suite("s", notes(), concurrency=1)
    with using(ScriptedModel(rude)):
        a = run_suite(suite, app, session, run="a")
        b = run_suite(suite, app, session, run="b")
        first = blame(a, b, replace(suite, budget=Budget(calls=5)), app, session)
        again = blame(a, b, suite, app, session)
    assert (first.verdict, first.complete, first.cost.calls) == ("suspected", False, 5)
    assert "PARTIAL" in as_text(blame_sections(first))
    assert (again.verdict, again.complete) == ("blamed", True)
    # Two visits of each case's loop; what was paid for before was not paid for again.
    assert again.cost.calls == 24


def test_a_loss_that_a_graft_does_not_reproduce_blames_nobody(session: Session) -> None:
    """B was bad while it ran, as with a model that had a bad day; its node on A's inputs is not."""

    def moody(request: Any, context: Any) -> Any:
        return mood_of(request, context) if "/graft/" in context.thread_id else rude(request, context)

    app = graph.compile()
    found = blamed(session, Suite("s", notes()), app, app, moody)
    assert (found.verdict, found.node) == ("undecided", None)
    assert found.why == "bad/refine_reply/reply scored worse, but not on the inputs that A recorded"
    assert [graft.worse for graft in found.grafts] == [False]


def test_a_run_of_another_file_can_only_be_suspected(session: Session, tmp_path: Path) -> None:
    app, suite = graph.compile(), Suite("s", notes())
    with Session(tmp_path / "other.sqlite") as other, using(ScriptedModel(rude)):
        a = run_suite(suite, app, other, run="a")
        b = run_suite(suite, app, session, run="b")
        found = blame(a, b, suite, app, session)
    assert (found.verdict, found.node) == ("suspected", "bad/refine_reply/reply")
    assert found.why.endswith("A's states of it are not on record, so no graft could tell")
    assert found.left_out == {"the file does not hold that run, or the node was not visited in it": 12}


def test_the_version_at_hand_must_be_b(session: Session) -> None:
    app, other = graph.compile(), chain(measure, name="notes").compile()
    suite = Suite("s", [Case("a", {"text": "I love it"})])
    with using(ScriptedModel(mood_of)):
        a = run_suite(suite, app, session, run="a")
        with pytest.raises(InputError, match="Blame needs the version B at hand"):
            blame(a, a, suite, other, session)


def test_a_suite_of_one_node_has_nobody_else_to_blame(session: Session) -> None:
    suite = Suite("s", [Case("a", {"text": "x"})], node="bad/measure")
    results = run_suite(suite, graph.compile(), session, run="a")
    with pytest.raises(InputError, match="alone, so there is no other node to blame"):
        blame(results, results, suite, graph.compile(), session)


def test_scores_count_only_where_the_input_was_healthy() -> None:
    topology = topology_of(form_of("chain5").graph)
    suite = suite_of(Plan(0, None, cases=3))
    owned = {"sort is good": "sort", "find is good": "find"}

    def trial(case: str, sort: float, find: float, completed: bool = True) -> Trial:
        scores = {"completed": Score.of(completed), "sort is good": Score.of(bool(sort))}
        scores["find is good"] = Score.of(bool(find))
        return Trial(case, 1, "t", "done", scores=scores, path=("sort", "find", "check", "draft", "polish"))

    results = Results(None, Header.of(suite, "r", {}))
    for one in (trial("c0", 1, 1), trial("c1", 0, 0), trial("c2", 1, 0, completed=False)):
        results.add(one)
    found = healthy(results, owned, topology, lambda trial: "check")
    assert found["sort", "sort is good"].means() == {"c0": 1.0, "c1": 0.0}
    assert found["find", "find is good"].means() == {"c0": 1.0}
    assert found["check", "ended"].means() == {"c0": 1.0, "c2": 0.0}


def test_a_graph_comes_after_what_is_in_it_and_branches_beside_each_other_do_not() -> None:
    topology = topology_of(graph.compile())
    path = ("classify", "bad", "bad/refine_reply", "bad/refine_reply/reply", "bad/measure")
    trial = Trial("c", 1, "t", "done", path=path)
    assert comes_before("bad/measure", "bad", trial, topology)
    assert not comes_before("bad", "bad/measure", trial, topology)
    assert comes_before("bad/refine_reply/reply", "bad/measure", trial, topology)
    assert comes_before("classify", "bad/measure", trial, topology)
    assert not comes_before("good", "bad/measure", trial, topology)


class Wide(TypedDict, total=False):
    text: str
    left: str
    right: str


def test_nodes_side_by_side_are_told_apart_by_the_end_alone(session: Session) -> None:
    def app(right: str) -> Compiled:
        builder: Any = StateGraph(Wide)
        builder.add_node("left", lambda wide: {"left": "good"})
        builder.add_node("right", lambda wide: {"right": right})
        for name in ("left", "right"):
            builder.add_edge(START, name)
            builder.add_edge(name, END)
        compiled: Compiled = builder.compile(name="wide")
        return compiled

    expected = Expected(output={"right": "good"}, has_output=True)
    suite = Suite("s", [Case(f"c{n}", {"text": "x"}, expected) for n in range(10)])
    found = blamed(session, suite, app("good"), app("bad"))
    assert (found.verdict, found.node) == ("blamed", "right")


class Split(TypedDict, total=False):
    text: str
    words: Annotated[list[str], operator.add]


class Piece(TypedDict):
    text: str


def test_what_a_node_was_sent_is_what_its_graft_gets(session: Session) -> None:
    def app(shout: bool) -> Compiled:
        builder: Any = StateGraph(Split)

        def speak(piece: Piece) -> dict[str, list[str]]:
            return {"words": [piece["text"].upper() if shout else piece["text"]]}

        builder.add_node("speak", speak, input_schema=Piece)
        builder.add_conditional_edges(
            START, lambda split: [Send("speak", {"text": word}) for word in split["text"].split()], ["speak"]
        )
        builder.add_edge("speak", END)
        compiled: Compiled = builder.compile(name="split")
        return compiled

    quiet = Code(name="quiet", node="speak", field="words", visit="each", function=is_quiet)
    suite = Suite("s", [Case(f"c{n}", {"text": f"some words {n}"}) for n in range(10)], evaluators=[quiet])
    found = blamed(session, suite, app(shout=False), app(shout=True))
    assert (found.verdict, found.node, found.left_out) == ("blamed", "speak", {})
    threads = session.journal.query("SELECT thread_id FROM runs WHERE thread_id LIKE '%/graft/speak/%'")
    assert len(threads) == 30


def is_quiet(words: list[str]) -> bool:
    return all(word == word.lower() for word in words) or words[0].isdigit()


def test_the_report_escapes_and_tells_all(session: Session) -> None:
    app = graph.compile()
    page = as_html(blame_sections(blamed(session, Suite("s", notes()), app, app, rude)))
    for told in ("confirmed by graft", "Nodes on healthy inputs", "Grafts", "the node alone"):
        assert told in page


def test_going_on_from_both_sides_passes_over_the_branches_that_a_case_did_not_take(session: Session) -> None:
    bad, good = {"answer": "Calm down, please."}, {"answer": "fine"}
    cases = [
        Case(f"n{n}", {"text": text}, Expected(output=output, has_output=True))
        for n in range(16)
        for text, output in [
            (f"I love it, {n} times", good) if n % 4 == 0 else (f"I hate it, {n} times", bad)
        ]
    ]
    app = graph.compile()
    found = blamed(session, Suite("s", cases), app, app, rude)
    assert (found.verdict, found.node) == ("blamed", "bad/refine_reply/reply")
    counted = {graft.node: graft.cases for graft in found.grafts}
    assert (counted["classify"], counted["good"], counted["bad/measure"]) == (16, 4, 12)
    assert [graft.node for graft in found.grafts if graft.worse] == ["bad/refine_reply/reply"]
