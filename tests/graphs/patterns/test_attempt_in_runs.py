"""An attempt in whole runs: resumes, forks, budgets, reviews, effects, loops."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from stepgraph import (
    Budget,
    Session,
    attempt,
    chain,
    effect,
    ensemble,
    gate,
    refine,
    review,
    run,
    section,
    using,
    within,
)
from stepgraph.errors import (
    EffectUnknown,
    ModelError,
    ModelFiltered,
    ModelRefused,
)
from stepgraph.tracing import fork

from .attempt_cases import Letter, begin, decisions, grade, never, note, raises, script, standby, write


@review("reply")
def look(letter: Letter) -> str:
    return "Good?"


def test_a_resume_goes_on_with_the_other_part_and_a_fork_before_it_asks_again(session: Session) -> None:
    app = begin("ModelFiltered").compile()
    first = script(write=["draft", ModelFiltered("no")], standby=ModelRefused("no"))
    with using(first), pytest.raises(ModelRefused):
        app.invoke(Letter(), session.config("t"))
    with using(model := script(standby="instead")):
        assert app.invoke(None, session.config("t"))["reply"] == "instead"
        assert [step for step, _ in model.asks] == ["standby"]
        copy = fork(session, "t", 1, graph=app)
        assert app.invoke(None, session.config(copy))["reply"] == "fine"
    assert [step for step, _ in model.asks] == ["standby", "write", "write"]
    assert len(decisions(session)) == 1


def test_a_fork_of_the_failed_call_takes_an_answer_in_its_place(session: Session) -> None:
    app = chain(note, attempt(chain(note, grade), otherwise=standby)).compile()
    with using(script(grade="none", standby="instead")):
        app.invoke(Letter(), session.config("t"))
        new = fork(session, "t", call="grade", answer='{"answer": 4}', graph=app)
        result = app.invoke(None, session.config(new))
    assert (result["score"], result["reply"], result["log"]) == (4, "", ["noted", "noted"])


@pytest.mark.parametrize("inside", ["part", "otherwise"])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_budgets_end_pauses_on_either_side(inside: str, bounded: bool, session: Session) -> None:
    two: Any = chain(note, write, standby)
    two = within(two, Budget(calls=1)) if bounded else two
    failing = raises(ValueError("x"))
    graph = attempt(two, otherwise={}) if inside == "part" else attempt(failing, otherwise=two, on=ValueError)
    app = graph.compile()
    with using(script(write="half", standby="whole")):
        result = run(app, Letter(), session, "t", budget=None if bounded else Budget(calls=1))
        assert (result.status, result.values["reply"], result.values["log"]) == ("partial", "half", ["noted"])
        assert result.missing
        if not bounded:
            result = run(app, None, session, "t", budget=Budget())
            assert (result.status, result.values["reply"], result.values["log"]) == (
                "done",
                "whole",
                ["noted"],
            )
    assert session.spent("t").calls == (1 if bounded else 2)


def test_a_review_waits_and_its_rejection_is_a_failure(session: Session) -> None:
    app = attempt(chain(write, look), otherwise=chain(standby, look), reason="why").compile()
    with using(script(write="first", standby="second")):
        waiting = run(app, Letter(), session, "t")
        assert (waiting.status, waiting.values["reply"]) == ("interrupted", "first")
        again = run(app, Command(resume={"decision": "reject", "reason": "too short"}), session, "t")
        assert (again.status, again.values["reply"], len(again.waiting)) == ("interrupted", "second", 1)
        done = run(app, Command(resume="approve"), session, "t")
    assert (done.status, done.values["reply"], done.spent.calls) == ("done", "second", 2)
    assert "too short" in done.values["why"]


def test_a_question_beside_what_fails_is_over(session: Session) -> None:
    graph = attempt(
        section({"a": chain(write, look), "b": chain(note, gate(never))}), otherwise={"reply": "none"}
    )
    with using(script()):
        result = run(graph.compile(), Letter(), session, "t")
    assert (result.status, result.values["reply"], result.waiting) == ("done", "none", ())


def test_an_effect_in_doubt_ends_the_run(session: Session) -> None:
    @effect(key=lambda letter: "one")
    def send(letter: Letter, key: str) -> dict[str, str]:
        raise OSError("cut off")

    app = attempt(send, otherwise={"reply": "sent elsewhere"}, on=(ValueError, ModelError)).compile()
    with pytest.raises(OSError, match="cut off"):
        app.invoke(Letter(), session.config("t"))
    with pytest.raises(EffectUnknown):
        app.invoke(None, session.config("t"))


def test_each_round_of_a_loop_tries_again(session: Session) -> None:
    produce = attempt(write, otherwise=standby, reason="why")
    graph = refine(produce, grade, until=lambda score: score > 4, rounds=2)
    with using(model := script(write=[ModelRefused("no"), "good"], standby="instead", grade=[1, 5])):
        result = graph.compile().invoke(Letter(), session.config("t"))
    assert (result["reply"], result["why"]) == ("good", "")
    assert [step for step, _ in model.asks] == ["write", "standby", "grade", "write", "grade"]


def test_a_thread_can_take_another_turn(session: Session) -> None:
    app = begin("ModelFiltered").compile()
    with using(script(write=["x", ModelFiltered("no"), "y", "z"], standby="instead")):
        assert app.invoke(Letter(), session.config("t"))["reply"] == "instead"
        result = app.invoke(Letter(), session.config("t"))
    assert (result["reply"], result["why"]) == ("z", "")


@pytest.mark.parametrize("saver", [None, InMemorySaver])
def test_without_a_session(saver: Any) -> None:
    app = begin("GateFailed").compile(checkpointer=saver and saver())
    config: RunnableConfig = {"configurable": {"thread_id": "t"}} if saver else {}
    with using(script(standby="instead")):
        result = app.invoke(Letter(), config)
    assert result["reply"] == "instead"


def test_parts_of_it_side_by_side(session: Session) -> None:
    """What a branch writes through a reducer counts once, whichever way its attempt went."""
    bad = attempt(chain(note, raises(ValueError("x"))), otherwise=note, on=ValueError)
    good = attempt(chain(note, note), otherwise={})
    result = section({"bad": bad, "good": good}).compile().invoke(Letter(log=["given"]), session.config())
    assert result["log"] == ["given", *["noted"] * 3]
    picked = ensemble([attempt(write, otherwise={"reply": "-"}), standby], score=len, field="reply")
    with using(script(write=ModelRefused("no"), standby="longer")):
        assert picked.compile().invoke(Letter())["reply"] == "longer"
