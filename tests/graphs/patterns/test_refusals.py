"""Patterns that cannot be built as asked: the error names the pattern, the option, and what would do."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from stepgraph import Ask, agent, chain, ensemble, fan_out, route, section, step, verify, vote
from stepgraph.nodes.toolkits import tools_by_name
from stepgraph.state.errors import DefinitionError, InputError


@dataclass
class Note:
    text: str = ""
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    drafts: list[str] = field(default_factory=list)
    notes: list[Any] = field(default_factory=list)
    mood: Literal["good", "bad"] = "good"


@step("text")
def write(note: Note) -> Ask[str]:
    return Ask("Write.")


@step("mood")
def judge(note: Note) -> Ask[Literal["good", "bad"]]:
    return Ask("Good?")


@step("log")
def note_down(note: Note) -> Ask[list[str]]:
    return Ask("What?")


def keep(note: Note) -> dict[str, str]:
    return {"text": note.text}


def rate(note: Note) -> float:
    return 1.0


def look(word: str) -> str:
    """Look a word up."""
    return word


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: agent(write, tools=[look], timeout_s=0),
            r"agent\(timeout_s=0\): expected seconds, more than 0",
        ),
        (lambda: agent(write, tools=[look], timeout_s=float("nan")), "more than 0"),
        (lambda: agent(keep, tools=[look]), r"agent\(\) takes a step: @step"),
        (lambda: agent(write, tools=[]), "at least one tool"),
        (lambda: tools_by_name([look, look]), "the name 'look' is given twice. Rename the tool"),
        (lambda: ensemble([]), r"ensemble\(\) takes a list of candidates"),
        (lambda: ensemble([write]), "either score=… .* or merge=…"),
        (lambda: ensemble([write], score=rate, merge=keep, into="drafts"), "either score=… .* or merge=…"),
        (lambda: ensemble([write], merge=keep), r"ensemble\(merge=…\) needs into=…"),
        (lambda: ensemble([write], score=rate, timeout_s=0), r"ensemble\(timeout_s=0\)"),
        (lambda: route(judge, [write]), "branches as a mapping"),
        (lambda: route(judge, {}), "at least one branch"),
        (lambda: route(judge, {"good": write, "bad": keep}, min_confidence=1.01), "between 0 and 1"),
        (lambda: section([write, keep]), "branches as a mapping"),
        (lambda: section({}), "branches as a mapping"),
        (
            lambda: section({"law": write}, defaults={"lew": {"text": ""}}),
            r"section\(defaults=…\): no branch 'lew'. Did you mean 'law'",
        ),
        (lambda: section({"law": write}, defaults={"law": {"tekst": ""}}), "the default of 'law'.*'tekst'"),
        (lambda: verify(write, judge, agrees=bool, tries=-1), r"verify\(tries=-1\): expected a whole number"),
        (
            lambda: verify(write, judge, agrees=bool, tries=1.5),
            r"verify\(tries=1.5\): expected a whole number",
        ),
        (lambda: vote(note_down, n=3), "'log' has a reducer"),
        (
            lambda: vote(judge, n=3, field="mood", uncertain="who knows"),
            r"Note\.mood cannot be 'who knows'",
        ),
    ],
)
def test_a_pattern_that_cannot_be_built(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        make()


@pytest.mark.parametrize("items", ["three", b"three", 3, None])
def test_what_is_split_off_is_a_list(items: Any) -> None:
    def split(note: Note) -> Any:
        return items

    app = fan_out(split, write, into="notes").compile()
    with pytest.raises(InputError, match=rf"'split' gave {type(items).__name__}; expected a list of items"):
        app.invoke(Note())


def test_the_edges_of_what_options_take() -> None:
    agent(write, tools=[look], timeout_s=0.001)
    verify(write, judge.on("judge"), agrees=bool, tries=0)
    for confidence in (0, 1):
        route(judge, {"good": write, "bad": keep}, min_confidence=confidence)
    vote(judge, n=3, uncertain="bad")
    chain(section({"law": write}, defaults={"law": {"text": ""}})).compile()
