from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from stepgraph import Ask, Choice, ScriptedModel, Session, cascade, chain, nearest, route, rule, step, using
from stepgraph.nodes.costs import cost_of, least, most
from stepgraph.state.errors import DefinitionError


class Label(BaseModel):
    name: str
    confidence: float


class Grade(BaseModel):
    score: int


@dataclass
class Ticket:
    body: str = "Where is my order?"
    label: Label | None = None
    reply: str = ""
    grade: Grade | None = None
    level: Choice[Literal["low", "high"]] | None = None


@step("label", model="small")
def classify(ticket: Ticket) -> Ask[Label]:
    return Ask(ticket.body)


@step("reply", model="small")
def answer(ticket: Ticket) -> Ask[str]:
    return Ask(ticket.body)


@step("grade", model="judge")
def judge(ticket: Ticket) -> Ask[Grade]:
    return Ask(ticket.reply)


@step("level", model="small")
def complexity(ticket: Ticket) -> Ask[Choice[Literal["low", "high"]]]:
    return Ask(ticket.body)


def sure(label: Label) -> bool | str:
    return label.confidence >= 0.8 or f"only {label.confidence} sure."


def run(graph: Any, *config: Any, **scripts: list[Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Run with one scripted model for each role; return the state and the calls by role."""
    models = {role: ScriptedModel(answers) for role, answers in scripts.items()}
    with using(**models):
        result = graph.compile().invoke(Ticket(), *config)
    for model in models.values():
        model.finish()
    return result, {role: len(model.asks) for role, model in models.items()}


def label(name: str, confidence: float) -> Label:
    return Label(name=name, confidence=confidence)


def decisions(session: Session) -> list[tuple[Any, ...]]:
    rows = session.journal.query("SELECT kind, choice, confidence, reason FROM decisions ORDER BY id")
    return [tuple(row.values()) for row in rows]


levels = cascade(classify, classify.on("large"), accept=sure)


def test_an_accepted_answer_costs_the_cheap_model_only(session: Session) -> None:
    result, calls = run(levels, session.config("t"), small=[label("order", 0.9)], large=[])
    assert (result["label"], calls) == (label("order", 0.9), {"small": 1, "large": 0})
    assert decisions(session) == [("cascade", "passed", 0.9, None)]


def test_a_doubtful_answer_goes_to_the_strong_model(session: Session) -> None:
    scripts = {"small": [label("order", 0.4)], "large": [label("refund", 0.1)]}
    result, calls = run(levels, session.config("t"), **scripts)
    assert (result["label"].name, calls) == ("refund", {"small": 1, "large": 1})
    assert decisions(session) == [("cascade", "otherwise", 0.4, "only 0.4 sure.")]
    rows = session.journal.query("SELECT role FROM calls ORDER BY started_at")
    assert [row["role"] for row in rows] == ["small", "large"]


def test_a_model_that_never_answers_in_form_is_not_accepted(session: Session) -> None:
    scripts: dict[str, Any] = {"small": ["?", "??", "???"], "large": [label("refund", 0.9)]}
    result, calls = run(levels, session.config("t"), **scripts)
    assert (result["label"].name, calls) == ("refund", {"small": 3, "large": 1})
    ((kind, choice, _, reason),) = decisions(session)
    assert (kind, choice) == ("cascade", "otherwise")
    assert reason.startswith("it gave no valid answer: The answer is not valid JSON")


def test_a_rule_may_be_the_cheapest_rung() -> None:
    @rule("reply")
    def known(ticket: Ticket) -> str:
        return "In transit." if "order" in ticket.body else ""

    graph = cascade(known, answer, accept=bool)
    assert run(graph, small=[])[0]["reply"] == "In transit."
    assert (least(cost_of(graph)), most(cost_of(graph))) == (0, 1)


def test_three_rungs_are_climbed_one_by_one() -> None:
    ladder = cascade(classify, classify.on("medium"), classify.on("large"), accept=sure)
    scripts: dict[str, Any] = {"small": [label("a", 0.1)], "medium": [label("b", 0.9)], "large": []}
    assert run(ladder, **scripts)[0]["label"].name == "b"
    scripts = {"small": [label("a", 0.1)], "medium": [label("b", 0.2)], "large": [label("c", 0.3)]}
    assert run(ladder, **scripts)[0]["label"].name == "c"


def test_another_model_may_check() -> None:
    graph = cascade(answer, answer.on("large"), check=judge, accept=lambda grade: grade.score >= 4)
    result, calls = run(graph, small=["Soon."], judge=[{"score": 2}], large=["On Monday."])
    assert (result["reply"], calls) == ("On Monday.", {"small": 1, "judge": 1, "large": 1})


async def test_a_rung_may_be_any_part_if_something_checks() -> None:
    def hold(ticket: Ticket) -> dict[str, str]:
        return {"reply": "A colleague will answer."}

    graph = cascade(chain(answer), hold, check=judge, accept=lambda grade: grade.score >= 4)
    assert run(graph, small=["Soon."], judge=[{"score": 2}])[0]["reply"] == "A colleague will answer."


def test_the_accepting_function_may_say_nothing_more_than_no(session: Session) -> None:
    graph = cascade(answer, answer.on("large"), accept=lambda reply: len(reply) > 5)
    run(graph, session.config("t"), small=["Soon."], large=["On Monday."])
    assert decisions(session) == [("cascade", "otherwise", None, 'answer answered "Soon.".')]


def test_a_long_answer_is_on_record_with_its_first_200_characters(session: Session) -> None:
    graph = cascade(answer, answer.on("large"), accept=lambda reply: len(reply) < 99)
    run(graph, session.config("t"), small=["Soon. " * 99], large=["On Monday."])
    shown = ('"' + "Soon. " * 99)[:200]
    assert decisions(session) == [("cascade", "otherwise", None, f"answer answered {shown}.")]


def test_a_classifier_picks_the_model_for_a_step(session: Session) -> None:
    graph = route(complexity, {"low": answer, "high": answer.on("large")})
    level = {"label": "high", "confidence": 0.9, "reason": "two questions"}
    result, calls = run(graph, session.config("t"), small=[level], large=["On Monday."])
    assert (result["reply"], calls) == ("On Monday.", {"small": 1, "large": 1})
    assert decisions(session) == [("route", "high", 0.9, "two questions")]


def test_a_crash_between_the_rungs_pays_the_cheap_one_once(session: Session) -> None:
    small, large = ScriptedModel([label("a", 0.1)]), ScriptedModel([RuntimeError("down"), label("b", 0.9)])
    app = levels.compile()
    with using(small=small, large=large):
        with pytest.raises(RuntimeError, match="down"):
            app.invoke(Ticket(), session.config("t"))
        assert app.invoke(None, session.config("t"))["label"].name == "b"
    assert len(small.asks) == 1


def test_the_cost_in_calls() -> None:
    ladder = cascade(classify, classify.on("medium"), classify.on("large"), accept=sure)
    assert (least(cost_of(ladder)), most(cost_of(ladder))) == (1, 3)
    checked = cascade(answer, answer.on("large"), check=judge, accept=lambda grade: grade.score > 3)
    assert (least(cost_of(checked)), most(cost_of(checked))) == (2, 3)


def test_a_cascade_that_cannot_work_is_refused() -> None:
    with pytest.raises(DefinitionError, match="at least two parts"):
        cascade(classify, accept=sure)
    with pytest.raises(DefinitionError, match=r"asked twice of the same model \(small\)"):
        cascade(classify, classify, accept=sure)
    with pytest.raises(DefinitionError, match="'chain_answer' has no answer of its own"):
        cascade(chain(answer), answer.on("large"), accept=bool)  # type: ignore[call-overload]

    async def later(reply: str) -> bool:
        return True

    @nearest({"order": ["Where is it?"]})
    def topic(ticket: Ticket) -> str:
        return ticket.body

    rungs: Any = [answer, answer.on("large")]
    with pytest.raises(DefinitionError, match="expected a function of the answer"):
        cascade(*rungs, accept=True)  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="cascade: 'later' is async"):
        cascade(*rungs, accept=later)
    with pytest.raises(DefinitionError, match="'topic' has no answer of its own"):
        cascade(topic, *rungs, accept=bool)
    with pytest.raises(DefinitionError, match="asked twice of the same model"):
        cascade(*rungs, rungs[1], accept=bool)

    def elsewhere(grade: Grade) -> dict[str, int]:
        return {}

    with pytest.raises(DefinitionError, match="cascade: all parts must work on one state type"):
        cascade(answer, elsewhere, check=judge, accept=bool)  # type: ignore[arg-type]
