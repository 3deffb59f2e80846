"""Patterns in patterns, in hand-written graphs, and hand-written graphs in patterns."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from langgraph.graph import END, START, StateGraph

from stepgraph import Ask, ScriptedModel, Session, chain, refine, route, step, using

Kind = Literal["howto", "opinion"]


@dataclass
class Post:
    topic: str = "tea"
    kind: Kind = "howto"
    draft: str = ""
    score: int = 0
    log: Annotated[list[str], operator.add] = field(default_factory=list)


@step("kind")
def classify(post: Post) -> Ask[Kind]:
    return Ask(f"Which kind? {post.topic}")


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write. {post.score}")


@step("score")
def judge(post: Post) -> Ask[int]:
    return Ask(f"Grade: {post.draft}")


def note(post: Post) -> dict[str, Any]:
    return {"log": [f"note {post.draft}".strip()]}


def by_hand(state: Any = Post) -> Any:
    graph = StateGraph(state)
    graph.add_node("note", note)
    graph.add_edge(START, "note")
    graph.add_edge("note", END)
    return graph.compile()


polish = refine(write, judge, until=lambda score: score >= 4, rounds=2)
blog = route(classify, {"howto": chain(note, polish), "opinion": polish})


async def test_patterns_nest_in_patterns(session: Session) -> None:
    with ScriptedModel(["howto", "one", 2, "two", 5]) as model, using(model):
        result = await chain(blog, note).compile().ainvoke(Post(), session.config("t"))
    assert (result["draft"], result["score"], result["log"]) == ("two", 5, ["note", "note two"])
    paths = [row["path"] for row in session.journal.query("SELECT path FROM calls ORDER BY started_at")]
    assert paths == [
        "route_classify/classify",
        "route_classify/howto/refine_write/write",
        "route_classify/howto/refine_write/judge",
        "route_classify/howto/refine_write/write",
        "route_classify/howto/refine_write/judge",
    ]


def test_a_pattern_and_a_step_are_nodes_of_a_hand_written_graph() -> None:
    graph = StateGraph(Post)
    graph.add_node("classify", classify)
    graph.add_node("polish", polish.compile())
    graph.add_edge(START, "classify")
    graph.add_edge("classify", "polish")
    graph.add_edge("polish", END)
    with ScriptedModel(["opinion", "one", 5]) as model, using(model):
        result = graph.compile().invoke(Post())
    assert (result["kind"], result["draft"]) == ("opinion", "one")


@pytest.mark.parametrize(
    ("pattern", "answers"),
    [
        (chain(by_hand(), write), ["one"]),
        (route(classify, {"howto": by_hand(), "opinion": note}), ["howto"]),
        (chain(refine(by_hand(), judge, until=lambda score: score >= 4, rounds=2)), [5]),
        (chain(chain(note)), []),
    ],
)
def test_a_reducer_field_is_not_doubled_by_nesting(pattern: Any, answers: list[Any]) -> None:
    with ScriptedModel(answers) as model, using(model):
        result = pattern.compile().invoke(Post(log=["start"]))
    assert result["log"] == ["start", "note"]


def test_a_reducer_field_survives_deep_nesting_and_parts_around_it() -> None:
    deep = chain(note, chain(note, chain(note, by_hand())), note)
    assert deep.compile().invoke(Post(log=["start"]))["log"] == ["start", *["note"] * 5]


def test_a_hand_written_graph_over_fewer_fields_is_a_part() -> None:
    @dataclass
    class Slice:
        draft: str = ""
        log: Annotated[list[str], operator.add] = field(default_factory=list)

    result = chain(note, by_hand(Slice), note).compile().invoke(Post(draft="x", log=["start"]))
    assert result["log"] == ["start", "note x", "note x", "note x"]
