from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import interrupt

from stepgraph import Budget, ScriptedModel, Session, chain, using
from stepgraph.evals.files.results import Results, read_results
from stepgraph.evals.report.summary import summarise
from stepgraph.evals.running.runner import new_run, run_suite
from stepgraph.evals.scoring.trial_record import Loop, Route
from stepgraph.evals.suite.model import Case, Expected, Suite
from stepgraph.providers.model import Reply
from stepgraph.state.errors import InputError, SettingsError, StoreError, UnboundRole

from ..conftest import Note, graph, measure, mood_of, suite_of

Run = Callable[..., Results]

CASES = """\
cases:
  - { id: a, input: { text: I love it }, expect: { route: good, path: [classify, good] } }
  - id: b
    input: { text: I hate it }
    expect:
      route: bad
      rounds: 2
      output: { size: 18 }
      nodes:
        bad/refine_reply/reply: { first: { answer: Calm down. }, last: { answer: "Calm down, please." } }
"""


def test_a_trial_keeps_scores_path_and_cost(evaluate: Run) -> None:
    results = evaluate(CASES, run="r")
    assert results.complete
    good, bad = results.trials["a", 1], results.trials["b", 1]
    assert (good.status, good.passed) == ("done", True)
    assert good.thread.startswith("eval/r/a/1-")
    assert {name: score.value for name, score in bad.scores.items()} == {
        "completed": 1.0,
        "output": 1.0,
        "route": 1.0,
        "rounds": 1.0,
        "node:bad/refine_reply/reply": 1.0,
    }
    assert bad.routes == (Route("classify", "bad"),)
    assert bad.loops == (Loop("bad/refine_reply", 2, "approved"),)
    assert bad.cost.calls == 3
    assert bad.seconds > 0


def test_without_the_extra_nothing_is_asked(evaluate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepgraph.evals.running.runner.find_spec", lambda name: None)
    asked: list[Any] = []

    def answer(request: Any, context: Any) -> Any:
        asked.append(request)
        return mood_of(request, context)

    with pytest.raises(SettingsError, match=r"stepgraph\[evals\]"):
        evaluate(CASES, run="r", script=answer)
    assert asked == []


def test_failures_stay_in_the_denominator(evaluate: Run) -> None:
    more = CASES + "  - { id: c, input: { text: crash }, expect: { route: bad, output: { size: 18 } } }\n"
    results = evaluate(more)
    crash = results.trials["c", 1]
    assert (crash.status, crash.passed) == ("failed", False)
    assert (crash.error or "").startswith("ZeroDivisionError (conftest.py, line ")
    assert {score.value for score in crash.scores.values()} == {0.0}
    means = {metric.name: metric.mean for metric in summarise(results).metrics}
    assert means["route"] == pytest.approx(2 / 3)
    assert means["output"] == 0.5


def test_an_error_may_be_what_is_expected(evaluate: Run) -> None:
    text = """\
cases:
  - { id: c, input: { text: crash }, expect: { error: ZeroDivisionError, route: bad } }
  - { id: d, input: { text: [no] }, expect: { error: InputError } }
  - { id: e, input: { text: love }, expect: { error: NoRoute } }
"""
    results = evaluate(text)
    assert [trial.passed for trial in results.trials.values()] == [True, True, False]
    assert results.trials["c", 1].scores["route"].passed
    assert results.trials["e", 1].scores["error"].reason == "expected NoRoute, got done"


def test_a_run_that_waits_for_a_person_is_bad_unless_that_is_expected(session: Session) -> None:
    def ask(note: Note) -> dict[str, str]:
        return {"answer": interrupt("Send it?")}

    asking = chain(measure, ask).compile()
    expected = Expected(error="Interrupted", output={"size": 0}, has_output=True)
    suite = Suite("s", [Case("a", {"text": "x"}), Case("b", {"text": "x"}, expected)])
    first = run_suite(suite, asking, session, run="r").trials
    assert [(trial.status, trial.passed) for _, trial in sorted(first.items())] == [
        ("waiting", False),
        ("waiting", True),
    ]
    assert run_suite(suite, asking, session, run="r").trials == first


def test_evaluators_look_at_nodes_and_at_every_visit(evaluate: Run) -> None:
    text = """\
evaluators:
  - { name: first, kind: exact, node: bad/refine_reply/reply, field: answer, visit: first }
  - { name: polite, kind: similarity, node: bad/refine_reply/reply, field: answer, visit: each }
cases:
  - { id: a, input: { text: I love it }, expect: { first: x, polite: x } }
  - { id: b, input: { text: I hate it }, expect: { first: Calm down., polite: "Calm down, please." } }
"""
    results = evaluate(text)
    assert set(results.trials["a", 1].scores) == {"completed"}  # the node was not visited
    scores = results.trials["b", 1].scores
    assert scores["first"].passed
    assert scores["polite"].value == pytest.approx((20 / 28 + 1) / 2)
    assert scores["polite"].passed is False


def test_a_single_node_runs_from_a_given_state(session: Session) -> None:
    cases = [
        Case(
            "nice", {"text": "x", "answer": "yes please"}, Expected(output={"problems": ""}, has_output=True)
        ),
        Case(
            "rude",
            {"text": "x", "answer": "no"},
            Expected(output={"problems": "say please"}, has_output=True),
        ),
    ]
    suite = Suite("polite", cases, node="bad/refine_reply/reply", repeats=2)
    with ScriptedModel(lambda request, context: "yes") as model, using(model):
        results = run_suite(suite, graph.compile(), session)
    assert [trial.path for trial in results.trials.values()] == [("reply",)] * 4
    with pytest.raises(InputError, match=r"has no node 'bad/replly'"):
        run_suite(Suite("x", cases, node="bad/replly"), graph.compile(), session)


def test_a_run_goes_on_where_it_was(evaluate: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    asked: list[str] = []

    def counting(request: Any, context: Any) -> Any:
        asked.append(context.thread_id)
        return mood_of(request, context)

    first = evaluate(CASES, counting, run="r", results=path)
    before = len(asked)
    again = evaluate(CASES, counting, run="r", results=path)
    assert len(asked) == before
    assert again.trials == first.trials
    assert read_results(path).trials == first.trials


def test_a_lost_line_costs_nothing(evaluate: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    evaluate(CASES, run="r", results=path)
    whole = path.read_text()
    path.write_text(whole[: len(whole) - 40])  # cut in the middle of the last line
    assert len(read_results(path).trials) == 1
    asked: list[str] = []
    evaluate(CASES, lambda request, context: asked.append("x"), run="r", results=path)
    assert asked == []
    assert {key: t.scores for key, t in read_results(path).trials.items()} == {
        key: t.scores for key, t in _parsed(whole).items()
    }


def _parsed(text: str) -> dict[Any, Any]:
    from stepgraph.evals.files.results import Trial

    trials = [Trial.from_json(json.loads(line)) for line in text.splitlines()[1:]]
    return {trial.key: trial for trial in trials}


def test_a_run_does_not_go_on_with_another_suite_or_models(evaluate: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    evaluate(CASES, run="r", results=path)
    with pytest.raises(InputError, match="another version of the suite"):
        evaluate(CASES.replace("I love it", "love"), run="r", results=path)
    with pytest.raises(InputError, match="go on with the same"):
        evaluate(CASES, run="r", results=path, models={"*": "local"})


def test_a_run_does_not_go_on_with_another_graph(session: Session, tmp_path: Path) -> None:
    suite, path = Suite("s", [Case("a", {"text": "I love it"})]), tmp_path / "r.jsonl"
    with ScriptedModel(mood_of) as model, using(model):
        run_suite(suite, graph.compile(), session, run="r", results=path)
        with pytest.raises(InputError, match="graph of another shape"):
            run_suite(suite, chain(graph, measure).compile(), session, run="r", results=path)


def test_a_name_used_again_without_its_file_takes_no_result_of_another_case(evaluate: Run) -> None:
    asked: list[str] = []

    def counting(request: Any, context: Any) -> Any:
        asked.append(context.thread_id)
        return mood_of(request, context)

    evaluate("cases:\n  - { id: a, input: { text: I love it } }\n", counting, run="r")
    results = evaluate("cases:\n  - { id: a, input: { text: I love tea } }\n", counting, run="r")
    assert len(set(asked)) == 2
    assert "I love tea" in str(results.trials["a", 1].output)


@pytest.mark.parametrize(
    "limits",
    [
        "budget: {{ calls: {n} }}",
        "budget: {{ calls: {n}, scope: team:x, per: month }}",
        "budget: [{{ calls: 90 }}, {{ calls: {n}, scope: team:x }}]",
        "trial_budget: {{ calls: {n}, scope: team:x }}",
    ],
)
def test_a_suites_budget_ends_it_and_a_larger_one_goes_on(evaluate: Run, tmp_path: Path, limits: str) -> None:
    path = tmp_path / "r.jsonl"
    asked: list[str] = []

    def counting(request: Any, context: Any) -> Any:
        asked.append(context.step)
        return mood_of(request, context)

    results = evaluate(limits.format(n=3) + "\n" + CASES, counting, run="r", results=path)
    assert (len(results.trials), results.complete, len(asked)) == (1, False, 3)
    report = summarise(results)
    assert report.outcome == "partial"
    results = evaluate(limits.format(n=4) + "\n" + CASES, counting, run="r", results=path)
    assert results.complete
    assert len(asked) == 4  # the trial went on in its middle


def test_a_budget_counts_what_was_spent_before(evaluate: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    evaluate("budget: { calls: 3 }\n" + CASES, run="r", results=path)
    again = evaluate("budget: { calls: 3 }\n" + CASES, run="r", results=path)
    assert len(again.trials) == 1


def test_a_trials_budget_cuts_it_and_that_is_told(evaluate: Run) -> None:
    results = evaluate("trial_budget: { calls: 2 }\n" + CASES)
    cut = results.trials["b", 1]
    assert (cut.status, cut.limit, cut.passed) == ("cut", "calls", False)
    (told,) = summarise(results).cuts
    assert (told.limit, told.trials, told.missing) == ("calls", 1, ("bad/refine_reply/reply",))


def test_a_model_that_nobody_bound_ends_the_suite(session: Session) -> None:
    with pytest.raises(UnboundRole):
        run_suite(suite_of(CASES), graph.compile(), session)


def test_a_closed_store_ends_the_suite(evaluate: Run, session: Session) -> None:
    def broken(request: Any, context: Any) -> Any:
        raise StoreError("full")

    with pytest.raises(StoreError):
        evaluate(CASES, broken)


def test_trials_run_at_a_time_but_not_more_than_told(session: Session) -> None:
    under_way = most = 0
    full = asyncio.Event()

    class Slow:
        name = "slow"

        async def complete(self, request: Any, context: Any) -> Any:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            if most == 5:
                full.set()
            async with asyncio.timeout(30):
                await full.wait()
            await asyncio.sleep(0.01)  # a sixth would come in between
            under_way -= 1
            return Reply(text='{"answer": "good"}', model="slow")

    cases = [Case(str(n), {"text": "x"}) for n in range(12)]
    with using(Slow()):
        results = run_suite(Suite("s", cases, concurrency=5), graph.compile(), session)
    assert results.complete
    assert most == 5


def test_a_suite_may_be_run_twice_beside_itself(evaluate: Run, session: Session) -> None:
    one, other = evaluate(CASES), evaluate(CASES)
    assert one.header.run != other.header.run
    assert len(session.journal.query("SELECT DISTINCT thread_id FROM runs")) == 4


def test_a_run_needs_a_plain_name(evaluate: Run) -> None:
    with pytest.raises(InputError, match=r"'\.\./x' is no name for a run"):
        evaluate(CASES, run="../x")


def test_a_budget_is_the_same_object_for_all(session: Session) -> None:
    suite = Suite("s", [Case(str(n), {"text": "x"}) for n in range(9)], budget=Budget(calls=5), concurrency=9)
    asked = []

    def good(request: Any, context: Any) -> str:
        asked.append(context.thread_id)
        return "good"

    with ScriptedModel(good) as model, using(model):
        results = run_suite(suite, graph.compile(), session)
    assert (len(asked), len(results.trials)) == (5, 5)


def test_of_many_runs_of_a_suite_no_two_have_one_name() -> None:
    suite, number = suite_of(CASES), 40_000  # of 24 random bits, about 48 pairs would be equal
    assert len({new_run(suite) for _ in range(number)}) == number
