"""Async functions and LangChain's decisions decide in every pattern."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_openai.decisions.types import ChoiceAnswer, DecisionResponse, PredicateAnswer, RefusalAnswer

from stepgraph import (
    Session,
    Workflow,
    chain,
    fan_out,
    gate,
    guard,
    map_reduce,
    refine,
    route,
    rule,
)

from .deciding_cases import Mood, Text, join, judged, keep, mark

# Async functions


async def later(text: Text) -> str:
    await asyncio.sleep(0)
    return "bad"


async def passes(text: Text) -> bool | str:
    await asyncio.sleep(0)
    return text.text == "x" or "not x."


async def split(text: Text) -> list[Text]:
    await asyncio.sleep(0)
    return [Text("a"), Text("b")]


@rule("mood")
async def fetched(text: Text) -> Mood:
    await asyncio.sleep(0)
    return "bad"


ASYNC: dict[str, tuple[Callable[[], Workflow[Any]], Callable[[dict[str, Any]], bool]]] = {
    "classifier": (lambda: route(later, {"bad": mark}, fallback=keep), judged),
    "rule": (lambda: route(fetched, {"bad": mark}, fallback=keep), lambda result: result["mood"] == "bad"),
    "gate": (lambda: chain(gate(passes), mark), judged),
    "gate that repairs": (lambda: chain(gate(passes, repair=mark), mark), judged),
    "guard": (lambda: guard(mark, passes), judged),
    "judge": (lambda: refine(mark, later, until=lambda mood: mood == "bad", rounds=3), judged),
    "split": (lambda: fan_out(split, mark, into="parts"), lambda result: len(result["parts"]) == 2),
    "pieces": (
        lambda: map_reduce(split, mark, join=join, into="whole", tokens=10_000, reduce=mark),
        lambda result: bool(result["whole"]),
    ),
}


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("name", ASYNC)
async def test_async_functions_decide(name: str, sync: bool) -> None:
    build, holds = ASYNC[name]
    app = build().compile()
    assert holds(await (asyncio.to_thread(app.invoke, Text()) if sync else app.ainvoke(Text())))


# LangChain's decisions

CHOICE = ChoiceAnswer(type="choice", choice="bad", probabilities={"good": 0.3, "bad": 0.7}, confidence=0.4)


DECISIONS: dict[str, tuple[Any, str, float | None]] = {
    "choice": (CHOICE, "bad", 0.4),
    "response": (DecisionResponse(model="m", answers={"way": CHOICE}), "bad", 0.4),
    "plain": ({"choice": "bad", "probabilities": {"good": 0.3, "bad": 0.7}}, "bad", 0.7),
    "predicate": (PredicateAnswer(type="predicate", probability=0.2), "False", 0.8),
    "refused": (RefusalAnswer(type="refusal"), "fallback", None),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_a_route_takes_decisions_with_probabilities(name: str, session: Session) -> None:
    value, way, confidence = DECISIONS[name]

    def decide(text: Text) -> Any:
        return value

    graph = route(decide, {"good": keep, "bad": mark, True: keep, False: mark}, fallback=keep)
    graph.compile().invoke(Text(), session.config("t"))
    (row,) = session.journal.query("SELECT choice, confidence, reason FROM decisions")
    assert (row["choice"], row["confidence"]) == (way, confidence)
    if name in ("choice", "response", "plain"):
        assert row["reason"] == "bad 0.70, good 0.30"
        unsure = route(decide, {"bad": mark}, fallback=keep, min_confidence=0.9)
        assert unsure.compile().invoke(Text())["log"] == []
