"""The plans of an orchestrator: which are refused, asked for again, repaired or checked."""

from __future__ import annotations

from typing import Any

import pytest

from stepgraph import (
    Ask,
    PlanRules,
    ScriptedModel,
    Session,
    nearest,
    orchestrate,
    rule,
    step,
    using,
)
from stepgraph.nodes.costs import most
from stepgraph.state.errors import DefinitionError, InputError, InvalidAnswer

from .studies import Study, Task, answers, plan, research, study, tasks, wants, write_up


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (tasks(), "The plan is empty"),
        (tasks("a", "b", "c", "d"), "4 subtasks, but at most 3"),
        (
            tasks("history of tea", "taste", "the history of tea"),
            "Subtasks 1 and 3 overlap: 'history of tea'",
        ),
        (tasks("History", "HISTORY!"), "Subtasks 1 and 2 overlap"),
        (tasks("history", " - "), "Subtask 2 says nothing"),
        ("{my plan", "not valid JSON"),
        ([{"name": "history"}], "title: Field required"),
    ],
)
def test_a_bad_plan_is_asked_for_again_with_the_reason(session: Session, bad: Any, told: str) -> None:
    app = orchestrate(
        plan, research, write_up, into="findings", max_items=3, rules=PlanRules(similarity=0.7)
    ).compile()
    with ScriptedModel(answers(bad, tasks("history", "taste"))) as model, using(model):
        result = app.invoke(Study(), session.config("t"))
    assert len(result["findings"]) == 2
    said = model.asks[1][1].messages
    assert told in said[-1]["content"]
    assert said[-2]["role"] == "assistant"
    assert len(model.asks) == 1 + 2 + 2


def test_overlapping_subtasks_can_be_dropped_without_asking_again() -> None:
    app = orchestrate(
        plan, research, write_up, into="findings", rules=PlanRules(overlapping="drop")
    ).compile()
    with ScriptedModel(answers(tasks("tea", "Tea!", "taste", "TEA"))) as model, using(model):
        result = app.invoke(Study())
    assert [task.title for task in result["findings"]] == ["tea", "taste"]
    assert [task.title for task in result["tasks"]] == ["tea", "taste"]
    assert len(model.asks) == 4


def test_a_plan_that_stays_bad_is_refused_with_the_plan_in_the_error() -> None:
    app = orchestrate(plan, research, write_up, into="findings", rules=PlanRules(tries=2)).compile()
    with (
        ScriptedModel(answers(tasks("tea", "tea"), tasks("cup", "cup"))) as model,
        using(model),
        pytest.raises(InvalidAnswer, match=r"'plan' gave no sound plan in 2 tries.*overlap.*'cup'") as caught,
    ):
        app.invoke(Study())
    assert "tea" in caught.value.answers[0]
    assert "cup" in caught.value.answers[1]
    assert "cup" in str(caught.value).partition("Last plan")[2]
    assert len(model.asks) == 2


def test_by_default_a_plan_is_asked_for_three_times_and_told_with_its_first_2000_characters() -> None:
    long = "x" * 3000
    app = orchestrate(plan, research, write_up, into="findings", max_items=1).compile()
    with (
        ScriptedModel(answers(tasks(), tasks("a", "b"), tasks(long, long))) as model,
        using(model),
        pytest.raises(InvalidAnswer, match="no sound plan in 3 tries") as caught,
    ):
        app.invoke(Study())
    assert caught.value.problems == "The plan has 2 subtasks, but at most 1 are allowed. Merge or drop some."
    assert str(caught.value).endswith(f"Last plan: {caught.value.answers[-1][:2000]}")
    assert len(model.asks) == 3


def test_a_plan_that_is_refused_already_is_not_checked() -> None:
    checked = []

    def covers(study: Study) -> bool:
        checked.append([task.title for task in study.tasks])
        return True

    app = orchestrate(plan, research, write_up, into="findings", check=covers, more=wants, rounds=3).compile()
    script = answers(tasks(), tasks("history"), more=(tasks("taste"), tasks()))
    with ScriptedModel(script) as model, using(model):
        app.invoke(Study())
    assert checked == [["history"]], "nor is what comes later"


def test_a_plan_that_is_never_json_is_refused_with_the_answer_in_the_error() -> None:
    with (
        ScriptedModel(answers("{one", "{two", "{three")) as model,
        using(model),
        pytest.raises(InvalidAnswer, match=r"Last answer: '\{three'"),
    ):
        study.compile().invoke(Study())


def test_a_plan_made_by_code_is_refused_at_once() -> None:
    @rule("tasks")
    def outline(study: Study) -> list[Task]:
        return [Task(title="tea"), Task(title="tea")]

    with pytest.raises(InputError, match=r"'outline' gave no sound plan.*overlap.*Last plan"):
        orchestrate(outline, research, write_up, into="findings").compile().invoke(Study())


def test_a_plan_that_leaves_something_out_is_repaired(session: Session) -> None:
    def covers(study: Study) -> bool | str:
        return any("taste" in task.title for task in study.tasks) or "nothing is said of the taste."

    app = orchestrate(plan, research, write_up, into="findings", check=covers).compile()
    with ScriptedModel(answers(tasks("history"), tasks("history", "taste"))) as model, using(model):
        result = app.invoke(Study(), session.config("t"))
    assert len(result["findings"]) == 2
    assert "nothing is said of the taste" in model.asks[1][1].messages[-1]["content"]
    reasons = session.journal.query("SELECT reason FROM decisions")
    assert [row["reason"] for row in reasons] == [
        "round 1: history; taste | repaired: nothing is said of the taste."
    ]


def test_a_subtask_is_briefed_from_the_state(session: Session) -> None:
    def brief(study: Study, task: Task) -> Task:
        return Task(title=f"{task.title} of {study.subject}")

    app = orchestrate(plan, research, write_up, into="findings", brief=brief).compile()
    with ScriptedModel(answers(tasks("history", "taste"))) as model, using(model):
        result = app.invoke(Study(), session.config("t"))
    assert [task.title for task in result["findings"]] == ["history of tea", "taste of tea"]


def test_another_model_checks_the_plan(session: Session) -> None:
    @step("complete", model="judge")
    def complete(study: Study) -> Ask[bool]:
        return Ask(f"Complete? {[task.title for task in study.tasks]}")

    app = orchestrate(
        plan, research, write_up, into="findings", check=complete, passes=bool, rules=PlanRules(tries=2)
    )
    script = {
        "plan": [tasks("a"), tasks("a", "b")],
        "complete": [False, True],
        "research": ["A", "B"],
        "write_up": ["AB"],
    }
    with ScriptedModel(script) as model, using(model):
        app.compile().invoke(Study(), session.config("t"))
    assert len(model.asks) == 7
    assert most(app.cost) == 2 * 2 + 8 + 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tries": 0}, "at least 1"),
        ({"similarity": 0}, "above 0 to 1"),
        ({"similarity": 1.5}, "above 0 to 1"),
        ({"overlapping": "x"}, "'repair' or 'drop'"),
    ],
)
def test_bad_rules(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        PlanRules(**options)


def test_a_function_is_no_plan() -> None:
    def outline(study: Study) -> list[Task]:
        return []

    with pytest.raises(DefinitionError, match="needs no plan: fan_out"):
        orchestrate(outline, research, write_up, into="findings")  # type: ignore[arg-type]

    @nearest({"tea": ["A cup of tea"]})
    def topic(study: Study) -> str:
        return study.subject

    with pytest.raises(DefinitionError, match="a rule with a field"):
        orchestrate(topic, research, write_up, into="findings")
