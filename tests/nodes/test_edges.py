"""How often the nodes of a hand-written graph can run, by its edges alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from stepgraph.nodes.edges import runs_of

INF = math.inf


class State(TypedDict, total=False):
    text: str


def node(state: State) -> State:
    return {}


def to_b(state: State) -> Command[Literal["b"]]:
    return Command(goto="b")


def anywhere(state: State) -> Any:
    return Command(goto="b")


def sends(state: State) -> Any:
    return [Send("b", state)]


def picks(state: State) -> str:
    return "b"


def runs(
    edges: Sequence[tuple[Any, str]],
    *,
    a: Callable[..., Any] = node,
    fork: Callable[..., Any] | None = None,
    ends: Any = None,
    defer: bool = False,
) -> list[float]:
    """Return how often a, b, c and d run; an edge from a tuple waits for all of its nodes."""
    builder = StateGraph(State)
    builder.add_node("a", a)
    for name in "bcd":
        builder.add_node(name, node, defer=defer and name == "d")
    builder.add_edge(START, "a")
    for source, target in edges:
        builder.add_edge(list(source) if isinstance(source, tuple) else source, target)
    if fork is not None:
        builder.add_conditional_edges("a", fork, ends)
    found = runs_of(builder.compile())
    return [found[name] for name in "abcd"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (runs([("a", "b"), ("b", "c"), ("c", "d")]), [1, 1, 1, 1]),
        (runs([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]), [1, 1, 1, 1]),  # both in one superstep
        (runs([("a", "b"), ("b", "c"), ("a", "d"), ("c", "d")]), [1, 1, 1, 2]),  # one way is longer
        (runs([("a", "b"), ("b", "c"), ("a", "d"), ("c", "d")], defer=True), [1, 1, 1, 1]),
        (runs([("a", "b"), ("b", "c"), (("a", "c"), "d")]), [1, 1, 1, 1]),  # it waits for both
        (runs([("a", "b"), ("a", "c"), ("b", "c"), (("b", "c"), "d")]), [1, 1, 2, 2]),
        (runs([("a", "b"), ("b", "a"), ("a", "c")]), [INF, INF, INF, 0]),
        (runs([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]), [1, INF, INF, INF]),
        (runs([("a", "b"), ("b", "b")]), [1, INF, 0, 0]),
        (runs([("a", "b"), ("b", "c"), (("b", "c"), "d"), ("d", "b")]), [1, INF, INF, INF]),
    ],
)
def test_edges(found: list[float], expected: list[float]) -> None:
    assert found == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (runs([("b", "d"), ("c", "d")], fork=picks, ends=["b", "c"]), [1, 1, 1, 1]),
        (runs([("b", "d"), ("c", "d")], fork=picks, ends={"x": "b", "y": "d", "z": END}), [1, 1, 0, 2]),
        (runs([], fork=picks), [INF, INF, INF, INF]),  # it may go to every node, itself too
        (runs([("b", "d")], fork=sends, ends=["b"]), [1, INF, 0, 1]),
        (runs([("b", "d")], a=to_b), [1, 1, 0, 1]),
        (runs([("b", "d")], a=anywhere), [INF, INF, INF, INF]),
    ],
    ids=["fork", "fork by names", "fork to any", "sent", "command", "command to any"],
)
def test_decisions(found: list[float], expected: list[float]) -> None:
    assert found == expected
