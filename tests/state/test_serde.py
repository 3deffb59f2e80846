from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar

import pytest
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.state.errors import StoreError
from stepgraph.state.serde import AllowListSerializer, allow

T = TypeVar("T")


class Mood(Enum):
    GOOD = "good"


class Grade(BaseModel):
    score: int
    mood: Mood = Mood.GOOD


@dataclass
class Note:
    text: str


class Box(BaseModel, Generic[T]):
    content: T


@dataclass
class Unknown:
    text: str


@dataclass
class Permitted:
    text: str


@dataclass
class Post:
    grade: Grade | None = None
    notes: dict[str, list[Note]] | None = None
    box: Box[Note] | None = None


class ByHand(TypedDict):
    thing: Any


def by_hand(thing: Any) -> Any:
    graph = StateGraph(ByHand)
    graph.add_node("make", lambda state: {"thing": thing})
    graph.add_edge(START, "make")
    graph.add_edge("make", END)
    return graph.compile()


def test_what_a_step_declares_comes_back_as_it_was(session: Session) -> None:
    @step("grade")
    def judge(post: Post) -> Ask[Grade]:
        return Ask("Grade.")

    def note(post: Post) -> dict[str, Any]:
        return {"notes": {"a": [Note("short")]}, "box": Box[Note](content=Note("in a box"))}

    app, config = chain(judge, note).compile(), session.config("t")
    with ScriptedModel([{"score": 3}]) as model, using(model):
        app.invoke(Post(), config)
    assert app.get_state(config).values == {
        "grade": Grade(score=3, mood=Mood.GOOD),
        "notes": {"a": [Note("short")]},
        "box": Box[Note](content=Note("in a box")),
    }


def test_an_undeclared_type_is_not_loaded_but_named(session: Session) -> None:
    app, config = by_hand(Unknown("?")), session.config("t")
    app.invoke({"thing": None}, config)
    with pytest.raises(StoreError, match=r"holds .*test_serde\.Unknown, which no workflow") as caught:
        app.get_state(config)
    assert "allow=[TheType]" in str(caught.value)


def test_a_type_that_the_session_allows_is_loaded(tmp_path: Path) -> None:
    app = by_hand(Permitted("!"))
    with Session(tmp_path / "runs.sqlite") as session:
        app.invoke({"thing": None}, session.config("t"))
        with pytest.raises(StoreError):
            app.get_state(session.config("t"))
    with Session(tmp_path / "runs.sqlite", allow=[Permitted]) as session:
        assert app.get_state(session.config("t")).values == {"thing": Permitted("!")}


def test_a_type_that_nobody_can_import_is_an_error_and_not_a_dict() -> None:
    @dataclass
    class Local:
        text: str

    allow(Local)
    serializer = AllowListSerializer()
    with pytest.raises(StoreError, match=r"Local.*must be defined at module level"):
        serializer.loads_typed(serializer.dumps_typed(Local("?")))
