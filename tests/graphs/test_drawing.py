"""Every pattern's drawing, held against a snapshot; `UPDATE_DRAWINGS=1` rewrites the snapshots."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from stepgraph import (
    Ask,
    Budget,
    Passage,
    Workflow,
    agent,
    attempt,
    cascade,
    chain,
    ensemble,
    fan_out,
    gate,
    guard,
    map_reduce,
    orchestrate,
    refine,
    retrieve,
    review,
    route,
    rule,
    section,
    step,
    verify,
    vote,
    wait,
    within,
)
from stepgraph.cli.support.draw import render
from stepgraph.graphs.catalog import READY, ready_graph
from stepgraph.graphs.drawing import to_dot, to_mermaid, to_text

DRAWINGS = Path(__file__).with_name("drawings")


@dataclass
class Part:
    text: str = ""
    note: str = ""


@dataclass
class Post:
    topic: str = ""
    kind: str = ""
    draft: str = ""
    ok: bool = False
    parts: list[Part] = field(default_factory=list)
    digest: Part | None = None
    found: list[Passage] = field(default_factory=list)


@step("kind")
def classify(post: Post) -> Ask[Literal["howto", "opinion"]]:
    return Ask(post.topic)


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(post.topic)


@rule("ok")
def judge(post: Post) -> bool:
    return bool(post.draft)


@step("ok", model="judge")
def second(post: Post) -> Ask[bool]:
    return Ask(post.draft)


@review("draft")
def look(post: Post) -> str:
    return "Good?"


def fetch(post: Post) -> dict[str, str]:
    return {"topic": post.topic}


def look_up(topic: str) -> str:
    """Look a topic up."""
    return topic


@step("parts")
def plan(post: Post) -> Ask[list[Part]]:
    return Ask(post.topic)


@step("note")
def sum_up(part: Part) -> Ask[str]:
    return Ask(part.text)


def cut(post: Post) -> list[Part]:
    return [Part(line) for line in post.topic.splitlines()]


def join(parts: list[Part]) -> Part:
    return Part("\n".join(part.note for part in parts))


@retrieve("found", lambda query: [query])
def search(post: Post) -> str:
    return post.topic


@review("draft", deadline=timedelta(days=2), otherwise=fetch)
def in_time(post: Post) -> str:
    return "Good?"


polish = refine(write, judge, until=bool, rounds=3)
PATTERNS: dict[str, Workflow[Post]] = {
    "chain": chain(fetch, write),
    "chain-with-gate": chain(write, gate(judge, bool), fetch),
    "gate-with-repair": chain(write, gate(judge, bool, repair=write, otherwise=look), fetch),
    "review": route(look, {"approved": fetch, "rejected": write}),
    "review-with-deadline": chain(write, in_time),
    "retrieve": chain(search, write),
    "wait": chain(fetch, wait(until=timedelta(days=3)), write),
    "verify": verify(write, second, agrees=bool, tries=1, otherwise=look),
    "cascade": cascade(write, write.on("medium"), write.on("large"), accept=bool),
    "attempt": attempt(chain(write, gate(judge, bool)), otherwise=fetch, reason="topic"),
    "section": section({"draft": write, "topic": fetch}, merge=judge),
    "vote": vote(write, 3, uncertain=""),
    "guard": guard(write, judge, bool, otherwise=fetch),
    "ensemble": ensemble([write, write.on("medium")], score=len),
    "agent": agent(write, tools=[look_up]),
    "refine": polish,
    "within": within(polish, Budget(calls=4)),
    "route": route(classify, {"howto": write, "opinion": fetch}),
    "route-with-fallback": route(classify, {"howto": write}, fallback=fetch),
    "fan-out": fan_out(cut, sum_up, into="parts"),
    "map-reduce": map_reduce(cut, sum_up, join=join, into="digest", tokens=1000),
    "orchestrate": orchestrate(plan, sum_up, write, into="parts", more=cut),
    "nested": route(classify, {"howto": chain(fetch, polish), "opinion": polish}, name="nested"),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_pattern(name: str) -> None:
    compare(name, PATTERNS[name])


APPLICATIONS = [name for name in READY if name != "code"]


@pytest.mark.parametrize("name", APPLICATIONS)
def test_application(name: str) -> None:
    compare(name, ready_graph(name))


def compare(name: str, graph: Workflow[Any]) -> None:
    drawing = to_mermaid(graph.compile().get_graph(xray=True)) + "\n"
    path = DRAWINGS / f"{name}.mmd"
    if os.environ.get("UPDATE_DRAWINGS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawing, encoding="utf-8")
    assert drawing == path.read_text(encoding="utf-8")


def test_no_snapshot_is_left_over() -> None:
    assert {path.stem for path in DRAWINGS.glob("*.mmd")} == {*PATTERNS, *APPLICATIONS}


def test_text_shows_nesting_and_labels() -> None:
    lines = list(to_text(PATTERNS["nested"].compile().get_graph(xray=True)))
    assert "howto:" in lines
    assert "  refine_write:" in lines
    assert "    judge -> __end__ (done), write (again)" in lines


def test_hostile_names_stay_text() -> None:
    graph: Workflow[Post] = chain(write, name="x")
    graph.add_node('a"]; click n "javascript alert(1)', fetch)  # type: ignore[call-overload]
    graph.add_edge("write", 'a"]; click n "javascript alert(1)')
    drawable = graph.compile().get_graph()
    mermaid = to_mermaid(drawable)
    assert '"]' not in "".join(
        line.split('("')[1].rsplit('")')[0] for line in mermaid.splitlines() if '("' in line
    )
    assert b"<svg" in render(to_dot(drawable), "svg")


def test_graphviz_takes_every_pattern() -> None:
    for graph in PATTERNS.values():
        assert b"<svg" in render(to_dot(graph.compile().get_graph(xray=True)), "svg")


def test_without_graphviz_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from stepgraph import StepgraphError

    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(StepgraphError, match=r"pip install 'stepgraph\[draw\]'"):
        render("digraph {}", "svg")


def test_a_drawing_that_graphviz_refuses_is_told() -> None:
    from stepgraph import StepgraphError

    with pytest.raises((StepgraphError, subprocess.TimeoutExpired), match="Graphviz cannot draw"):
        render("digraph {", "svg")
