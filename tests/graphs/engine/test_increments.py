"""Chains side by side that change fields with reducers give what LangGraph gives for plain nodes there."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from pydantic import BaseModel, Field

from stepgraph import Session, chain, section


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


Messages = Annotated[list[AnyMessage], add_messages]
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


def writing(update: dict[str, Any], state: Any) -> Any:
    def write(values: Any) -> dict[str, Any]:
        return update

    write.__annotations__["values"] = state
    return write


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
