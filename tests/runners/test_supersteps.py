"""A budget of k supersteps is enough for a graph that needs k, at every depth, and not for more."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, StateGraph

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, fan_out, section, step, using, vote, within
from stepgraph.runners.result import BudgetEnd
from stepgraph.runners.run import resume, run
from stepgraph.state.budget import Ledger
from stepgraph.state.names import without_private
from stepgraph.state.session.pauses import budget_end


@dataclass
class Post:
    topic: str = ""
    draft: str = ""
    log: Annotated[list[str], lambda old, new: old + new] = field(default_factory=list)


@dataclass
class Many:
    posts: list[Post] = field(default_factory=list)


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"{post.topic} {len(post.log)}")


def note(post: Post) -> dict[str, Any]:
    return {"log": [post.draft]}


def split(many: Many) -> list[Post]:
    return [Post(str(number)) for number in range(3)]


def three(name: str = "three") -> Any:
    return chain(write, note, note, name=name)


def by_hand(part: Any) -> Any:
    graph: Any = StateGraph(Post)
    graph.add_node("part", part.compile())
    graph.add_edge(START, "part")
    graph.add_edge("part", END)
    return graph


SHAPES: dict[str, tuple[Any, Any]] = {
    "root": (three(), Post()),
    "nested": (chain(three(), note), Post()),
    "deeply nested": (chain(chain(chain(three()))), Post()),
    "branches": (section({"a": three("a"), "b": chain(note)}), Post()),
    "nested branches": (chain(section({"a": chain(three()), "b": note})), Post()),
    "workers": (fan_out(split, three(), into="posts"), Many()),
    "voters": (vote(three(), 3, field="draft", uncertain=""), Post()),
    "compiled": (chain(three().compile(), note), Post()),
    "by hand": (by_hand(three()), Post()),
}


def limited(shape: str, limit: int, session: Session, how: str) -> tuple[str, dict[str, Any]]:
    """Run a shape and return how it ended, and its values in the end."""
    graph, given = SHAPES[shape]
    if how == "within":
        app, budget = chain(within(graph, Budget(supersteps=limit))).compile(), None
    else:
        app, budget = graph.compile(), Budget(supersteps=limit)
    if how in ("run", "within"):
        result = run(app, given, session, "t", budget=budget)
        status = result.status
    else:
        config = session.config("t", budget=budget)
        try:
            values = app.invoke(given, config) if how == "invoke" else asyncio.run(app.ainvoke(given, config))
        except GraphRecursionError:
            status = "partial"
        else:
            status = "partial" if budget_end(values.get("__interrupt__", ())) else "done"
    if status == "done":
        return status, without_private(app.get_state(session.config("t")).values)
    return status, resume(app, session, "t", budget=Budget()).values


WAYS = ("run", "invoke", "ainvoke", "within")
CASES = [(shape, how) for shape in SHAPES for how in WAYS if (shape, how) != ("by hand", "within")]


@pytest.mark.parametrize(("shape", "how"), CASES)
def test_k_supersteps_are_enough_for_k(shape: str, how: str, tmp_path: Any) -> None:
    with using(ScriptedModel(lambda request, context: "x")):
        ended = {}
        for limit in (2, 3):
            with Session(tmp_path / f"{limit}.sqlite") as session:
                status, values = limited(shape, limit, session, how)
                ended[limit] = status, repr(values), session.spent("t").calls
    assert (ended[2][0], ended[3][0]) == ("partial", "done")
    assert ended[2][1:] == ended[3][1:]


def test_of_two_limits_the_smaller_one_ended_the_run(session: Session) -> None:
    wide = Ledger(Budget(supersteps=1000), scope="all")
    with using(ScriptedModel(lambda request, context: "x")):
        result = run(three().compile(), Post(), session, "t", budget=Budget(supersteps=2), ledgers=(wide,))
    assert result.status == "partial"
    assert result.budget_end == BudgetEnd("supersteps = 2", "supersteps", "the run")
