"""A run that did not end keeps each answer that was paid for: in its values, or among the unmerged."""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from stepgraph import (
    Ask,
    Budget,
    RunResult,
    ScriptedModel,
    Session,
    ToolCall,
    agent,
    chain,
    ensemble,
    fan_out,
    guard,
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
    safe: bool = False
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    drafts: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    digest: Item | None = None


@step("text")
def note(item: Item) -> Ask[str]:
    return Ask(f"note {item.n}")


@step("more")
def deepen(item: Item) -> Ask[str]:
    return Ask(f"deepen {item.n} {item.text}")


@step("text")
def write(paper: Paper) -> Ask[str]:
    return Ask(f"write {paper.score} {paper.text}")


@step("text")
def rewrite(paper: Paper) -> Ask[str]:
    return Ask(f"rewrite {paper.text}")


@step("more")
def extend(paper: Paper) -> Ask[str]:
    return Ask(f"extend {paper.text}")


@step("side")
def look(paper: Paper) -> Ask[str]:
    return Ask("look")


@step("log")
def add(paper: Paper) -> Ask[list[str]]:
    return Ask("add")


@step("log")
def add_more(paper: Paper) -> Ask[list[str]]:
    return Ask(f"add more {paper.more}")


@step("score")
def grade(paper: Paper) -> Ask[int]:
    return Ask(f"grade {paper.text}")


@step("safe")
def screen(paper: Paper) -> Ask[bool]:
    return Ask("screen")


@step("end")
def finish(paper: Paper) -> Ask[str]:
    return Ask(f"finish {paper.text} {paper.digest}")


@rule("items")
def split(paper: Paper) -> list[Item]:
    return [Item(n) for n in range(4)]


def join(items: list[Item]) -> Item:
    return Item(max(item.n for item in items) + 10)


def look_up(what: str) -> str:
    """Look something up."""
    return f"found {what}"


async def two_at_once(paper: Paper, config: RunnableConfig) -> dict[str, Any]:
    """A plain node that asks several things."""
    first = await write.answer(paper, config)
    return {"text": first, "side": await look.answer(paper, config)}


def raw(*parts: Any) -> Any:
    """LangGraph's own graph around a part, as users build it."""
    graph = StateGraph(Paper)
    names = [f"part{number}" for number, _ in enumerate(parts)]
    for name, part in zip(names, parts, strict=True):
        graph.add_node(name, part)
    for one, other in itertools.pairwise([START, *names, END]):
        graph.add_edge(one, other)
    return graph.compile()


both = chain(note, deepen)
long = chain(write, extend)

BUILDS: dict[str, Callable[[], Any]] = {
    "fan_out": lambda: fan_out(split, note, into="items"),
    "fan_out of chains": lambda: fan_out(split, both, into="items"),
    "fan_out in a chain in a section": lambda: section(
        {"one": chain(write, fan_out(split, both, into="items")), "two": look}
    ),
    "map_reduce": lambda: map_reduce(split, note, join=join, into="digest", tokens=500),
    "map_reduce of chains": lambda: map_reduce(
        split, both, reduce=note, join=join, into="digest", parts="items", tokens=500
    ),
    "orchestrate": lambda: orchestrate(split, both, finish, into="items"),
    "section": lambda: section({"one": long, "two": look}, merge=finish),
    "section with a reducer": lambda: section({"one": chain(write, add), "two": chain(look, add_more)}),
    "section in a hand-written graph": lambda: chain(
        look, raw(section({"one": long, "two": add}).compile(), finish)
    ),
    "vote": lambda: vote(write, 3, uncertain=""),
    "vote of chains": lambda: vote(long, 3, field="text", uncertain=""),
    "ensemble": lambda: ensemble([write, rewrite], score=len),
    "ensemble of chains": lambda: ensemble(
        [chain(look, write), chain(add, rewrite)], field="text", score=len
    ),
    "ensemble with a merge": lambda: ensemble([write, rewrite], into="drafts", merge=finish),
    "refine": lambda: refine(write, grade, until=lambda score: score > 2, rounds=5),
    "refine of chains": lambda: refine(long, grade, until=lambda score: score > 2, rounds=5),
    "agent": lambda: chain(add, agent(write, tools=[look_up])),
    "within": lambda: within(chain(long, finish), Budget(calls=50)),
    "plain node": lambda: chain(two_at_once, finish),
    "guard": lambda: chain(long, guard(chain(look, finish), screen, bool)),
}


class Teller(ScriptedModel):
    """Answers each call with words of its own, and knows them."""

    def __init__(self) -> None:
        super().__init__(self._say)
        self.said: list[str] = []
        self._grades = itertools.count(1)
        self._turns = 0

    def _say(self, request: Any, context: Any) -> Any:
        if context.step == "grade":
            return next(self._grades)
        if context.step == "screen":
            return True
        word = f"<{context.step} {len(self.said)}>"
        self.said.append(word)
        if request.tools and self._turns < 2:
            self._turns += 1
            return ToolCall("look_up", {"what": word})
        return [word] if context.step.startswith("add") else word


def held(result: RunResult) -> set[str]:
    """Return the model's words in a result."""
    return set(re.findall(r"<\w+ \d+>", f"{result.values} {dict(result.unmerged)}"))


@pytest.mark.parametrize("name", BUILDS)
def test_every_paid_answer_is_in_a_partial_result(name: str, session: Session) -> None:
    """The run ends after each call in turn; what a loop wrote over is in the state's history alone."""
    graph = BUILDS[name]().compile()
    with using(whole := Teller()):
        expected = run(graph, Paper(), session, "whole")
    assert expected.status == "done"
    assert not expected.unmerged
    with using(model := Teller()):
        for calls in range(1, expected.spent.calls):
            result = (
                run(graph, Paper(), session, "t", budget=Budget(calls=calls))
                if calls == 1
                else resume(graph, session, "t", budget=Budget(calls=calls))
            )
            assert (result.status, result.spent.calls) == ("partial", calls)
            assert result.missing
            lost = set(model.said) - held(result)
            if name.startswith("refine"):
                lost &= set(model.said[-1:])
            if name == "guard":
                lost -= set(model.said[2:])  # nobody sees what it may stop
            assert not lost, (calls, result)
        last = resume(graph, session, "t", budget=Budget())
    assert (last.status, last.spent.calls, last.unmerged) == ("done", expected.spent.calls, {})
    assert len(model.said) == len(whole.said)


def ask_person(item: Item) -> dict[str, str]:
    return {"more": interrupt("ok?")} if item.n == 2 else {"more": "fine"}


def test_an_interrupted_result_holds_what_was_paid_for_too(session: Session) -> None:
    graph = fan_out(split, chain(note, ask_person), into="items").compile()
    with using(Teller()):
        first = run(graph, Paper(), session, "t")
        again = resume(graph, session, "t")
        for result in (first, again):
            assert (result.status, [item.n for item in result.values["items"]]) == ("interrupted", [0, 1, 3])
            assert len(result.unmerged) == 1
            assert len(held(result)) == 4
        last = resume(graph, session, "t", answer="ok")
    assert (last.status, last.unmerged, len(last.values["items"])) == ("done", {}, 4)


def test_the_items_that_are_done_are_in_their_field_and_the_others_in_missing(session: Session) -> None:
    graph = fan_out(split, note, into="items").compile()
    with using(Teller()):
        result = run(graph, Paper(), session, "t", budget=Budget(calls=3))
    assert [item.n for item in result.values["items"]] == [0, 1, 2]
    assert (result.missing, result.unmerged) == (("note[3]",), {})


@pytest.mark.parametrize("calls", [1, 2, 4, 5])
def test_the_state_of_a_graph_that_a_function_calls_is_not_that_of_the_graph_around_it(
    calls: int, session: Session
) -> None:
    inner = chain(note, deepen, note).compile()

    async def call(paper: Paper, config: RunnableConfig) -> dict[str, Any]:
        done = await inner.ainvoke(Item(1), config)
        return {"side": done["text"]}

    graph = chain(call, fan_out(split, chain(note, deepen), into="items"), finish).compile()
    with using(Teller()):
        result = run(graph, Paper(), session, "t", budget=Budget(calls=calls))
    assert (result.values["text"], result.values["more"]) == ("", "")
    assert result.unmerged


def test_a_branch_that_is_late_does_not_undo_one_that_is_done(session: Session) -> None:
    """Both began with the state as it was; each has its own fields, and both add to the log."""
    graph = section({"one": chain(add, write, extend), "two": chain(look, add_more, finish)}).compile()
    with using(model := Teller()):
        for calls in range(1, 6):
            result = run(graph, Paper(), session, f"t{calls}", budget=Budget(calls=calls))
            words = re.findall(r"<\w+ \d+>", str(result.values))
            assert sorted(words) == sorted(model.said[-calls:])
            assert not result.unmerged
