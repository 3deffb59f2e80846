"""Estimates: calls from the topology, tokens and money from prompts and prices, and what runs cost before."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from langgraph.graph import END, START, StateGraph

from stepgraph import (
    Ask,
    ScriptedModel,
    Session,
    Workflow,
    chain,
    ensemble,
    fan_out,
    gate,
    guard,
    refine,
    route,
    section,
    step,
    using,
    vote,
    within,
)
from stepgraph.graphs.estimating import estimate
from stepgraph.nodes.costs import cost_of, least, most
from stepgraph.providers.prices import Price
from stepgraph.state.budget import Budget


@dataclass
class Post:
    topic: str = "tea"
    kind: Literal["howto", "opinion"] = "howto"
    outline: str = ""
    draft: str = ""
    score: int = 0
    ok: bool | None = None
    posts: list[Post] = field(default_factory=list)


@step("kind")
def classify(post: Post) -> Ask[Literal["howto", "opinion"]]:
    return Ask(post.topic)


@step("outline")
def plan(post: Post) -> Ask[str]:
    return Ask(post.topic)


@step("draft", tries=2)
def write(post: Post) -> Ask[str]:
    return Ask(f"{post.topic} {post.outline}", max_tokens=100)


@step("score", tries=1)
def judge(post: Post) -> Ask[int]:
    return Ask(post.draft)


@step("ok")
def check(post: Post) -> Ask[bool]:
    return Ask(post.draft)


def note(post: Post) -> dict[str, str]:
    return {"topic": post.topic}


def split(post: Post) -> list[Post]:
    return [Post("a"), Post("b")]


def good(score: int) -> bool:
    return score > 3


loop = refine(write, judge, until=good, rounds=3)
COSTS: dict[str, tuple[Workflow[Post], float, float]] = {
    "chain": (chain(plan, note, write), 2, 2),
    "chain with a model's gate": (chain(plan, gate(check, bool), write), 3, 3),
    "route": (route(classify, {"howto": chain(plan, write), "opinion": note}), 1, 3),
    "refine": (loop, 2, 6),
    "section": (section({"a": plan, "b": write, "c": judge}, merge=check), 4, 4),
    "vote": (vote(classify, 5, uncertain="howto"), 3, 5),
    "ensemble": (ensemble([write, chain(plan, write)], field="draft", score=len), 3, 3),
    "guard": (guard(chain(plan, write), check, bool, otherwise=write), 3, 4),
    "fan_out": (fan_out(split, chain(plan, write), into="posts", most=10), 0, 20),
    "within": (within(loop, Budget(calls=4)), 2, 6),
    "nested": (chain(section({"a": loop, "b": route(classify, {"howto": plan, "opinion": note})})), 3, 8),
}


@pytest.mark.parametrize("name", COSTS)
def test_calls_follow_from_the_topology(name: str) -> None:
    graph, fewest, greatest = COSTS[name]
    assert (least(cost_of(graph)), most(cost_of(graph))) == (fewest, greatest)
    found = estimate(graph)
    assert (found.least_calls, found.most_calls) == (fewest, greatest)


def test_tries_make_the_worst_case() -> None:
    assert estimate(loop).worst_calls == 3 * (2 + 1)


def test_a_compiled_graph_costs_what_its_workflow_does() -> None:
    assert most(cost_of(chain(loop.compile(), plan))) == 7


def test_graphs_by_hand() -> None:
    graph: Any = StateGraph(Post)
    graph.add_node("plan", plan)
    graph.add_node("write", write)
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "write")
    graph.add_conditional_edges("write", lambda post: END, {END: END})
    assert most(cost_of(graph.compile())) == 2
    looping: Any = StateGraph(Post)
    looping.add_node("write", write)
    looping.add_edge(START, "write")
    looping.add_conditional_edges("write", lambda post: END, {END: END, "write": "write"})
    assert math.isinf(most(cost_of(chain(looping.compile(), plan))))
    assert math.isinf(estimate(looping.compile()).most_calls)


PRICED = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "price": {"input": 1.0, "output": 10.0}}


def test_tokens_and_money_from_an_input() -> None:
    with using(PRICED):
        found = estimate(chain(write, write), Post("tea"))
    (line,) = found.steps
    assert (line.step, line.most, line.tries, line.prompt_from) == ("write", 2, 2, "input")
    assert line.answer_tokens == 100
    assert line.prompt_tokens is not None
    assert found.tokens == 4 * (line.prompt_tokens + 100)
    assert found.usd == pytest.approx(4 * (line.prompt_tokens * 1.0 + 100 * 10.0) / 1e6)
    assert found.unknown == ()


def test_what_is_not_known_is_said() -> None:
    found = estimate(chain(plan, write))
    assert (found.tokens, found.usd) == (None, None)
    assert found.unknown == (
        "no model is bound to the role 'default' of 'plan'",
        "no model is bound to the role 'default' of 'write'",
    )
    with using({"model": "m", "base_url": "http://127.0.0.1:9/v1"}):
        found = estimate(chain(plan, write), Post())
    assert "the answer of 'plan': set max_tokens for m" in found.unknown
    assert "the price of m: set price = { input = …, output = … }" in found.unknown


def test_a_free_model_is_free_at_any_length() -> None:
    with using("local"):
        assert estimate(plan_only).usd == 0


plan_only = chain(plan)


def test_a_bound_holds(session: Session) -> None:
    """What a run costs is at most what was estimated from its input, and is the past of the next."""
    price = Price(input=3, output=15)
    post = Post("A long history of tea. " * 20)
    graph = chain(write, write)
    app = graph.compile()
    with ScriptedModel(["one two three", "four"], price=price) as model, using(model):
        before = estimate(graph, post, session=session)
        app.invoke(post, session.config("t"))
        after = estimate(graph, session=session)
    spent = session.spent("t")
    assert before.past is None
    assert before.tokens is not None
    assert before.usd is not None
    assert spent.tokens <= before.tokens
    assert spent.usd <= before.usd
    assert after.steps[0].prompt_from == "past"
    assert after.past is not None
    assert (after.past.runs, after.past.calls, after.past.most_calls) == (1, 2, 2)
    assert after.past.usd == pytest.approx(spent.usd)
    assert after.past.tokens == spent.tokens


def test_only_runs_of_the_same_graph_are_its_past(session: Session) -> None:
    with ScriptedModel(["x"]) as model, using(model):
        chain(plan).compile().invoke(Post(), session.config("t"))
    assert estimate(chain(plan, write), session=session).past is None
