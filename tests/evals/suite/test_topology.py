"""Which paths a graph can take, read from the graph: edges, forks, commands, loops, graphs in graphs."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from stepgraph.evals.suite.topology import Topology, _one_way, node_in, topology_of

from ..conftest import graph as notes


class State(TypedDict, total=False):
    text: str


class Way(Enum):
    LEFT = "left"
    RIGHT = "right"


def node(state: State) -> State:
    return {}


def goes(state: State) -> Command[Literal["left", "right"]]:
    return Command(goto="left")


def anywhere(state: State) -> Any:
    return Command(goto="left")


def one(state: State) -> Literal["left", "right"]:
    return "left"


def several(state: State) -> list[str]:
    return ["left", "right"]


def built(
    first: Any, *edges: tuple[str, str], fork: Callable[..., Any] | None = None, ends: Any = None
) -> Topology:
    """Return what is read of the nodes "first", "left", "right" and "last"; the first one may decide."""
    builder = StateGraph(State)
    builder.add_node("first", first)
    for name in ("left", "right", "last"):
        builder.add_node(name, node)
    builder.add_edge(START, "first")
    builder.add_edge("last", END)
    for source, target in edges:
        builder.add_edge(source, target)
    if fork is not None:
        builder.add_conditional_edges("first", fork, ends)
    return topology_of(builder.compile())


BOTH = (("left", "last"), ("right", "last"))


@pytest.mark.parametrize(
    ("topology", "told"),
    [
        (built(node, ("first", "left"), ("first", "right"), *BOTH), None),
        (built(node, *BOTH, fork=one), "'left' and 'right' lie on different branches of 'first'"),
        (built(node, *BOTH, fork=several, ends=["left", "right"]), None),
        (built(goes, *BOTH), None),
        (built(anywhere, *BOTH), None),
        (built(node, ("first", "left"), ("left", "right"), ("right", "last")), None),
        (
            built(node, ("first", "right"), ("right", "left"), ("left", "last")),
            "'right' runs before 'left' and never again",
        ),
    ],
    ids=["beside", "fork", "fork to several", "command", "open", "one after the other", "the other way"],
)
def test_whether_one_node_can_run_before_another(topology: Topology, told: str | None) -> None:
    assert topology.conflict("left", "right") == told
    assert topology.conflict("first", "last") is None
    assert topology.conflict("last", "first") == (
        "'first' runs before 'last' and never again" if not topology.open else None
    )


def test_the_edges_of_a_command_are_those_that_it_names() -> None:
    named, free = built(goes, *BOTH), built(anywhere, *BOTH)
    assert named.reachable("first") >= {"left", "right", "last"}
    assert "first" not in named.reachable("first")
    assert (named.open, free.open) == (set(), {"first"})
    assert free.reachable("first") >= {"first", "left", "right", "last"}
    assert not named.routes


def test_branches_are_those_of_nodes_that_decide() -> None:
    assert built(node, *BOTH, fork=one).routes == {"first": ["left", "right"]}
    assert built(node, *BOTH, fork=several, ends=["left", "right"]).routes == {}
    found = topology_of(notes.compile())
    assert found.routes == {"classify": ["good", "bad"]}
    assert found.loops == {"bad/refine_reply": 3}
    assert found.graphs == {"bad", "bad/refine_reply"}
    assert "bad/refine_reply/polite" in found.forks


@pytest.mark.parametrize(
    ("returns", "exclusive"),
    [
        (str, True),
        (bool, True),
        (Way, True),
        (Literal["a"], True),
        (Literal["a"] | bool, True),
        (Way | None, False),
        (list[str], False),
        (Send | str, False),
        (Any, False),
        (int, False),
        (None, False),
        ("Unknown", False),
    ],
    ids=str,
)
def test_one_way_or_several(returns: Any, exclusive: bool) -> None:
    def decide(state: State) -> Any:
        return "left"

    decide.__annotations__["return"] = returns
    assert _one_way(decide) is exclusive


@pytest.mark.parametrize(
    "path", ["classify", "bad", "bad/refine_reply", "bad/refine_reply/reply", "bad/measure"]
)
def test_a_node_is_found_by_its_path(path: str) -> None:
    found = node_in(notes.compile(), path)
    assert found is not None
    assert found[1] == path.rpartition("/")[2]
    assert found[1] in found[0].builder.nodes


@pytest.mark.parametrize("path", ["", "x", "classify/x", "bad/x", "bad/measure/x"])
def test_a_path_that_leads_nowhere(path: str) -> None:
    assert node_in(notes.compile(), path) is None
