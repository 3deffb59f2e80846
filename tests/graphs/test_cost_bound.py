"""Estimates: calls from the topology, tokens and money from prompts and prices, and what runs cost before."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from stepgraph import (
    Ask,
    ScriptedModel,
    Session,
    Workflow,
    agent,
    attempt,
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
from stepgraph.graphs.cost_bound import estimate
from stepgraph.nodes.costs import cost_of, least, most
from stepgraph.providers.prices import Price
from stepgraph.state.budget import Budget
from stepgraph.state.errors import InvalidAnswer

from ..servers import Answer, ChatServer


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


def len_of(text: str) -> int:
    """Count letters."""
    return len(text)


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
    "fan_out": (fan_out(split, chain(plan, write), into="posts", max_items=10), 0, 20),
    "attempt": (attempt(chain(plan, write), otherwise=loop), 2, 8),
    "attempt with an update": (attempt(chain(plan, write), otherwise={}), 0, 2),
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


def test_only_the_last_turn_of_an_agent_is_tried_again() -> None:
    """What a model says beside its calls of tools is no answer, so nothing in it can be wrong."""
    found = estimate(agent(write, tools=[len_of], turns=3))
    assert (found.least_calls, found.most_calls, found.worst_calls) == (1, 4, 3 + 2)


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


@dataclass
class Log:
    number: int = 0
    lines: Annotated[list[str], operator.add] = field(default_factory=list)


@step("lines")
def add(log: Log) -> Ask[list[str]]:
    return Ask(f"Line {log.number}")


def by_hand(*edges: tuple[str, str]) -> Any:
    graph: Any = StateGraph(Log)
    for name in sorted({name for edge in edges for name in edge} - {START, END}):
        graph.add_node(name, add)
    for edge in edges:
        graph.add_edge(*edge)
    return graph


def test_a_node_by_hand_runs_in_each_superstep_that_leads_to_it() -> None:
    uneven = by_hand((START, "a"), (START, "c"), ("a", "b"), ("b", "d"), ("c", "d"), ("d", END))
    assert most(cost_of(uneven.compile())) == 5
    joined = by_hand((START, "a"), (START, "c"), ("a", "b"))
    joined.add_node("d", add)
    joined.add_edge(["b", "c"], "d")
    assert most(cost_of(joined.compile())) == 4
    deferred = by_hand((START, "a"), (START, "c"), ("a", "b"))
    deferred.add_node("d", add, defer=True)
    deferred.add_edge("b", "d")
    deferred.add_edge("c", "d")
    assert most(cost_of(deferred.compile())) == 4


def test_what_is_sent_to_by_hand_has_no_bound() -> None:
    graph = by_hand(("a", END))
    graph.add_conditional_edges(START, lambda log: [Send("a", Log(n)) for n in range(5)], ["a"])
    assert math.isinf(estimate(graph.compile()).worst_calls)


def test_a_loop_of_commands_by_hand_has_no_bound() -> None:
    def decide(log: Log) -> Command[Any]:
        return Command(goto="a" if log.number < 3 else END)

    graph = by_hand((START, "a"))
    graph.add_node("decide", decide, destinations=("a", END))
    graph.add_edge("a", "decide")
    assert math.isinf(estimate(graph.compile()).worst_calls)


async def test_a_chain_of_models_can_be_paid_for_each_of_its_answers(server: ChatServer) -> None:
    server.always = Answer("no number")
    chained = {"models": [server.spec(), server.spec(model="second")], "on": ["invalid"]}
    graph = chain(judge)
    with using(chained):
        assert estimate(graph).worst_calls == 2
        with pytest.raises(InvalidAnswer):
            await graph.compile().ainvoke(Post())
        assert estimate(chain(check)).worst_calls == 6
    assert server.calls == 2


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
    assert found.unknown == ("no model is bound to the role 'default' of 'plan', 'write'",)
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


def test_each_step_costs_what_the_model_of_the_graph_around_it_costs() -> None:
    def served(name: str) -> dict[str, Any]:
        return {"base_url": "http://127.0.0.1:9/v1", "model": name}

    inner = chain(plan, plan.on("large"), name="inner").compile(models={"default": served("inner")})
    again = chain(inner, plan.on("small"), name="middle").compile(
        models={"small": served("middle"), "large": served("other")}
    )
    outer = chain(again, classify).compile(models=served("outer"))
    assert [each.model for each in estimate(outer).steps] == ["inner", "other", "middle", "outer"]
    with using(served("block")):
        assert {each.model for each in estimate(outer).steps} == {"block"}
