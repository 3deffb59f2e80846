"""A run that did not end keeps what was paid for over every kind of state, with patterns nested twice."""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, Field

from stepgraph import (
    Ask,
    Budget,
    RunResult,
    ScriptedModel,
    Session,
    chain,
    ensemble,
    fan_out,
    map_reduce,
    orchestrate,
    refine,
    resume,
    rule,
    run,
    section,
    step,
    using,
    vote,
    within,
)


@dataclass
class Item:
    n: int = 0
    text: str = ""
    more: str = ""


@dataclass
class Paper:
    text: str = ""
    more: str = ""
    side: str = ""
    end: str = ""
    score: int = 0
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    digest: Item | None = None


class ItemModel(BaseModel):
    n: int = 0
    text: str = ""
    more: str = ""


class PaperModel(BaseModel):
    text: str = ""
    more: str = ""
    side: str = ""
    end: str = ""
    score: int = 0
    log: Annotated[list[str], operator.add] = Field(default_factory=list)
    items: list[ItemModel] = Field(default_factory=list)
    digest: ItemModel | None = None


class ItemDict(TypedDict, total=False):
    n: int
    text: str
    more: str


class PaperDict(TypedDict, total=False):
    text: str
    more: str
    side: str
    end: str
    score: int
    log: Annotated[list[str], operator.add]
    items: list[ItemDict]
    digest: ItemDict | None


KINDS: dict[str, tuple[Any, Any]] = {
    "dataclass": (Paper, Item),
    "pydantic": (PaperModel, ItemModel),
    "TypedDict": (PaperDict, ItemDict),
}


def of(state: Any, name: str) -> Any:
    return state.get(name) if isinstance(state, dict) else getattr(state, name)


class Kit:
    """The steps of the test over one kind of state."""

    def __init__(self, kind: str) -> None:
        self.paper, self.item = KINDS[kind]
        self.write = self.asking("write", "text")
        self.rewrite = self.asking("rewrite", "text")
        self.extend = self.asking("extend", "more")
        self.look = self.asking("look", "side")
        self.add = self.asking("add", "log", answer=list[str])
        self.grade = self.asking("grade", "score", answer=int)
        self.finish = self.asking("finish", "end")
        self.note = self.asking("note", "text", state=self.item)
        self.deepen = self.asking("deepen", "more", state=self.item)
        self.split = self._split()
        self.join = self._join()

    def asking(self, name: str, field: str, state: Any = None, answer: Any = str) -> Any:
        def ask(given: Any) -> Any:
            return Ask(f"{name} {of(given, 'n') if state else ''} {of(given, 'text')} {of(given, field)}")

        ask.__name__ = name
        ask.__annotations__ = {"given": state or self.paper, "return": Ask[answer]}
        return step(field)(ask)

    def _split(self) -> Any:
        def split(given: Any) -> Any:
            return [self.item(n=number) for number in range(3)]

        split.__annotations__ = {"given": self.paper, "return": list[self.item]}  # type: ignore[name-defined]
        return split

    def _join(self) -> Any:
        def join(items: Any) -> Any:
            return self.item(n=max(of(item, "n") for item in items) + 10)

        join.__annotations__ = {"items": list[self.item], "return": self.item}  # type: ignore[name-defined]
        return join


def raw(kit: Kit, part: Any) -> Any:
    """LangGraph's own graph around a part, as users build it."""
    graph = StateGraph(kit.paper)
    graph.add_node("part", part.compile())
    graph.add_edge(START, "part")
    graph.add_edge("part", END)
    return graph.compile()


PARTS: dict[str, Callable[[Kit], Any]] = {
    "chain": lambda k: chain(k.write, k.extend),
    "fan_out": lambda k: fan_out(k.split, chain(k.note, k.deepen), into="items"),
    "map_reduce": lambda k: map_reduce(k.split, k.note, join=k.join, into="digest", tokens=500),
    "orchestrate": lambda k: orchestrate(rule("items")(k.split), k.note, k.extend, into="items"),
    "vote": lambda k: vote(k.write, 3, uncertain=""),
    "ensemble": lambda k: ensemble([k.write, k.rewrite], score=len),
    "refine": lambda k: refine(k.write, k.grade, until=lambda score: score > 1, rounds=3),
    "section": lambda k: section({"one": chain(k.write, k.add), "two": k.extend}),
}
# What has ended with fewer answers than it asked for, and whose: the others are nowhere in the end either.
CONSUMING = {"vote": "write", "ensemble": ("write", "rewrite"), "map_reduce": "note"}
NESTS: dict[str, Callable[[Kit, Any], Any]] = {
    "section in a section": lambda k, part: section(
        {"out": section({"in": chain(part, k.finish), "beside": k.look}), "apart": k.add}
    ),
    "within in a hand-written graph": lambda k, part: chain(
        k.look, raw(k, within(chain(part, k.finish), Budget(calls=50)))
    ),
}


class Teller(ScriptedModel):
    """Answers each call with a word of its own, and knows the words."""

    def __init__(self) -> None:
        super().__init__(self._say)
        self.said: list[str] = []
        self._grades = itertools.count(1)

    def _say(self, request: Any, context: Any) -> Any:
        if context.step == "grade":
            return next(self._grades)
        word = f"<{context.step} {len(self.said)}>"
        self.said.append(word)
        return [word] if context.step == "add" else word


def held(result: RunResult) -> set[str]:
    return set(re.findall(r"<\w+ \d+>", f"{result.values} {dict(result.unmerged)}"))


@pytest.mark.parametrize(
    ("kind", "part", "nest"),
    [
        (kind, part, list(NESTS)[(i + j) % len(NESTS)])
        for i, kind in enumerate(KINDS)
        for j, part in enumerate(PARTS)
    ],
)
def test_what_was_paid_for_is_there_after_each_call(
    session: Session, kind: str, part: str, nest: str
) -> None:
    kit = Kit(kind)
    graph = NESTS[nest](kit, PARTS[part](kit)).compile()
    with using(Teller()):
        whole = run(graph, kit.paper(text=""), session, "whole")
    assert (whole.status, dict(whole.unmerged)) == ("done", {})
    with using(model := Teller()):
        for calls in range(1, whole.spent.calls):
            budget = Budget(calls=calls)
            result = (
                run(graph, kit.paper(text=""), session, "t", budget=budget)
                if calls == 1
                else resume(graph, session, "t", budget=budget)
            )
            assert (result.status, result.spent.calls) == ("partial", calls)
            assert result.missing
            lost = set(model.said) - held(result)
            if part in CONSUMING and any("finish" in path for path in result.missing):
                lost -= {word for word in model.said if word[1:].startswith(CONSUMING[part])}
            if part == "refine":  # a round's text is written over by the next one's
                lost -= {word for word in model.said if word.startswith("<write")}
            assert not lost, (calls, result)
            for value in result.values.get("items") or []:
                assert type(value) is (dict if kind == "TypedDict" else kit.item)
        last = resume(graph, session, "t", budget=Budget())
    assert (last.status, last.spent.calls, dict(last.unmerged)) == ("done", whole.spent.calls, {})
