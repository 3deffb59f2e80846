"""Branches, fan-outs, answers and effects of a thread whose state has another version."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from langgraph.types import Command, interrupt

from stepgraph import (
    Ask,
    ScriptedModel,
    Session,
    chain,
    effect,
    fan_out,
    migration,
    resume,
    run,
    section,
    step,
    using,
    versioned,
)
from stepgraph.errors import MigrationFailed

from .migrating_cases import split, states


@dataclass
class Old:
    topic: str = ""
    left: str = ""
    right: str = ""
    log: Annotated[list[str], operator.add] = field(default_factory=list)


@dataclass
class New:
    topic: str = ""
    one: str = ""
    right: str = ""
    log: Annotated[list[str], operator.add] = field(default_factory=list)


New.__qualname__ = New.__name__ = "Old"


def beside(state: Any, field: str) -> Any:
    def left(state: Any) -> dict[str, Any]:
        return {field: "paid", "log": ["left"]}

    def right(state: Any) -> dict[str, Any]:
        return {"right": interrupt("go on?"), "log": ["right"]}

    left.__annotations__["state"] = right.__annotations__["state"] = state
    return chain(section({"left": left, "right": right}, name="both"), name="beside")


def test_what_a_branch_has_written_beside_one_that_waits_is_migrated(session: Session) -> None:
    versioned(old := beside(Old, "left"), "1")
    old.compile().invoke({"topic": "tea"}, session.config("t"))

    @migration(from_="1")
    def renamed(old: dict[str, Any]) -> dict[str, Any]:
        return {("one" if name == "left" else name): value for name, value in old.items()}

    app = versioned(beside(New, "one"), "2", [renamed]).compile()
    values = app.invoke(Command(resume="yes"), session.config("t"))
    assert (values["one"], values["right"], sorted(values["log"])) == ("paid", "yes", ["left", "right"])
    done = session.journal.query("SELECT path FROM node_runs WHERE status = 'done' AND path LIKE '%left'")
    assert len(done) == 1


@dataclass
class Item:
    word: str = ""
    answer: str = ""


@dataclass
class Job:
    words: list[str] = field(default_factory=list)
    answers: list[Item] = field(default_factory=list)


@step("answer")
def translate(item: Item) -> Ask[str]:
    return Ask(f"Translate {item.word}.")


def items(job: Job) -> list[Item]:
    return [Item(word) for word in job.words]


def test_answers_of_a_renamed_fan_out_are_not_paid_again(session: Session) -> None:
    killed = [True]

    def check(item: Item) -> dict[str, str]:
        if item.word == "c" and killed[0]:
            raise RuntimeError("killed")
        return {"answer": item.answer + "!"}

    def made(name: str) -> Any:
        each = chain(translate, check, name="each")
        return chain(fan_out(items, each, into="answers", name=name), name="job")

    model = ScriptedModel(lambda request, context: request.messages[-1]["content"][-2])
    old = versioned(made("old"), "1").compile()
    with using(model):
        with pytest.raises(RuntimeError):
            run(old, {"words": ["a", "b", "c"]}, session, "t")
        killed[0] = False
        paid = len(model.asks)

        @migration(from_="1", nodes={"old": "new"})
        def same(old: dict[str, Any]) -> dict[str, Any]:
            return old

        result = resume(versioned(made("new"), "2", [same]).compile(), session, "t")
    assert [item.answer for item in result.values["answers"]] == ["a!", "b!", "c!"]
    assert len(model.asks) == paid == 3


def test_an_effect_that_began_does_not_happen_again_under_another_state(session: Session) -> None:
    happened = []

    def made(state: Any) -> Any:
        def pay(person: Any) -> dict[str, str]:
            happened.append(1)
            return {"text": interrupt("go on?")}

        pay.__annotations__["person"] = state
        return chain(effect(pay), name="pay")

    old, new = states("dataclass")
    versioned(made(old), "1").compile()
    with pytest.raises(Exception):  # noqa: B017  # an effect cannot ask
        versioned(made(old), "1").compile().invoke({"name": "Ada L"}, session.config("t"))
    if not session.journal.query("SELECT * FROM effects"):
        pytest.skip("the effect was undone")
    with pytest.raises(MigrationFailed, match="could happen a second time"):
        versioned(made(new), "2", [split]).compile().invoke(None, session.config("t"))
    assert len(happened) == 1
