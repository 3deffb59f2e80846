"""How runs end, and what a partial result holds."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from langgraph.types import Command, interrupt

from stepgraph import (
    Ask,
    ScriptedModel,
    Session,
    chain,
    estimate,
    fan_out,
    refine,
    section,
    step,
    using,
    vote,
)
from stepgraph.graphs.patterns.within import within
from stepgraph.runners.run import arun, run
from stepgraph.state.budget import Budget
from stepgraph.state.errors import InputError


@dataclass
class Post:
    topic: str = "tea"
    plan: str = ""
    draft: str = ""
    grade: int = 0
    end: str = ""


@step("plan")
def plan(post: Post) -> Ask[str]:
    return Ask("plan")


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"write {post.grade} {post.draft}")


@step("grade")
def judge(post: Post) -> Ask[int]:
    return Ask(f"judge {post.draft}")


@step("end")
def end(post: Post) -> Ask[str]:
    return Ask(f"end {post.draft}")


def approve(post: Post) -> dict[str, Any]:
    return {"end": interrupt("ok?")}


polish = refine(write, judge, until=lambda grade: grade >= 9, rounds=5)
ANSWERS = ["p", "good", 5, "worse", 3, "best", 9, "e"]


def test_a_budget_that_ends_in_a_loop_keeps_the_best_round_and_can_go_on(session: Session) -> None:
    graph = chain(plan, polish, end).compile()
    with ScriptedModel(ANSWERS) as model, using(model):
        first = run(graph, Post(), session, "t", budget=Budget(calls=5))
        assert (first.status, first.values["draft"], first.values["grade"]) == ("partial", "good", 5)
        assert first.values["plan"] == "p"
        assert first.missing == ("refine_write/write",)
        assert first.spent.calls == 5
        assert "stepgraph_rounds" not in first.values
        done = run(graph, None, session, "t", budget=Budget(calls=8))
    assert (done.status, done.values["draft"], done.values["end"], done.spent.calls) == (
        "done",
        "best",
        "e",
        8,
    )


def test_a_part_has_a_budget_of_its_own_for_each_execution(session: Session) -> None:
    def graph(calls: int) -> Any:
        return chain(plan, within(polish, Budget(calls=calls)), end).compile()

    with ScriptedModel(ANSWERS) as model, using(model):
        first = run(graph(3), Post(), session, "t")
        assert (first.status, first.spent.calls) == ("partial", 4)
        assert first.limit is not None
        assert "the part 'refine_write' ended: calls = 3" in first.limit
        assert run(graph(3), None, session, "t").spent.calls == 4
        assert run(graph(6), None, session, "t").status == "done"


def test_a_part_within_a_run_is_held_by_the_tighter_limit(session: Session) -> None:
    graph = chain(plan, within(polish, Budget(calls=100))).compile()
    drafts = iter(range(100))
    with using(ScriptedModel(lambda _, context: 1 if context.step == "judge" else f"draft {next(drafts)}")):
        result = run(graph, Post(), session, "t", budget=Budget(calls=4))
    assert (result.status, result.spent.calls) == ("partial", 4)
    assert result.limit is not None
    assert "The budget of the run ended" in result.limit


def test_without_a_session_a_part_just_runs() -> None:
    with ScriptedModel(["d", 9]) as model, using(model):
        assert within(polish, Budget(calls=1)).compile().invoke(Post())["draft"] == "d"


async def test_supersteps_end_a_run_as_partial(session: Session) -> None:
    graph = chain(plan, write, end).compile()
    with using(ScriptedModel(["p", "d"])):
        result = await arun(graph, Post(), session, "t", budget=Budget(supersteps=2))
    assert (result.status, result.values["draft"], result.missing) == ("partial", "d", ("end",))
    assert result.limit == "supersteps = 2"
    with using(ScriptedModel(["e"])):
        assert (await arun(graph, None, session, "t", budget=Budget())).status == "done"


def test_an_interrupt_waits_beside_a_budget(session: Session) -> None:
    graph = chain(plan, approve).compile()
    with ScriptedModel(["p"]) as model, using(model):
        first = run(graph, Post(), session, "t", budget=Budget(calls=9))
        assert (first.status, [item.value for item in first.waiting]) == ("interrupted", ["ok?"])
        done = run(graph, Command(resume="yes"), session, "t")
    assert (done.status, done.values["end"]) == ("done", "yes")


def test_errors_of_nodes_are_raised(session: Session) -> None:
    def fail(post: Post) -> None:
        raise ZeroDivisionError("by nought")

    with pytest.raises(ZeroDivisionError):
        run(chain(fail).compile(), Post(), session, "t")


@dataclass
class Many:
    posts: list[Post] = field(default_factory=list)
    draft: str = ""


def split(many: Many) -> list[Post]:
    return [Post(str(number)) for number in range(5)]


long = chain(plan, write, end, name="long")


@pytest.mark.parametrize(
    ("graph", "given"),
    [
        (chain(within(long, Budget(supersteps=2))), Post()),
        (fan_out(split, within(long, Budget(supersteps=2)), into="posts", failed="skip"), Many()),
        (vote(within(long, Budget(supersteps=2)), 3, field="draft", uncertain=""), Post()),
    ],
    ids=["within", "fan_out", "vote"],
)
@pytest.mark.parametrize("sync", [True, False])
async def test_supersteps_that_end_inside_pause_the_part_and_are_no_failure_of_it(
    session: Session, graph: Any, given: Any, sync: bool
) -> None:
    app = graph.compile()
    with using(ScriptedModel(lambda request, context: "x")):
        if sync:
            result = await asyncio.to_thread(app.invoke, given, session.config("t"))
            assert "supersteps = 2" in result["__interrupt__"][0].value["message"]
        else:
            first = await arun(app, given, session, "t")
            assert first.status == "partial"
            assert "supersteps = 2" in (first.limit or "")
        assert (await arun(app, None, session, "t")).status == "done"


async def test_supersteps_of_the_run_that_end_in_a_worker_end_the_run(session: Session) -> None:
    app = fan_out(split, long, into="posts", failed="skip").compile()
    with using(ScriptedModel(lambda request, context: "x")):
        first = await arun(app, Many(), session, "t", budget=Budget(supersteps=2))
        assert first.status == "partial"
        done = await arun(app, None, session, "t", budget=Budget())
    assert (done.status, len(done.values["posts"])) == ("done", 5)


def test_branches_that_pause_beside_each_other_keep_what_each_of_them_did(session: Session) -> None:
    parts = {"plan": chain(plan, judge), "draft": chain(write, end)}
    graph = section(parts).compile()
    with using(ScriptedModel({"plan": ["p"], "write": ["d"]})):
        result = run(graph, Post(), session, "t", budget=Budget(calls=2))
    assert (result.values["plan"], result.values["draft"]) == ("p", "d")


def test_what_a_nested_graph_did_before_its_interrupt_is_in_the_values(session: Session) -> None:
    graph = chain(chain(plan, approve, name="inner")).compile()
    with using(ScriptedModel(["p"])):
        result = run(graph, Post(), session, "t")
    assert (result.status, result.values["plan"]) == ("interrupted", "p")


def test_an_unknown_lane_is_told_before_anything_is_paid(session: Session) -> None:
    app, wrong = chain(plan).compile(), {"lane": "bacth"}
    with ScriptedModel([]) as model, using(model):
        for try_it in (lambda: run(app, Post(), session, "t", **wrong), lambda: estimate(app, **wrong)):
            with pytest.raises(InputError, match=r"'bacth'; expected 'live' or 'batch'\. Did you mean"):
                try_it()
    assert session.journal.query("SELECT * FROM runs") == []


@pytest.mark.parametrize("thread_id", [None, "named"])
async def test_a_new_thread_does_not_block_its_event_loop_by_reading_what_it_had(
    session: Session, monkeypatch: pytest.MonkeyPatch, thread_id: str | None
) -> None:
    """Others run in it, and a database may be far away."""
    here, query = threading.get_ident(), session.journal.query

    def in_a_thread(sql: str, values: Any = ()) -> Any:
        assert threading.get_ident() != here, sql
        return query(sql, values)

    app = chain(write, end).compile()
    with using(ScriptedModel({"write": "d", "end": "e"})), monkeypatch.context() as patch:
        patch.setattr(session.journal, "query", in_a_thread)
        result = await arun(app, Post(), session, thread_id, budget=Budget(calls=1))
    assert (result.status, session.spent(result.thread_id).calls) == ("partial", 1)


async def test_the_budget_of_a_thread_that_is_named_counts_what_it_had(session: Session) -> None:
    with using(ScriptedModel({"plan": "p", "write": "d", "end": "e"})):
        await arun(chain(plan).compile(), Post(), session, "t")
        app = chain(write, end).compile()
        result = await arun(app, Post(), session, "t", budget=Budget(calls=2), allow_changed_graph=True)
    assert (result.status, session.spent("t").calls) == ("partial", 2)
