"""The workflows that are killed: each pattern, nodes with many calls, fan-outs, nesting, an interrupt.

No two calls of a workflow ask the same, except where the scenario is about equal calls.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt

from stepgraph import Ask, Workflow, chain, refine, route, step

from .patterns import GRAPHS, Job

Kind = Literal["howto", "opinion"]
NO_CAP = 1000


@dataclass
class Work:
    topic: str = "tea"
    kind: Kind = "opinion"
    draft: str = ""
    number: int = 0
    grade: int = 0
    notes: Annotated[list[str], operator.add] = field(default_factory=list)


@step("draft")
def plan(work: Work) -> Ask[str]:
    return Ask(f"Outline {work.topic}.")


@step("draft")
def improve(work: Work) -> Ask[str]:
    return Ask(f"Improve {work.draft} with {len(work.notes)} notes.")


@step("kind")
def classify(work: Work) -> Ask[Kind]:
    return Ask(f'Which kind is {work.draft}? Say {{"answer": "howto"}}')


@step("grade")
def judge(work: Work) -> Ask[int]:
    return Ask(f'Grade {work.draft}. Say {{"answer": {work.number}}}')


@step("draft")
def note(work: Work) -> Ask[str]:
    return Ask(f"Note {work.number} on {work.topic}.")


async def redraft(work: Work) -> dict[str, Any]:
    return {"draft": await improve.answer(work), "number": work.number + 1}


async def one_by_one(work: Work) -> dict[str, Any]:
    return {"notes": [await note.answer(replace(work, number=number)) for number in range(8)]}


async def equal_one_by_one(work: Work) -> dict[str, Any]:
    return {"notes": [await note.answer(work) for _ in range(8)]}


async def at_once(work: Work) -> dict[str, Any]:
    """Ask for twelve notes, each of four questions three times, all at once."""
    asks = [note.answer(replace(work, number=number % 4)) for number in range(12)]
    return {"notes": await asyncio.gather(*asks)}


async def distinct_at_once(work: Work) -> dict[str, Any]:
    return {"notes": await asyncio.gather(*(note.answer(replace(work, number=n)) for n in range(12)))}


async def equal_at_once(work: Work) -> dict[str, Any]:
    return {"notes": await asyncio.gather(*(note.answer(work) for _ in range(12)))}


async def review(work: Work) -> dict[str, Any]:
    before = [await note.answer(replace(work, number=number)) for number in range(3)]
    before += await asyncio.gather(*(note.answer(replace(work, number=number)) for number in range(3, 6)))
    said = interrupt("Go on?")
    return {"notes": [*before, said, await note.answer(replace(work, number=9))]}


async def branch(work: Work) -> dict[str, Any]:
    return {"notes": [await note.answer(work)]}


def branch_in_thread(work: Work, config: RunnableConfig) -> dict[str, Any]:
    return {"notes": [note.invoke(work, config)["draft"]]}


async def branch_with_review(work: Work) -> dict[str, Any]:
    asked = await note.answer(work)
    return {"notes": [asked, interrupt("Go on?")] if work.number % 2 else [asked]}


def fan_out(width: int, node: Callable[..., Any] = branch) -> Any:
    """Return a plain LangGraph graph that sends to the node `width` times, then asks once more."""

    def split(work: Work) -> list[Send]:
        return [Send("branch", replace(work, number=number, notes=[])) for number in range(width)]

    graph: Any = StateGraph(Work)
    graph.add_node("branch", node)
    graph.add_node("close", improve)
    graph.add_conditional_edges(START, split, ["branch"])
    graph.add_edge("branch", "close")
    graph.add_edge("close", END)
    return graph.compile()


def loop() -> Workflow[Work]:
    return refine(redraft, judge, until=lambda grade: grade >= 4, rounds=5)


def routed() -> Workflow[Work]:
    either = route(classify, {"howto": improve, "opinion": plan})
    return chain(plan, either)


def nested() -> Workflow[Work]:
    inner = route(classify, {"howto": chain(improve, loop(), distinct_at_once), "opinion": improve})
    return chain(plan, chain(inner, improve, name="middle"), improve)


@dataclass(frozen=True)
class Scenario:
    """A workflow, the cap on its calls at once, and how it is run.

    `sync` runs it by `invoke`, in threads; `locked` while another process often holds the file's lock.
    With several `models`, the next one is asked where an answer does not fit.
    """

    graph: Callable[[], Any]
    cap: int = NO_CAP
    given: Callable[[], Any] = Work
    models: tuple[str, ...] = ("stub",)
    sync: bool = False
    locked: bool = False


def _chained(*parts: Any) -> Callable[[], Any]:
    return lambda: chain(*parts).compile()


SCENARIOS: dict[str, Scenario] = {
    "chain": Scenario(_chained(plan, *[improve] * 5)),
    "chain, by invoke": Scenario(_chained(plan, *[improve] * 5), sync=True),
    "route": Scenario(lambda: routed().compile()),
    "refine": Scenario(lambda: chain(plan, loop()).compile()),
    "calls one by one": Scenario(_chained(plan, one_by_one, improve)),
    "equal calls one by one": Scenario(_chained(plan, equal_one_by_one, improve)),
    "calls at once": Scenario(_chained(plan, distinct_at_once, improve)),
    "equal calls at once": Scenario(_chained(plan, equal_at_once, improve)),
    "mixed calls at once": Scenario(_chained(plan, at_once, improve)),
    "fan-out of 50": Scenario(lambda: fan_out(50)),
    "fan-out of 50, cap 8": Scenario(lambda: fan_out(50), cap=8),
    "fan-out of 200": Scenario(lambda: fan_out(200)),
    "fan-out of 200, cap 8": Scenario(lambda: fan_out(200), cap=8),
    "fan-out of 50, by invoke": Scenario(lambda: fan_out(50, branch_in_thread), sync=True),
    "nested": Scenario(lambda: nested().compile()),
    "nested fan-out": Scenario(_chained(plan, chain(improve, chain(improve, fan_out(20)))), cap=8),
    "interrupt": Scenario(_chained(plan, review, improve)),
    "interrupts in branches": Scenario(lambda: fan_out(20, branch_with_review)),
    "chain, locks": Scenario(_chained(plan, *[improve] * 5), locked=True),
    "chain, by invoke, locks": Scenario(_chained(plan, *[improve] * 5), sync=True, locked=True),
    "nested, locks": Scenario(lambda: nested().compile(), locked=True),
    **{name: Scenario(lambda made=made: made().compile(), given=Job) for name, made in GRAPHS.items()},
}
SCENARIOS["fallback"] = replace(SCENARIOS["fallback"], models=("weak", "stub"))
SCENARIOS["fallback, locks"] = replace(SCENARIOS["fallback"], locked=True)
SCENARIOS["section of patterns, by invoke"] = replace(SCENARIOS["section of patterns"], sync=True)
SCENARIOS["fan_out of chains, cap 8"] = replace(SCENARIOS["fan_out of chains"], cap=8)
ARRIVALS = ("burst", "spread", "volley")
