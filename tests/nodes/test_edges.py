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


def told(state: State) -> Command[Any]:
    return elsewhere(state)


def elsewhere(state: State) -> Any:
    return anywhere(state)


async def later(state: State) -> Any:
    return Command(goto="b")


def sends_on(state: State) -> Command[Literal["b"]]:
    return Command(goto=[Send("b", state)])


def deep_inside(state: State) -> Any:
    def each(text: str) -> Any:
        return Command(goto="b", update={"text": text})

    return each("x")


def by_closure() -> Callable[..., Any]:
    from langgraph.types import Command as Command

    def node(state: State) -> Any:
        return Command(goto="b")

    return node


def compiled() -> Any:
    graph = StateGraph(State)
    graph.add_node("inner", node)
    graph.add_edge(START, "inner")
    return graph.compile()


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
        (lambda: runs([("a", "b"), ("b", "c"), ("c", "d")]), [1, 1, 1, 1]),
        (
            lambda: runs([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]),
            [1, 1, 1, 1],
        ),  # both in one superstep
        (lambda: runs([("a", "b"), ("b", "c"), ("a", "d"), ("c", "d")]), [1, 1, 1, 2]),  # one way is longer
        (lambda: runs([("a", "b"), ("b", "c"), ("a", "d"), ("c", "d")], defer=True), [1, 1, 1, 1]),
        (lambda: runs([("a", "b"), ("b", "c"), (("a", "c"), "d")]), [1, 1, 1, 1]),  # it waits for both
        (lambda: runs([("a", "b"), ("a", "c"), ("b", "c"), (("b", "c"), "d")]), [1, 1, 2, 2]),
        # a join and an edge that lead to one node in the same superstep
        (lambda: runs([("a", "b"), ("b", "c"), (("a", "c"), "d"), ("c", "d")]), [1, 1, 1, 1]),
        (lambda: runs([("a", "b"), ("a", "c"), ("b", "c"), (("b", "c"), "d"), ("c", "d")]), [1, 1, 2, 2]),
        (lambda: runs([("a", "b"), ("b", "a"), ("a", "c")]), [INF, INF, INF, 0]),
        (lambda: runs([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]), [1, INF, INF, INF]),
        (lambda: runs([("a", "b"), ("b", "b")]), [1, INF, 0, 0]),
        (lambda: runs([("a", "b"), ("b", "c"), (("b", "c"), "d"), ("d", "b")]), [1, INF, INF, INF]),
    ],
)
def test_edges(found: Callable[[], list[float]], expected: list[float]) -> None:
    assert found() == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: runs([("b", "d"), ("c", "d")], fork=picks, ends=["b", "c"]), [1, 1, 1, 1]),
        (
            lambda: runs([("b", "d"), ("c", "d")], fork=picks, ends={"x": "b", "y": "d", "z": END}),
            [1, 1, 0, 2],
        ),
        (lambda: runs([], fork=picks), [INF, INF, INF, INF]),  # it may go to every node, itself too
        (lambda: runs([("b", "d")], fork=sends, ends=["b"]), [1, INF, 0, 1]),
        (lambda: runs([("b", "d")], a=to_b), [1, 1, 0, 1]),
        (lambda: runs([("b", "d")], a=anywhere), [INF, INF, INF, INF]),
        (lambda: runs([("b", "d")], a=later), [INF, INF, INF, INF]),
        (lambda: runs([("b", "d")], a=told), [INF, INF, INF, INF]),
        (lambda: runs([("b", "d")], a=deep_inside), [INF, INF, INF, INF]),
        (lambda: runs([("b", "d")], a=by_closure()), [INF, INF, INF, INF]),
        (lambda: runs([("a", "b")], a=elsewhere), [1, 1, 0, 0]),  # nothing says that it goes anywhere else
        (lambda: runs([("a", "b"), ("b", "d")], a=sends_on), [1, INF, 0, 1]),
        (lambda: runs([("a", "b")], a=compiled()), [1, 1, 0, 0]),
    ],
    ids=[
        "fork",
        "fork by names",
        "fork to any",
        "sent",
        "command",
        "command to any",
        "async command",
        "command that is only annotated",
        "command deep inside",
        "command by closure",
        "command that cannot be seen",
        "sent by a command",
        "a compiled graph",
    ],
)
def test_decisions(found: Callable[[], list[float]], expected: list[float]) -> None:
    assert found() == expected
