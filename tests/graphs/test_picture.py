"""What a notebook shows of a graph: made here, without the network."""

import socket
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from stepgraph import Ask, chain, fan_out, gate, refine, route, section, step, vote
from stepgraph.graphs.catalog import READY, ready_graph
from stepgraph.graphs.drawing import to_text
from stepgraph.graphs.picture import to_svg


@dataclass
class Post:
    topic: str = "<&tea>"
    kind: str = ""
    draft: str = ""
    grade: int = 0
    posts: "list[Post]" = field(default_factory=list)


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("write")


@step("grade")
def judge(post: Post) -> Ask[int]:
    return Ask("judge")


def split(post: Post) -> list[Post]:
    return [Post()]


def kind(post: Post) -> str:
    return "long"


polish = refine(write, judge, until=lambda grade: grade > 3, rounds=3)
GRAPHS: dict[str, Any] = {
    "chain": chain(write, judge),
    "nested": chain(
        section({"draft": chain(write), "grade": chain(judge)}), chain(polish), gate(judge, lambda g: g > 1)
    ),
    "route": route(kind, {"long": polish, "short": chain(write)}),
    "fans": chain(fan_out(split, polish, into="posts"), vote(write, 3, field="draft", uncertain="")),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("a picture asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_a_notebook_draws_every_node_inside_the_picture(graph: Any) -> None:
    bundle = graph.compile()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml"}
    svg = ET.fromstring(bundle["image/svg+xml"])
    texts = {element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")}
    named = {
        line.strip().split(" -> ")[0].rstrip(":") for line in to_text(graph.compile().get_graph(xray=True))
    }
    assert texts == named - {"__start__", "__end__"}
    assert all(name in bundle["text/plain"] for name in graph.nodes)


@pytest.mark.parametrize("name", READY)
def test_ready_graphs_are_drawn(name: str) -> None:
    ET.fromstring(to_svg(ready_graph(name).compile().get_graph(xray=True)))


def test_a_name_cannot_add_to_the_picture() -> None:
    graph = chain(write, name="x")
    graph.add_node("<script>alert(1)</script>", lambda post: {})
    graph.add_edge("write", "<script>alert(1)</script>")
    assert "<script>" not in graph.compile()._repr_mimebundle_()["image/svg+xml"]


def test_a_workflow_tells_its_parts() -> None:
    assert repr(chain(write, polish, name="blog")) == (
        "<Workflow 'blog' over Post: write, refine_write(begin, write, judge)>"
    )
    assert (
        repr(chain(write, judge).compile()) == "<compiled <Workflow 'chain_write' over Post: write, judge>>"
    )
