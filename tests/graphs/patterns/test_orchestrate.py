"""The orchestrator: sound plans, repairs, rounds, failures, limits, cost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from stepgraph import (
    Budget,
    PlanRules,
    ScriptedModel,
    Session,
    chain,
    fan_out,
    orchestrate,
    refine,
    rule,
    run,
    using,
)
from stepgraph.nodes.costs import least, most
from stepgraph.state.errors import DefinitionError, InputError, ModelRefused

from ...simulated_time import SimulatedLoop
from .studies import Study, Task, answers, plan, research, study, tasks, wants, write_up


@pytest.mark.parametrize("sync", [True, False])
def test_subtasks_are_planned_worked_on_and_put_together(session: Session, sync: bool) -> None:
    app = study.compile()
    with ScriptedModel(answers(tasks("history", "taste"))) as model, using(model):
        config = session.config("t")
        result = app.invoke(Study(), config) if sync else asyncio.run(app.ainvoke(Study(), config))
    assert result["report"] == "WRITE UP: RESEARCH HISTORY; RESEARCH TASTE"
    assert [task.title for task in result["findings"]] == ["history", "taste"]
    assert set(result) == {"subject", "tasks", "more", "findings", "missing", "report", "complete"}


async def test_every_node_is_streamed(session: Session) -> None:
    script = answers(tasks("history", "taste"), more=(tasks("price"), tasks()))
    with ScriptedModel(script) as model, using(model):
        stream = further.compile().astream(Study(), session.config("t"), stream_mode="updates")
        seen = [name async for update in stream for name in update]
    one, two = ["research", "collect", "write_up", "wants"], ["research"]
    assert seen == ["plan", *two, *one, *one]


@pytest.mark.parametrize("broken", ["Subtasks for tea", "Research taste", "Write up: RESEARCH"])
def test_after_a_failed_model_call_only_what_is_missing_is_paid_for(session: Session, broken: str) -> None:
    inner, failing = answers(tasks("history", "taste"), tasks("history", "taste")), iter([True])

    def answer(request: Any, context: Any) -> Any:
        hit = str(request.messages[-1]["content"]).startswith(broken) and next(failing, False)
        return ModelRefused("no") if hit else inner(request, context)

    app = study.compile()
    with ScriptedModel(answer) as model, using(model):
        with pytest.raises(ModelRefused):
            app.invoke(Study(), session.config("t"))
        result = app.invoke(None, session.config("t"))
    assert result["report"] == "WRITE UP: RESEARCH HISTORY; RESEARCH TASTE"
    assert len(model.asks) == 4 + 1


@pytest.mark.parametrize("number", [1, 3, 8])
def test_a_round_costs_two_calls_and_one_for_each_subtask(number: int) -> None:
    app = orchestrate(plan, research, write_up, into="findings", max_items=number, rules=PlanRules(tries=1))
    with ScriptedModel(answers(tasks(*(f"part{n}" for n in range(number))))) as model, using(model):
        app.compile().invoke(Study())
    assert len(model.asks) == 2 + number == most(app.cost)
    assert least(app.cost) == 3


further = orchestrate(
    plan, research, write_up, into="findings", more=wants, rounds=3, max_items=4, rules=PlanRules(tries=1)
)


def test_more_work_until_it_is_enough(session: Session) -> None:
    script = answers(tasks("history"), more=(tasks("taste", "price"), tasks()))
    with ScriptedModel(script) as model, using(model):
        result = further.compile().invoke(Study(), session.config("t"))
    assert [task.title for task in result["findings"]] == ["history", "taste", "price"]
    assert result["report"] == "WRITE UP: RESEARCH HISTORY; RESEARCH TASTE; RESEARCH PRICE"
    assert len(model.asks) == (2 + 1) + (2 + 2) + 1
    rows = session.journal.query("SELECT choice FROM decisions ORDER BY decided_at")
    assert [row["choice"] for row in rows] == ["1 subtasks", "2 subtasks", "enough"]


def test_rounds_are_bounded_and_cost_two_calls_and_their_subtasks_each() -> None:
    script = answers(tasks("a", "b", "c", "d"), more=(tasks("e", "f", "g", "h"), tasks("i", "j", "k", "l")))
    with ScriptedModel(script) as model, using(model):
        result = further.compile().invoke(Study())
    assert len(result["findings"]) == 12
    assert len(model.asks) == 3 * (2 + 4) == most(further.cost)
    assert least(further.cost) == 3


def test_what_is_done_already_is_not_done_again(session: Session) -> None:
    script = answers(tasks("history", "taste"), more=(tasks("Taste", "price"), tasks("price", "history")))
    with ScriptedModel(script) as model, using(model):
        result = further.compile().invoke(Study(), session.config("t"))
    assert [task.title for task in result["findings"]] == ["history", "taste", "price"]
    rows = session.journal.query("SELECT choice, reason FROM decisions ORDER BY decided_at")
    assert [(row["choice"], row["reason"]) for row in rows] == [
        ("2 subtasks", "round 1: history; taste"),
        ("1 subtasks", "round 2: price | done already: Taste"),
        ("enough", "2 rounds | done already: price; history"),
    ]


def test_code_says_what_else(session: Session) -> None:
    def untold(study: Study) -> list[Task]:
        return [] if "PRICE" in study.report else [Task(title="price")]

    app = orchestrate(plan, research, write_up, into="findings", more=untold, rounds=9).compile()
    with ScriptedModel(answers(tasks("history"))) as model, using(model):
        result = app.invoke(Study(), session.config("t"))
    assert result["report"] == "WRITE UP: RESEARCH HISTORY; RESEARCH PRICE"
    assert len(model.asks) == 5


def test_a_second_run_forgets_the_first(session: Session) -> None:
    app = further.compile()
    script = answers(tasks("a"), tasks("b"), more=(tasks(), tasks()))
    with ScriptedModel(script) as model, using(model):
        app.invoke(Study(), session.config("t"))
        result = app.invoke({"subject": "milk"}, session.config("t"))
    assert [task.title for task in result["findings"]] == ["b"]


def stubborn(task: Task) -> dict[str, str]:
    if task.title == "taste":
        raise ValueError("no source")
    return {"text": task.title.upper()}


def test_a_failed_subtask_is_left_out_named_and_may_be_planned_again(session: Session) -> None:
    app = orchestrate(
        plan,
        stubborn,
        write_up,
        into="findings",
        failed="skip",
        missing="missing",
        more=wants,
        rounds=2,
    ).compile()
    script = answers(tasks("history", "taste"), more=(tasks("taste", "price"),))
    with ScriptedModel(script) as model, using(model):
        result = app.invoke(Study(), session.config("t"))
    assert [task.title for task in result["findings"]] == ["history", "price"]
    assert result["missing"] == {"taste": "ValueError: no source"}


def test_what_fails_in_a_later_round_ends_nothing_and_what_succeeds_is_no_longer_missing(
    session: Session,
) -> None:
    failing = {"taste", "price"}

    def moody(task: Task) -> dict[str, str]:
        if task.title in failing:
            failing.remove(task.title)
            raise ValueError("no source")
        return {"text": task.title.upper()}

    options: dict[str, Any] = {"failed": "skip", "missing": "missing", "more": wants, "rounds": 3}
    app = orchestrate(plan, moody, write_up, into="findings", **options).compile()
    script = answers(tasks("history", "taste"), more=(tasks("price"), tasks("taste")))
    with ScriptedModel(script) as model, using(model):
        result = app.invoke(Study(), session.config("t"))
    assert [task.title for task in result["findings"]] == ["history", "taste"]
    assert result["missing"] == {"price": "ValueError: no source"}
    with ScriptedModel(answers(tasks("history"), more=(tasks(),))) as model, using(model):
        result = app.invoke({"subject": "milk"}, session.config("t"))
    assert (len(result["findings"]), result["missing"]) == (1, {})


def test_a_failed_subtask_fails_the_whole_by_default() -> None:
    app = orchestrate(plan, stubborn, write_up, into="findings").compile()
    with (
        ScriptedModel(answers(tasks("history", "taste"))) as model,
        using(model),
        pytest.raises(ValueError, match="no source"),
    ):
        app.invoke(Study())


def test_nothing_is_made_of_nothing() -> None:
    app = orchestrate(plan, stubborn, write_up, into="findings", failed="skip").compile()
    with (
        ScriptedModel(answers(tasks("taste"))) as model,
        using(model),
        pytest.raises(InputError, match=r"Every one of 1 subtasks failed.*no source"),
    ):
        app.invoke(Study())


def test_a_straggler_is_left_out() -> None:
    async def wait(task: Task) -> dict[str, str]:
        await asyncio.sleep(30 if task.title == "taste" else 0)
        return {"text": task.title}

    options: dict[str, Any] = {"failed": "skip", "missing": "missing", "timeout_s": 0.2}
    app = orchestrate(plan, wait, write_up, into="findings", **options).compile()
    with ScriptedModel(answers(tasks("history", "taste"))) as model, using(model):
        result = SimulatedLoop().run(app.ainvoke(Study()))
    assert [finding.title for finding in result["findings"]] == ["history"]
    assert "took longer than 0.2 s" in result["missing"]["taste"]


def test_workers_are_patterns(session: Session) -> None:
    @rule("title")
    def judge(task: Task) -> str:
        return f"{task.title}!"

    worker = refine(research, judge, until=lambda title: title.endswith("!!"), rounds=3)
    app = orchestrate(plan, worker, write_up, into="findings").compile()
    with ScriptedModel(answers(tasks("history", "taste"))) as model, using(model):
        result = app.invoke(Study(), session.config("t"))
    assert [task.title for task in result["findings"]] == ["history!!", "taste!!"]


def test_a_person_is_asked_inside(session: Session) -> None:
    def approve(task: Task) -> dict[str, str]:
        return {"text": interrupt(task.title)}

    graph = orchestrate(plan, chain(research, approve), write_up, into="findings").compile()
    with ScriptedModel(answers(tasks("history", "taste"))) as model, using(model):
        graph.invoke(Study(), session.config("t"))
        waiting = graph.get_state(session.config("t")).interrupts
        assert len(waiting) == 2
        reply = Command(resume={i.id: f"{i.value} is fine" for i in waiting})
        result = graph.invoke(reply, session.config("t"))
    assert result["report"] == "WRITE UP: HISTORY IS FINE; TASTE IS FINE"
    assert len(model.asks) == 4


@pytest.mark.parametrize(("calls", "so_far"), [(1, set()), (2, {"a"}), (5, {"a", "b"})])
def test_a_budget_that_ends_inside_pauses_and_goes_on(session: Session, calls: int, so_far: set[str]) -> None:
    app = further.compile()
    script = answers(tasks("a", "b"), more=(tasks("c"), tasks()))
    with ScriptedModel(script) as model, using(model):
        stopped = run(app, Study(), session, "t", budget=Budget(calls=calls))
        assert (stopped.status, len(model.asks)) == ("partial", calls)
        assert {task.title for task in stopped.values["findings"]} == so_far
        done = run(app, None, session, "t", budget=Budget())
    assert [task.title for task in done.values["findings"]] == ["a", "b", "c"]
    assert len(model.asks) == 4 + 3 + 1


@dataclass
class Desk:
    subjects: list[str]
    studies: list[Study] = field(default_factory=list)


def test_an_orchestrator_is_a_worker(session: Session) -> None:
    def each(desk: Desk) -> list[Study]:
        return [Study(subject) for subject in desk.subjects]

    def answer(request: Any, context: Any) -> Any:
        return tasks(f"of {request.messages[-1]['content']}") if context.step == "plan" else "x"

    app = fan_out(each, study, into="studies").compile()
    with ScriptedModel(answer) as model, using(model):
        result = app.invoke(Desk(["a", "b"]), session.config("t"))
    assert [s.findings[0].title for s in result["studies"]] == ["of Subtasks for a", "of Subtasks for b"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"into": "finding"}, "Did you mean 'findings'"),
        ({"into": "report"}, "expected list\\[Task\\]"),
        ({"missing": "report"}, "expected dict\\[str, str\\]"),
        ({"max_items": 0}, "at least 1"),
        ({"rounds": 0}, "at least 1"),
        ({"timeout_s": -1}, "above 0"),
        ({"failed": "x"}, "'fail' or 'skip'"),
        ({"check": wants}, "needs `passes`"),
    ],
)
def test_bad_options(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        orchestrate(plan, research, write_up, **{"into": "findings", **options})


class Essay(BaseModel):
    subject: str = "tea"
    tasks: list[Task] = []
    findings: list[Task] = []
    text: str = ""


class Talk(TypedDict):
    tasks: list[Task]
    findings: list[Task]
    text: str


@pytest.mark.parametrize("kind", [Essay, Talk])
def test_states_of_other_kinds(session: Session, kind: Any) -> None:
    def outline(state: Any) -> list[Task]:
        return [Task(title="history"), Task(title="taste")]

    def else_(state: Any) -> list[Task]:
        return [Task(title="price")]

    def join(state: Any) -> dict[str, str]:
        found = state["findings"] if kind is Talk else state.findings
        return {"text": ",".join(task.text for task in found)}

    def shout(task: Task) -> dict[str, str]:
        return {"text": task.title.upper()}

    for function in (outline, else_, join):
        function.__annotations__["state"] = kind
    app = orchestrate(rule("tasks")(outline), shout, join, into="findings", more=else_).compile()
    given: Any = {"tasks": [], "findings": [], "text": ""}
    result = app.invoke(given, session.config("t"))
    assert result["text"] == "HISTORY,TASTE,PRICE"
