"""A fork that gives a call's answer asks nobody for the tries before it, whatever made them necessary."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.state.errors import InvalidAnswer
from stepgraph.tracing import fork
from stepgraph.tracing.record.reads import read_calls


class Sum(BaseModel):
    total: int
    confidence: float = 1.0


@dataclass
class Slip:
    text: str
    sum: Sum | None = None
    other: str = ""
    totals: list[int] = field(default_factory=list)


@step("sum")
def extract(slip: Slip) -> Ask[Sum]:
    return Ask(slip.text)


@step("other")
def title(slip: Slip) -> Ask[str]:
    return Ask(f"A title for {slip.text}")


async def both(slip: Slip) -> dict[str, Any]:
    other = await title.answer(slip)
    return {"other": other, "sum": await extract.answer(slip)}


async def side_by_side(slip: Slip) -> dict[str, Any]:
    one, two = await asyncio.gather(extract.answer(slip), extract.answer(slip))
    return {"sum": one, "totals": [one.total, two.total]}


GOOD, GIVEN = json.dumps({"total": 1}), json.dumps({"total": 9})
UNSURE = json.dumps({"total": 2, "confidence": 0.1})
GRAPHS: dict[str, Any] = {
    "step": chain(extract).compile(),
    "nested": chain(chain(extract), title).compile(),
    "one of two": chain(both).compile(),
}
ANSWERS = {
    "none fits": ["no", "none", "nothing"],
    "the same twice": ["no", "no", GOOD],
    "the second fits": ["no", GOOD],
    "the third fits": ["no", json.dumps({"total": "much"}), GOOD],
}


def model(answers: list[str], name: str = "scripted") -> ScriptedModel:
    scripted = ScriptedModel({"extract": list(answers), "title": ["Slip"]})
    scripted.name = name
    return scripted


def first_life(session: Session, graph: Any, bound: Any) -> None:
    with using(bound), contextlib.suppress(InvalidAnswer):
        graph.invoke(Slip("A-1"), session.config("t"))


def second_life(session: Session, graph: Any, call: str, bound: Any) -> Any:
    new = fork(session, "t", call=call, answer=GIVEN, graph=graph)
    with using(bound):
        result = graph.invoke(None, session.config(new))
    assert [row["source"] for row in read_calls(session.journal, new) if row["step"] == "extract"] == [
        "override"
    ]
    return result


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_the_answer_is_used_whichever_try_is_named(session: Session, graph: Any, answers: list[str]) -> None:
    first_life(session, graph, model(answers))
    tries = [row["id"] for row in read_calls(session.journal, "t") if row["step"] == "extract"]
    assert len(tries) == len(answers)
    for call in ("extract", *tries):
        asked = model([])
        assert second_life(session, graph, call, asked)["sum"].total == 9
        assert [name for name, _ in asked.asks if name == "extract"] == []


@pytest.mark.parametrize("answers", [["no", GOOD], [UNSURE, GOOD], ["no", UNSURE], ["no", "no"]])
def test_a_chain_of_models_is_not_asked(session: Session, answers: list[str]) -> None:
    def bound(first: list[str], second: list[str]) -> Any:
        return [model(first, "small"), model(second, "large")]

    graph = GRAPHS["step"]
    small, large = answers
    first_life(session, graph, bound([small] * 3, [large] * 3))
    for call in [row["id"] for row in read_calls(session.journal, "t")]:
        asked = bound([], [])
        assert second_life(session, graph, call, asked)["sum"].total == 9
        assert [each.asks for each in asked] == [[], []]


class InTurns:
    """A model whose answers come in the order of their questions, after all that are asked at once."""

    name = "scripted"

    def __init__(self, answers: list[str]) -> None:
        self._answers = model(answers)

    async def complete(self, request: Any, context: Any) -> Any:
        reply = await self._answers.complete(request, context)
        await asyncio.sleep(0.01)
        return reply


@pytest.mark.parametrize("wrong", [["no", "none"], ["no", "no"]])
@pytest.mark.parametrize("answered", [model, InTurns])
def test_equal_questions_beside_it_keep_their_answers(
    session: Session, wrong: list[str], answered: Any
) -> None:
    graph = chain(side_by_side).compile()
    first_life(session, graph, answered([*wrong, GOOD, json.dumps({"total": 2})]))
    *_, kept, chosen = read_calls(session.journal, "t")
    new = fork(session, "t", call=chosen["id"], answer=GIVEN, graph=graph)
    asked = model([])
    with using(asked):
        totals = graph.invoke(None, session.config(new))["totals"]
    assert totals == [json.loads(kept["answer"])["total"], 9]
    assert asked.asks == []


def test_what_a_person_answers_in_a_conversation_is_no_correction(session: Session) -> None:
    async def talk(slip: Slip) -> dict[str, Any]:
        request = title.request(slip)
        first = await title.answer_to(request)
        said = ({"role": "assistant", "content": first}, {"role": "user", "content": "Shorter!"})
        return {"other": await title.answer_to(type(request)(messages=(*request.messages, *said)))}

    graph = chain(talk).compile()
    with using(ScriptedModel(["A long title", "Short"])):
        graph.invoke(Slip("A-1"), session.config("t"))
    last = read_calls(session.journal, "t")[-1]["id"]
    new = fork(session, "t", call=last, answer="Given", graph=graph)
    asked = ScriptedModel([])
    with using(asked):
        assert graph.invoke(None, session.config(new))["other"] == "Given"
    assert [row["source"] for row in read_calls(session.journal, new)] == ["copied", "override"]
    assert asked.asks == []
