from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.state.errors import NotSerializable, StoreError
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


@dataclass
class Mark:
    number: int


@dataclass
class Plain:
    mark: Mark | None = None


@dataclass
class OtherMark:
    number: int


class Given(TypedDict):
    mark: OtherMark | None


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


def test_an_undeclared_type_is_refused_when_it_is_written(session: Session) -> None:
    app = by_hand(Unknown("?"))
    with pytest.raises(NotSerializable, match=r"Node 'make' wrote thing, of Unknown") as caught:
        app.invoke({"thing": None}, session.config("t"))
    assert "allow=[Unknown]" in str(caught.value)


def test_a_type_that_the_session_allows_is_kept(tmp_path: Path) -> None:
    app = by_hand(Permitted("!"))
    with Session(tmp_path / "runs.sqlite", allow=[Permitted]) as session:
        app.invoke({"thing": None}, session.config("t"))
        assert app.get_state(session.config("t")).values == {"thing": Permitted("!")}


def test_a_class_that_the_file_names_and_nobody_declares_is_an_error_and_not_a_dict() -> None:
    @dataclass
    class Local:
        text: str

    allow(Local)
    kind, data = AllowListSerializer().dumps_typed(Local("?"))
    assert AllowListSerializer().loads_typed((kind, data)) == Local("?")
    with pytest.raises(StoreError, match=r"holds .*Lokal, which no workflow"):
        AllowListSerializer().loads_typed((kind, data.replace(b"Local", b"Lokal")))


def test_what_older_versions_wrote_is_read() -> None:
    older = JsonPlusSerializer().dumps_typed({"note": Note("?"), "pair": (1, 2)})
    allow(Note)
    assert AllowListSerializer().loads_typed(older) == {"note": Note("?"), "pair": [1, 2]}
    unknown = JsonPlusSerializer().dumps_typed({"note": Unknown("?")})
    with pytest.raises(StoreError, match="Unknown, which no workflow"):
        AllowListSerializer().loads_typed(unknown)


def test_the_state_of_a_hand_written_graph_needs_no_declaration(session: Session) -> None:
    graph = StateGraph(Plain)
    graph.add_node("keep", lambda state: {"mark": state.mark})
    graph.add_edge(START, "keep")
    app = graph.compile()
    assert app.invoke(Plain(Mark(1)), session.config("t")) == {"mark": Mark(1)}
    assert app.get_state(session.config("t")).values == {"mark": Mark(1)}


def test_a_graph_that_is_given_to_the_session_declares_its_state(session: Session) -> None:
    graph = StateGraph(Given)
    graph.add_node("keep", lambda state: {"mark": OtherMark(2)})
    graph.add_edge(START, "keep")
    app = graph.compile()
    app.invoke({"mark": None}, session.config("t", graph=app))
    assert app.get_state(session.config("t")).values == {"mark": OtherMark(2)}
