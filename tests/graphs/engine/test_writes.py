"""Nested graphs that write fields with reducers give what their nodes would give in the graph around them."""

from __future__ import annotations

import asyncio
import json
import operator
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Overwrite, interrupt
from pydantic import BaseModel, Field

from stepgraph import Session, chain, ensemble, guard, run, section, vote
from stepgraph.tracing.forks.fork import fork

from .writes_cases import Messages, Odd, begun, shift, shown, take_back, typed, writing


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {**old, **new}


def deeply(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {**old, **new}
    for key in old.keys() & new.keys():
        if isinstance(old[key], dict):
            both[key] = deeply(old[key], new[key])
    return both


def larger(old: int, new: int) -> int:
    return max(old, new)


def last_three(old: list[int], new: list[int]) -> list[int]:
    return (old + new)[-3:]


Facts = Annotated[dict[str, Any], merged]


Tree = Annotated[dict[str, Any], deeply]


Tags = Annotated[set[str], operator.or_]


Top = Annotated[int, larger]


Count = Annotated[int, operator.add]


Window = Annotated[list[int], last_three]


Tally = Annotated[Counter[str], operator.add]


@dataclass
class AsDataclass:
    messages: Messages = field(default_factory=list)
    facts: Facts = field(default_factory=dict)
    tree: Tree = field(default_factory=dict)
    tags: Tags = field(default_factory=set)
    top: Top = 0
    count: Count = 0
    window: Window = field(default_factory=list)
    tally: Tally = field(default_factory=Counter)


class AsDict(TypedDict):
    messages: Messages
    facts: Facts
    tree: Tree
    tags: Tags
    top: Top
    count: Count
    window: Window
    tally: Tally


class AsModel(BaseModel):
    messages: Messages = Field(default_factory=list)
    facts: Facts = Field(default_factory=dict)
    tree: Tree = Field(default_factory=dict)
    tags: Tags = Field(default_factory=set)
    top: Top = 0
    count: Count = 0
    window: Window = Field(default_factory=list)
    tally: Tally = Field(default_factory=Counter)


def begin() -> dict[str, Any]:
    return {
        "messages": [HumanMessage("hi", id="1"), AIMessage("old", id="2"), AIMessage("older", id="3")],
        "facts": {"a": 1, "b": 1},
        "tree": {"x": {"a": 1, "b": 1}, "y": 1},
        "tags": {"t"},
        "top": 3,
        "count": 5,
        "window": [1, 2, 3],
        "tally": Counter(a=1),
    }


PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "append": ({"messages": [AIMessage("new", id="4")]}, {"messages": [AIMessage("newer", id="5")]}),
    "edit": ({"messages": [AIMessage("fresh", id="2")]}, {"messages": [AIMessage("newer", id="5")]}),
    "remove": ({"messages": [RemoveMessage(id="2")]}, {"messages": [AIMessage("newer", id="5")]}),
    "remove two": ({"messages": [RemoveMessage(id="2")]}, {"messages": [RemoveMessage(id="3")]}),
    "edit and remove": ({"messages": [AIMessage("fresh", id="2")]}, {"messages": [RemoveMessage(id="3")]}),
    "all in one": (
        {"messages": [RemoveMessage(id="1"), AIMessage("fresh", id="2"), AIMessage("new", id="4")]},
        {"messages": [RemoveMessage(id="3")]},
    ),
    "merge": ({"facts": {"a": 2}}, {"facts": {"b": 2, "c": 2}}),
    "deep merge": ({"tree": {"x": {"a": 2}}}, {"tree": {"x": {"b": 2}, "y": 2}}),
    "union": ({"tags": {"u"}}, {"tags": {"v"}}),
    "max": ({"top": 9}, {"top": 6}),
    "count": ({"count": 2}, {"count": -4}),
    "last few": ({"window": [4]}, {"window": [5]}),
    "tally": ({"tally": Counter(a=2)}, {"tally": Counter(b=1)}),
    "one of them": ({"count": 1, "window": [4], "messages": [RemoveMessage(id="1")]}, {}),
}


def of_langgraph(state: Any, pair: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    graph: Any = StateGraph(state)
    for name, update in zip(("one", "two"), pair, strict=True):
        graph.add_node(name, writing(update, state))
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    values: dict[str, Any] = graph.compile().invoke(begin())
    return values


@pytest.mark.parametrize(("state", "depth"), [(AsDataclass, 3), (AsDict, 1), (AsModel, 2)])
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_chains_side_by_side(
    pair: tuple[dict[str, Any], dict[str, Any]], state: Any, depth: int, session: Session
) -> None:
    parts = {name: writing(update, state) for name, update in zip(("one", "two"), pair, strict=True)}
    for level in range(depth):
        parts = {name: chain(part, name=f"{name}_{level}") for name, part in parts.items()}
    graph = section(parts).compile()
    values = graph.invoke(begin(), session.config("t"))
    expected = of_langgraph(state, pair)
    assert {name: values[name] for name in expected} == expected


class Stop:
    """A node that stops the first time: it fails, or asks."""

    def __init__(self, how: str) -> None:
        self.how, self.stopped = how, False

    def __call__(self, state: Odd) -> dict[str, Any]:
        if self.how == "asks":
            return {"log": [interrupt("go on?")]}
        if not self.stopped:
            self.stopped = True
            raise ZeroDivisionError
        return {"log": ["yes"]}


def stopping(how: str) -> Any:
    def stop(state: Odd) -> dict[str, Any]:
        return node(state)

    node = Stop(how)
    return stop


BEFORE = ({"odd": 1, "log": ["a"], "messages": ("ai", "x")}, {"odd": 2, "words": {"a": 5}})


BESIDE = {"odd": 5, "log": ["z"], "top": 4, "words": {"a": 1}, "messages": ("ai", "beside")}


BEHIND = {"odd": 9, "top": 7, "log": ["b"], "messages": ("ai", "y")}


def around(stop: Any, depth: int) -> tuple[Any, Any]:
    first = [writing(update, Odd) for update in BEFORE]
    parts: list[Any] = [*first, stop, typed(take_back, Odd), writing(BEHIND, Odd)]
    nested = chain(*parts[depth:])
    for _ in range(depth):
        nested = chain(nested)
    return chain(*parts[:depth], nested), writing(BESIDE, Odd)


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("how", ["asks", "fails"])
@pytest.mark.parametrize("sync", [True, False])
def test_what_was_written_before_a_stop_is_kept(how: str, depth: int, sync: bool, session: Session) -> None:
    def flat_stop(state: Odd) -> dict[str, Any]:
        return {"log": ["yes"]}

    one, two = around(flat_stop, 0)
    expected = shown(chain(one, two).compile().invoke(begun()))
    one, two = around(stopping(how), depth)
    app = section({"a": one, "b": chain(chain(two))}).compile()

    def invoke(input: Any) -> Any:
        config = session.config("t")
        return app.invoke(input, config) if sync else asyncio.run(app.ainvoke(input, config))

    with nullcontext() if how == "asks" else pytest.raises(ZeroDivisionError):
        invoke(begun())
    new = fork(session, "t", graph=app)
    assert shown(invoke(Command(resume="yes") if how == "asks" else None)) == expected
    going_on = Command(resume="yes") if how == "asks" else None
    assert shown(app.invoke(going_on, session.config(new))) == expected


def test_a_stopped_branch_shows_what_it_has_with_what_is_beside_it(session: Session) -> None:
    def flat_stop(state: Odd) -> None: ...

    before, beside = [writing(update, Odd) for update in BEFORE], writing(BESIDE, Odd)
    expected = shown(chain(*before, beside).compile().invoke(begun()))
    one, two = around(stopping("asks"), 1)
    messages = [HumanMessage("hi", id="1")]
    result = run(
        section({"a": one, "b": chain(two)}).compile(), Odd(**{**begun(), "messages": messages}), session
    )
    assert result.status == "interrupted"
    shown_now = shown(result.values)
    for name in ("top", "words", "plain"):
        assert shown_now[name] == expected[name]
    assert sorted(shown_now["messages"]) == sorted(expected["messages"])
    assert sorted(shown_now["log"]) == sorted(expected["log"])


def test_an_overwrite_in_a_branch_is_one_in_the_whole() -> None:
    parts = [
        writing(update, Odd) for update in ({"odd": 1}, {"odd": Overwrite(50), "log": ["a"]}, {"odd": 3})
    ]
    values = (
        section({"a": chain(chain(*parts)), "b": writing({"odd": 7, "log": ["b"]}, Odd)})
        .compile()
        .invoke(begun())
    )
    assert (values["odd"], values["log"]) == (97, ["l", "a", "b"])


@pytest.mark.parametrize("pattern", ["vote", "guard", "ensemble"])
def test_what_the_chosen_one_wrote_is_written_as_it_was(pattern: str, session: Session) -> None:
    parts = [writing(update, Odd) for update in (*BEFORE, BEHIND, {"plain": "same"})]
    expected = shown(chain(*parts).compile().invoke(begun()))
    answer: Any = chain(chain(*parts[:2]), *parts[2:])
    graphs: dict[str, Any] = {
        "vote": lambda: vote([answer, answer, answer], field="plain", uncertain=""),
        "guard": lambda: guard(answer, typed(lambda state: True, Odd)),
        "ensemble": lambda: ensemble([answer, answer], field="plain", score=len),
    }
    app = graphs[pattern]().compile()
    assert shown(app.invoke(begun(), session.config("t"))) == expected


class Plain(TypedDict, total=False):
    log: list[str]
    odd: Annotated[int, shift]


@pytest.mark.parametrize("beside", [True, False])
def test_a_compiled_graph_may_have_other_reducers(beside: bool) -> None:
    graph: Any = StateGraph(Plain)
    graph.add_node("replace", lambda state: {"log": [*state["log"], "new"], "odd": 4})
    graph.add_edge(START, "replace")
    graph.add_edge("replace", END)
    other = writing({"plain": "x", "odd": 1}, Odd)
    compiled = graph.compile()
    outer = section({"a": compiled, "b": other}) if beside else chain(compiled, other)
    values = outer.compile().invoke(begun())
    assert (values["log"], values["odd"]) == (["l", "new"], shift(shift(shift(0, 3), 4), 1))


def test_streams_and_the_record_show_fields_and_no_bookkeeping(session: Session) -> None:
    one, two = around(typed(lambda state: {"log": ["yes"]}, Odd), 1)
    app = section({"a": one, "b": chain(two)}).compile()
    streamed = list(
        app.stream(begun(), session.config("t"), stream_mode=["values", "updates"], subgraphs=True)
    )
    assert "stepgraph_written" not in repr(streamed)
    rows = session.journal.query("SELECT output FROM node_runs")
    assert "stepgraph_written" not in repr(rows)
    assert "__overwrite__" not in repr(rows)
    (row,) = session.journal.query("SELECT output FROM node_runs WHERE path = 'a'")
    assert json.loads(row["output"])["log"] == ["a", "yes", "b"]
