"""The same workflow over every kind of state that a user may have."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

import pytest
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, chain, gate, refine, route, rule, step, using

Kind = Literal["howto", "opinion"]
Log = Annotated[list[str], operator.add]


class Grade(BaseModel):
    score: int


@dataclass
class AsDataclass:
    topic: str
    kind: Kind = "howto"
    draft: str = ""
    size: int = 0
    grade: Grade | None = None
    log: Log = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AsFrozen:
    topic: str
    kind: Kind = "howto"
    draft: str = ""
    size: int = 0
    grade: Grade | None = None
    log: Log = field(default_factory=list)


class AsDict(TypedDict, total=False):
    topic: str
    kind: Kind
    draft: str
    size: int
    grade: Grade | None
    log: Log


class AsModel(BaseModel):
    topic: str
    kind: Kind = "howto"
    draft: str = ""
    size: int = 0
    grade: Grade | None = None
    log: Log = []


def read(state: Any, name: str) -> Any:
    return state[name] if isinstance(state, dict) else getattr(state, name)


def blog(state: Any) -> Any:
    def typed(function: Any, answer: Any) -> Any:
        function.__annotations__ = {"post": state, "return": answer}
        return function

    def classify(post: Any) -> Any:
        return Ask(f"Which kind? {read(post, 'topic')}")

    def write(post: Any) -> Any:
        return Ask("Write.")

    def judge(post: Any) -> Any:
        return Ask(f"Grade: {read(post, 'draft')}")

    def measure(post: Any) -> Any:
        return len(read(post, "draft"))

    def note(post: Any) -> Any:
        return {"log": [read(post, "draft")]}

    def has_topic(post: Any) -> Any:
        return bool(read(post, "topic"))

    produce = chain(
        step("draft")(typed(write, Ask[str])), rule("size")(typed(measure, int)), typed(note, dict)
    )
    polish = refine(
        produce, step("grade")(typed(judge, Ask[Grade])), until=lambda grade: grade.score > 3, rounds=2
    )
    other = chain(typed(note, dict))
    kinds = route(step("kind")(typed(classify, Ask[Kind])), {"howto": polish, "opinion": other})
    return chain(gate(typed(has_topic, bool)), kinds).compile()


@pytest.mark.parametrize(
    "given", [AsDataclass("tea"), AsFrozen("tea"), AsDict(topic="tea", log=["start"]), AsModel(topic="tea")]
)
async def test_a_workflow_over_this_state(session: Session, given: Any) -> None:
    kind = AsDict if isinstance(given, dict) else type(given)
    app, config = blog(kind), session.config("t")
    with ScriptedModel(["howto", "one", {"score": 3}, "second", {"score": 1}]) as model, using(model):
        result = await app.ainvoke(given, config)
    start = given["log"] if isinstance(given, dict) else []
    assert result == {
        "topic": "tea",
        "kind": "howto",
        "draft": "one",
        "size": 3,
        "grade": Grade(score=3),
        "log": [*start, "one", "second"],
    }
    assert app.get_state(config).values == result
