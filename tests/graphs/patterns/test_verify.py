from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from langgraph.types import Command
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, chain, review, rule, step, using, verify
from stepgraph.nodes.costs import cost_of, least, most
from stepgraph.state.errors import DefinitionError, GateFailed


class Opinion(BaseModel):
    correct: bool
    why: str = ""


@dataclass
class Sum:
    task: str = "17 x 3"
    plan: str = ""
    result: str = ""
    opinion: Opinion | None = None


@step("result")
def solve(sum: Sum) -> Ask[str]:
    return Ask(sum.task)


@step("opinion", model="judge")
def check(sum: Sum) -> Ask[Opinion]:
    return Ask(f"{sum.task} = {sum.result}?")


@rule("opinion")
def by_code(sum: Sum) -> Opinion:
    return Opinion(correct=sum.result == "51")


@review("result")
def person(sum: Sum) -> str:
    return f"{sum.task} = {sum.result}?"


def agrees(opinion: Opinion) -> bool | str:
    return opinion.correct or opinion.why


YES, NO = {"correct": True}, {"correct": False, "why": "17 x 3 is not 41."}


def run(graph: Any, answers: list[Any], opinions: list[Any], *config: Any, **others: Any) -> Any:
    producer, judge = ScriptedModel(answers), ScriptedModel(opinions)
    judge.name = "another"  # type: ignore[misc]
    with producer, judge, using(producer, judge=judge, **others):
        return graph.compile().invoke(Sum(), *config), producer


def decisions(session: Session) -> list[tuple[Any, ...]]:
    rows = session.journal.query("SELECT kind, choice, reason FROM decisions ORDER BY id")
    return [tuple(row.values()) for row in rows]


def test_agreement_costs_two_calls(session: Session) -> None:
    result, _ = run(verify(solve, check, agrees=agrees), ["51"], [YES], session.config("t"))
    assert (result["result"], result["opinion"]) == ("51", Opinion(correct=True))
    assert decisions(session) == [("verify", "passed", None)]


def test_disagreement_stops_with_the_reason(session: Session) -> None:
    with pytest.raises(GateFailed, match=r"after 'solve': 17 x 3 is not 41\. Intermediate result was"):
        run(verify(solve, check, agrees=agrees), ["41"], [NO], session.config("t"))
    assert decisions(session) == [("verify", "stopped", "17 x 3 is not 41.")]


def test_the_producer_is_asked_again_with_the_reason() -> None:
    result, producer = run(verify(solve, check, agrees=agrees, tries=2), ["41", "51"], [NO, YES])
    assert result["result"] == "51"
    assert "17 x 3 is not 41." in producer.asks[1][1].messages[-1]["content"]


def test_a_checker_that_disagrees_without_a_reason_is_heard() -> None:
    with pytest.raises(GateFailed, match=r'check said \{"correct":false'):
        run(verify(solve, check, agrees=agrees), ["41"], [{"correct": False}])


def test_tries_are_bounded() -> None:
    with pytest.raises(GateFailed, match="after 'solve', repaired 1 x"):
        run(verify(solve, check, agrees=agrees, tries=1), ["41", "42"], [NO, NO])


@pytest.mark.parametrize("tries", [0, 1])
def test_what_is_still_disputed_goes_to_a_stronger_model(session: Session, tries: int) -> None:
    graph = verify(solve, check, agrees=agrees, tries=tries, otherwise=solve.on("large"))
    answers, opinions = ["41", "42"][: tries + 1], [NO, NO][: tries + 1]
    large = ScriptedModel(["51"])
    result, _ = run(graph, answers, opinions, session.config("t"), large=large)
    assert result["result"] == "51"
    assert decisions(session)[-1] == ("verify", "otherwise", "17 x 3 is not 41.")


async def test_or_to_a_person(session: Session) -> None:
    app = chain(verify(solve, check, agrees=agrees, otherwise=person)).compile()
    with ScriptedModel(["41"]) as producer, ScriptedModel([NO]) as judge, using(producer, judge=judge):
        await app.ainvoke(Sum(), session.config("t"))
        answer = {"decision": "edit", "value": "51"}
        assert (await app.ainvoke(Command(resume=answer), session.config("t")))["result"] == "51"


def test_two_roles_on_one_model_are_told_in_the_record(session: Session) -> None:
    with ScriptedModel(["51", YES]) as model, using(model):
        verify(solve, check, agrees=agrees).compile().invoke(Sum(), session.config("t"))
    told = "checked by the model that gave the answer, scripted"
    assert decisions(session) == [("verify", "passed", told)]


def test_the_note_does_not_reach_the_producer() -> None:
    with ScriptedModel(["41", NO, "51", YES]) as model, using(model):
        verify(solve, check, agrees=agrees, tries=1).compile().invoke(Sum())
    assert "checked by" not in model.asks[2][1].messages[-1]["content"]


def test_a_model_may_not_check_itself() -> None:
    with pytest.raises(DefinitionError, match=r"would ask the model that gave the answer \(default\)"):
        verify(solve, check.on("default"), agrees=agrees)
    with pytest.raises(DefinitionError, match="judge"):
        verify(solve.on("judge"), check, agrees=agrees)
    with pytest.raises(DefinitionError, match="judge"):
        verify(chain(solve.on("Judge")), check, agrees=agrees)

    @step("plan", model="judge")
    def plan(sum: Sum) -> Ask[str]:
        return Ask(sum.task)

    verify(chain(plan, solve), check, agrees=agrees)


def test_of_several_checkers_the_one_on_the_producers_model_is_named() -> None:
    @step("opinion", model="default")
    def again(sum: Sum) -> Ask[Opinion]:
        return Ask(f"{sum.task} = {sum.result}?")

    with pytest.raises(
        DefinitionError, match=r"'again' would ask the model that gave the answer \(default\)"
    ):
        verify(solve, chain(check, again), agrees=agrees)


def test_what_code_answers_any_model_may_check(session: Session) -> None:
    def guess(sum: Sum) -> dict[str, str]:
        return {"result": "51"}

    result, _ = run(verify(guess, check, agrees=agrees), [], [YES], session.config("t"))
    assert (result["result"], decisions(session)) == ("51", [("verify", "passed", None)])


def test_a_verification_that_cannot_work_is_refused() -> None:
    with pytest.raises(DefinitionError, match="asks no model"):
        verify(solve, by_code, agrees=agrees)
    with pytest.raises(DefinitionError, match="tries=-1"):
        verify(solve, check, agrees=agrees, tries=-1)
    with pytest.raises(DefinitionError, match=r"tries=0\.5"):
        verify(solve, check, agrees=agrees, tries=0.5)  # type: ignore[call-overload]


def test_the_cost_in_calls() -> None:
    once = verify(solve, check, agrees=agrees)
    assert (least(cost_of(once)), most(cost_of(once))) == (2, 2)
    whole = verify(solve, check, agrees=agrees, tries=2, otherwise=solve.on("large"))
    assert (least(cost_of(whole)), most(cost_of(whole))) == (2, 3 * 2 + 1)
