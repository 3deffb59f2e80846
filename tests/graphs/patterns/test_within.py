"""A budget for a part: what each execution has, what a resume has left, and where it cannot be kept."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, refine, run, step, using, within
from stepgraph.errors import InputError
from stepgraph.state.session.default import NotKeptWarning


@dataclass
class Post:
    draft: str = ""
    more: str = ""
    end: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write on {post.draft}")


@step("more")
def extend(post: Post) -> Ask[str]:
    return Ask(f"Extend {post.draft}")


@step("end")
def finish(post: Post) -> Ask[str]:
    return Ask("Finish")


def never(post: Post) -> bool:
    return False


def say(request: Any, context: Any) -> str:
    return f"{request.messages[-1]['content']}!"


@pytest.mark.parametrize("sync", [True, False])
def test_each_execution_begins_with_the_whole_budget(session: Session, sync: bool) -> None:
    loop = refine(within(chain(write, extend), Budget(calls=2)), never, until=bool, rounds=3)
    app, config = loop.compile(), session.config("t")
    with using(model := ScriptedModel(say)):
        result = app.invoke(Post(), config) if sync else asyncio.run(app.ainvoke(Post(), config))
    assert len(model.asks) == 6
    assert result["draft"].count("Write on") == 3


def test_a_resume_goes_on_with_what_is_left(session: Session) -> None:
    def limited(calls: int) -> Any:
        return chain(within(chain(write, extend, name="both"), Budget(calls=calls)), finish).compile()

    with using(model := ScriptedModel(say)):
        stopped = run(limited(1), Post(), session, "t")
        assert "the part 'both' ended: calls = 1" in str(stopped.limit)
        again = run(limited(1), None, session, "t")
        assert (again.status, len(model.asks)) == ("partial", 1)
        assert run(limited(2), None, session, "t").status == "done"
    assert len(model.asks) == 3


def test_what_a_scope_shares_is_all_that_it_may_spend(session: Session) -> None:
    shared = [Budget(calls=1, scope="user:ada")]
    app = chain(within(write, shared), finish, within(extend, shared)).compile()
    with using(model := ScriptedModel(say)):
        result = run(app, Post(), session, "t")
    assert (result.status, result.missing) == ("partial", ("within_extend/extend/extend",))
    assert len(model.asks) == 2


@pytest.mark.parametrize(("supersteps", "status"), [(1, "partial"), (9, "done"), (None, "done")])
def test_the_supersteps_of_the_part_are_counted(
    session: Session, supersteps: int | None, status: str
) -> None:
    app = chain(within(chain(write, extend), Budget(supersteps=supersteps))).compile()
    with using(ScriptedModel(say)):
        assert run(app, Post(), session, "t").status == status


@pytest.mark.parametrize("by_hand", [True, False])
def test_where_a_thread_is_kept_without_a_session_nothing_could_count(by_hand: bool) -> None:
    graph: Any = within(write, Budget(calls=1), name="mine")
    if by_hand:
        outer: Any = StateGraph(Post)
        outer.add_node("inner", graph.compile())
        outer.add_edge(START, "inner")
        graph = outer
    told = pytest.raises(InputError, match="The part 'mine' has a budget")
    warned = pytest.warns(NotKeptWarning) if by_hand else nullcontext()
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as file:
        app = graph.compile(checkpointer=SqliteSaver(file))
        with using(model := ScriptedModel(say)), warned, told:
            app.invoke(Post(), {"configurable": {"thread_id": "t"}})
    assert not model.asks
