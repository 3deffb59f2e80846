"""A thread goes on with the graph that it began with, or says what changed."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel, create_model

from stepgraph import Session, arun, chain, refine, route
from stepgraph.state.errors import GraphChanged
from stepgraph.state.names import PRIVATE
from stepgraph.state.session import fingerprint
from stepgraph.state.session.fingerprint import changes, shape_of

from ...child_path import child_path


class Grade(BaseModel):
    score: int
    fix: str = ""


@dataclass
class Post:
    topic: str = ""
    kind: Literal["howto", "opinion"] = "howto"
    grade: Grade | None = None
    log: Annotated[list[str], operator.add] = field(default_factory=list)


def plan(post: Post) -> dict[str, Any]:
    return {"log": ["plan"]}


def ask(post: Post) -> dict[str, Any]:
    return {"topic": interrupt("which topic?")}


def write(post: Post) -> dict[str, Any]:
    return {"log": ["write"]}


class Other(TypedDict, total=False):
    topic: int


def count(other: Other) -> dict[str, Any]:
    return {}


def judge(post: Post) -> int:
    return 1


def by_kind(post: Post) -> Literal["howto", "opinion"]:
    return post.kind


def differences(old: Any, new: Any, *, pending: bool = True) -> list[str]:
    return changes(shape_of(old.compile()), shape_of(new.compile()), pending=pending)


def over(**fields: Any) -> Any:
    """Return a chain of one node over a state with these fields, each with a type and a default."""
    state = make_dataclass("Post", [(name, *given) for name, given in fields.items()])
    graph: Any = StateGraph(state)
    graph.add_node("plan", lambda post: {})
    graph.add_edge(START, "plan")
    graph.add_edge("plan", END)
    return graph


def a_str(default: str = "") -> Any:
    return field(default=default)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (chain(plan, ask, write), chain(plan, ask), ["node 'write' is gone"]),
        (
            chain(plan, write),
            chain(plan, ask, write),
            ["edge plan -> write is gone", "edge plan -> ask is new"],
        ),
        (
            chain(chain(plan, write, name="inner")),
            chain(chain(plan, name="inner")),
            ["node 'inner/write' is gone", "edge plan -> __end__ in 'inner' is new"],
        ),
        (chain(plan), chain(chain(write, name="plan")), ["node 'plan' is now a graph of its own"]),
        (
            route(by_kind, {"howto": plan, "opinion": write}),
            route(by_kind, {"howto": plan}, fallback=ask),
            ["node 'opinion' is gone"],
        ),
        (over(a=(str, "")), over(a=(int, 0)), ["field 'a' changed from str to int"]),
        (over(a=(str, ""), b=(str, "")), over(b=(str, "")), ["field 'a' is gone"]),
        (over(a=(str,)), over(a=(str,), b=(str,)), ["field 'b' is new and has no default"]),
        (
            over(a=(Annotated[list, operator.add], a_str())),
            over(a=(list, a_str())),
            ["field 'a' changed its reducer from add to None"],
        ),
        (
            over(a=(Literal["x", "y"], "x")),
            over(a=(Literal["x", "z"], "x")),
            ["field 'a' changed from 'x' | 'y' to 'x' | 'z'"],
        ),
    ],
)
def test_what_matters_is_named(old: Any, new: Any, told: list[str]) -> None:
    assert set(told) <= set(differences(old, new))
    assert differences(old, old) == []


def test_a_changed_type_inside_a_field_is_named() -> None:
    class Old(BaseModel):
        score: int
        fix: str = ""

    class New(BaseModel):
        score: str
        why: str

    Old.__qualname__ = New.__qualname__ = "Grade"
    assert differences(over(grade=(Old,)), over(grade=(New,))) == [
        "field 'Grade.score' changed from int to str",
        "field 'Grade.fix' is gone",
        "field 'Grade.why' is new and has no default",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (over(a=(str, "")), over(a=(str, "other"), b=(str, ""))),
        (over(a=(str, "")), over(a=(str | None, ""))),
        (over(a=(str, "")), over(a=(Any, ""))),
        (over(a=(Literal["x"], "x")), over(a=(Literal["x", "y"], "x"))),
        (chain(plan, name="one"), chain(plan, name="two")),
        (
            refine(write, judge, until=lambda n: n > 2, rounds=2),
            refine(write, judge, until=lambda n: n > 3, rounds=5),
        ),
        (
            route(by_kind, {"howto": plan, "opinion": write}),
            route(by_kind, {"howto": plan, "opinion": write}, fallback=ask),
        ),
    ],
)
def test_what_does_no_harm_passes(old: Any, new: Any) -> None:
    assert differences(old, new) == []


def test_a_thread_that_waits_goes_on_only_with_its_own_graph(session: Session) -> None:
    chain(plan, ask, write).compile().invoke(Post(), session.config("t"))
    changed = chain(plan, ask).compile()
    with pytest.raises(GraphChanged, match=r"thread 't' ran with: node 'write' is gone.*--force") as refused:
        changed.invoke(Command(resume="tea"), session.config("t"))
    assert "node 'write' is gone" in refused.value.changes
    assert session.journal.query("SELECT status FROM runs") == [{"status": "interrupted"}]
    assert session.journal.query("SELECT * FROM claims WHERE expires_at > 0") == []

    result = chain(plan, ask, write).compile().invoke(Command(resume="tea"), session.config("t"))
    assert result["log"] == ["plan", "write"]


def test_whoever_insists_goes_on_and_is_not_asked_again(session: Session) -> None:
    chain(plan, ask, write).compile().invoke(Post(), session.config("t"))
    changed = chain(plan, ask).compile()
    changed.update_state(session.config("t"), {})  # reading and editing need no leave
    changed.invoke(Command(resume="tea"), session.config("t", allow_changed_graph=True))
    assert changed.invoke(None, session.config("t"))["topic"] == "tea"


def test_a_thread_that_ended_takes_new_nodes_but_no_other_types(session: Session) -> None:
    chain(plan).compile().invoke(Post(), session.config("t"))
    grown = chain(plan, write).compile()
    assert grown.invoke({"topic": "rum"}, session.config("t"))["log"] == ["plan", "plan", "write"]
    with pytest.raises(GraphChanged, match="field 'topic' changed from str to int"):
        chain(count).compile().invoke({"topic": 1}, session.config("t"))


def hand_written(*names: str) -> Any:
    graph: Any = StateGraph(Post)
    for name, after in zip(names, (START, *names), strict=False):
        graph.add_node(name, {"plan": plan, "ask": ask, "write": write}[name])
        graph.add_edge(after, name)
    return graph.compile()


def test_a_hand_written_graph_is_known_by_its_config(session: Session) -> None:
    old, new = hand_written("plan", "ask", "write"), hand_written("ask", "write")
    old.invoke(Post(), session.config("t", graph=old))
    with pytest.raises(GraphChanged, match="node 'plan' is gone"):
        new.invoke(Command(resume="tea"), session.config("t", graph=new))
    assert new.invoke(Command(resume="tea"), session.config("t"))["topic"] == "tea"  # nobody told its shape


async def test_a_shape_is_worked_out_once_for_all_runs_of_a_pattern(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked_out: list[str] = []

    def seen(graph: Any) -> Any:
        worked_out.append(graph.get_name())
        return shape_of(graph)

    monkeypatch.setattr(fingerprint, "shape_of", seen)
    app, copied = chain(plan, write, name="posts").compile(), chain(write, name="copied").compile()
    for graph in (app, app, copied.with_config(tags=["a"])):
        await arun(graph, Post(), session)
    assert worked_out == ["posts", "copied"]


async def test_a_stream_is_refused_too(session: Session) -> None:
    await chain(plan, ask).compile().ainvoke(Post(), session.config("t"))
    with pytest.raises(GraphChanged):
        async for _ in chain(ask).compile().astream(Command(resume="x"), session.config("t")):
            pass


def test_checkpoints_and_nodes_do_not_see_the_shape(session: Session) -> None:
    app = chain(plan).compile()
    app.invoke(Post(), session.config("t"))
    metadata = app.get_state(session.config("t")).metadata
    assert metadata is not None
    assert not any("graph" in key for key in metadata)


RICH = """
import operator
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel

from stepgraph import chain, refine, route


class Odd(Enum):
    A = object()
    B = "b"


class Inner(BaseModel):
    colors: dict[str, set[Literal["red", "green", "blue"]]] = {}
    odd: Odd = Odd.B
    next: "Inner | None" = None


def another():
    class Inner(BaseModel):
        size: int = 0

    return Inner


class Extra(TypedDict, total=False):
    a: int | str | None
    b: tuple[Inner, ...]


@dataclass
class State:
    kind: Literal["x", "y", "z"] = "x"
    inner: Inner | None = None
    extra: Extra | None = None
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    count: Annotated[int, lambda a, b: a + b] = 0


def one(state: State) -> dict[str, Any]:
    return {}


def two(state: State) -> dict[str, Any]:
    return {}


def good(state: State) -> int:
    return 1


def which(state: State) -> Literal["x", "y", "z"]:
    return state.kind


loop = refine(one, good, until=lambda n: n > 2, rounds=2)
graph = chain(one, route(which, {"x": loop, "y": two, "z": chain(one, two, name="both")}), two).compile()
"""


def test_the_shape_is_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text(RICH)
    code = """
import rich
from stepgraph.state.session.fingerprint import GraphMark
print(GraphMark(rich.graph).fingerprint)
"""
    shapes = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": child_path(tmp_path), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(shapes) == 1
    assert "0x" not in shapes.pop()


def test_two_types_of_one_name_are_told_apart() -> None:
    def made(module: str, kind: type) -> Any:
        return create_model("Grade", __module__=module, score=(kind, ...))

    one, two, changed = made("a", int), made("b", str), made("b", int)
    for order in (0, 1):
        fields = {"x": (one,), "y": (two,)}
        old = over(**dict(list(fields.items())[:: 1 - 2 * order]))
        assert differences(old, over(x=(one,), y=(two,))) == []
    assert differences(over(x=(one,), y=(two,)), over(x=(one,), y=(changed,))) == [
        "field 'b.Grade.score' changed from str to int"
    ]


def test_only_a_graph_that_is_shaped_otherwise_is_refused_among_many_at_once(session: Session) -> None:
    apps = [chain(plan, ask, write).compile(), chain(plan, ask).compile()]
    for number in range(6):
        apps[0].invoke(Post(), session.config(f"t{number}"))
    for number in range(6):
        app = apps[number % 2]
        if app is apps[0]:
            assert app.invoke(Command(resume="tea"), session.config(f"t{number}"))["topic"] == "tea"
        else:
            with pytest.raises(GraphChanged):
                app.invoke(Command(resume="tea"), session.config(f"t{number}"))
    assert session.journal.query("SELECT * FROM claims WHERE expires_at > 0") == []


def test_the_channels_of_a_pattern_are_no_part_of_the_shape() -> None:
    """Else a new release that renames one could not go on with older threads."""

    def fields(shape: Any) -> set[str]:
        inner = [fields(nested) for nested in shape["nodes"].values() if nested]
        return set(shape["fields"]).union(*inner)

    looped = refine(write, judge, until=lambda score: score > 0, rounds=2)
    names = fields(shape_of(chain(plan, looped).compile()))
    assert "topic" in names
    assert not [name for name in names if name.startswith(PRIVATE)]
