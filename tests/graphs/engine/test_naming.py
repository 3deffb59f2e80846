"""Names of nodes: no two parts share one; a part that stands at two places gets a number."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph

from stepgraph import (
    Ask,
    Budget,
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
    route,
    rule,
    section,
    step,
    verify,
    vote,
    within,
)
from stepgraph.errors import DefinitionError


@dataclass
class Note:
    text: str = ""
    score: int = 0
    parts: list[Note] = field(default_factory=list)
    whole: Note | None = None


@step("text")
def write(note: Note) -> Ask[str]:
    return Ask("Write")


@step("score", model="judge")
def grade(note: Note) -> Ask[int]:
    return Ask("Grade")


@rule("parts")
def cut(note: Note) -> list[Note]:
    return [note]


def look(note: Note) -> bool:
    return True


def search(words: str) -> str:
    """Search."""
    return words


def join(parts: list[Note]) -> Note:
    return parts[0]


def other(kind: str) -> Any:
    """Parts named `write` that are not the step above."""

    def write(note: Note) -> dict[str, str]:
        return {"text": kind}

    if kind == "function":
        return write
    if kind == "rule":
        return rule("text")(lambda_named(write))
    if kind == "pattern":
        return chain(look, name="write")
    graph: Any = StateGraph(Note)
    graph.add_node("write", write)
    graph.add_edge(START, "write")
    graph.add_edge("write", END)
    return graph.compile(name="write")


def lambda_named(function: Any) -> Any:
    def write(note: Note) -> str:
        return str(function(note))

    return write


@pytest.mark.parametrize("kind", ["function", "rule", "pattern", "compiled"])
@pytest.mark.parametrize(
    "build",
    [
        lambda part: chain(write, part),
        lambda part: chain(part, look, write),
        lambda part: vote([write, part], field="text", uncertain=""),
        lambda part: ensemble([write, part], field="text", score=len),
        lambda part: attempt(chain(write, part), otherwise={}),
    ],
)
def test_two_parts_of_one_name_are_refused_with_both_places(build: Any, kind: str) -> None:
    part = other(kind)
    with pytest.raises(DefinitionError, match=r"two parts are named 'write'") as told:
        build(part)
    assert "test_naming.py:" in str(told.value)
    if kind != "compiled":
        assert str(told.value).count("test_naming.py:") == 2


def test_the_places_are_those_of_the_definitions() -> None:
    one = refine(write, grade, until=bool, rounds=2)
    two = refine(chain(write), grade, until=bool, rounds=2, name="refine_write")
    line = inspect.currentframe().f_lineno  # type: ignore[union-attr]
    with pytest.raises(DefinitionError) as told:
        chain(one, two)
    assert all(f"test_naming.py:{line - back}" in str(told.value) for back in (1, 2))


def test_one_part_at_several_places_gets_a_number() -> None:
    def nodes(graph: Any) -> set[str]:
        return set(graph.nodes)

    assert nodes(chain(look, write, look)) == {"look", "write", "look_2"}
    assert nodes(chain(write, write.on("large"))) == {"write", "write_2"}
    assert nodes(chain(write, gate(look), write, gate(look))) == {"write", "look", "write_2", "look_2"}
    polish = refine(write, grade, until=bool, rounds=2)
    assert nodes(chain(polish, look, polish)) == {"refine_write", "look", "refine_write_2"}
    assert nodes(chain(other("function"), other("function"))) == {"write", "write_2"}, "made by one factory"
    assert nodes(vote(write, 3, uncertain="")) == {"start", "write", "write_2", "write_3", "count"}


def test_a_patterns_own_nodes_step_aside() -> None:
    def begin(note: Note) -> dict[str, str]:
        return {"text": "x"}

    app = refine(begin, grade, until=bool, rounds=1)
    assert {"begin", "begin_2"} <= set(app.nodes)


NAMED: dict[str, Callable[[str], Any]] = {
    "agent": lambda name: agent(write, tools=[search], name=name),
    "attempt": lambda name: attempt(write, otherwise={}, name=name),
    "cascade": lambda name: cascade(write, write.on("large"), accept=bool, name=name),
    "chain": lambda name: chain(write, name=name),
    "ensemble": lambda name: ensemble([write], score=len, name=name),
    "fan_out": lambda name: fan_out(cut, write, into="parts", name=name),
    "gate": lambda name: gate(look, name=name),
    "gate with otherwise": lambda name: gate(look, otherwise=write, name=name),
    "guard": lambda name: guard(write, look, name=name),
    "map_reduce": lambda name: map_reduce(cut, write, join=join, into="whole", tokens=99, name=name),
    "orchestrate": lambda name: orchestrate(cut, write, grade, into="parts", name=name),
    "refine": lambda name: refine(write, grade, until=bool, rounds=1, name=name),
    "route": lambda name: route(look, {True: write}, fallback=write, name=name),
    "section": lambda name: section({"a": write}, name=name),
    "verify": lambda name: verify(write, grade, agrees=bool, name=name),
    "vote": lambda name: vote(write, 2, uncertain="", name=name),
    "within": lambda name: within(write, Budget(calls=1), name=name),
}


@pytest.mark.parametrize("pattern", NAMED)
def test_every_pattern_takes_a_name(pattern: str) -> None:
    one, two = NAMED[pattern]("first"), NAMED[pattern]("second")
    assert {"first", "second"} <= set(chain(look, one, two).nodes)
    if pattern not in ("chain", "gate"):  # a gate is one node
        other_place = chain(look, name="first")
        with pytest.raises(DefinitionError, match="two parts are named 'first'"):
            chain(look, NAMED[pattern]("first"), other_place)


def test_a_bounded_part_keeps_its_own_name() -> None:
    inner = chain(look, write, name="inner")
    assert within(inner, Budget(calls=1), name="bounded").outline() == ["inner(look, write)"]
    assert list(within(write, Budget(calls=1), name="bounded").nodes) == ["write"]
