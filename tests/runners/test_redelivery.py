"""The same input again on a thread that has not ended goes on with it; `restart` begins and pays anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from langgraph.types import interrupt
from pydantic import BaseModel

from stepgraph import Ask, Budget, ScriptedModel, Session, arun, chain, run, step, using


@dataclass
class Note:
    text: str = ""
    more: str = ""


class Model(BaseModel):
    text: str = ""
    more: str = ""


class Typed(TypedDict, total=False):
    text: str
    more: str


async def astream(app: Any, state: Any, config: Any) -> None:
    async for _ in app.astream(state, config):
        pass


Form = Callable[[Any, Any, Session, dict[str, Any]], Any]
FORMS: dict[str, Form] = {
    "run": lambda app, state, session, how: run(app, state, session, "t", **how),
    "arun": lambda app, state, session, how: asyncio.run(arun(app, state, session, "t", **how)),
    "invoke": lambda app, state, session, how: app.invoke(state, session.config("t", **how)),
    "stream": lambda app, state, session, how: list(app.stream(state, session.config("t", **how))),
    "astream": lambda app, state, session, how: asyncio.run(astream(app, state, session.config("t", **how))),
}


def workflow(state: Any, stops: str) -> Any:
    """Return a graph that stops between its two questions: at a failure once, or for a person."""
    tries = []

    def ask(note: Any) -> Any:
        return Ask("first")

    def between(note: Any) -> Any:
        tries.append(note)
        if stops == "fails" and len(tries) == 1:
            raise ValueError("once")
        if stops == "waits":
            interrupt("go on?")

    def ask_more(note: Any) -> Any:
        return Ask("second")

    for function, kind in ((ask, Ask[str]), (between, None), (ask_more, Ask[str])):
        function.__annotations__ = {"note": state, "return": kind}
    return chain(step("text")(ask), between, step("more")(ask_more)).compile()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("state", [Note, Model, Typed])
@pytest.mark.parametrize("form", FORMS)
def test_the_same_input_again_goes_on_unless_it_is_to_restart(
    session: Session, form: str, state: Any, restart: bool
) -> None:
    app, again = workflow(state, "fails"), {"restart": True} if restart else {}
    model = ScriptedModel(lambda *_: "x")
    with using(model):
        with pytest.raises(ValueError, match="once"):
            FORMS[form](app, state(text=""), session, {})
        FORMS[form](app, state(text=""), session, again)
        assert [request.messages[-1]["content"] for _, request in model.asks] == [
            "first",
            *["first"] * restart,
            "second",
        ]
        FORMS[form](app, state(text=""), session, {})  # it had ended: the next turn
        assert len(model.asks) == 4 + restart
        FORMS[form](app, {"text": "another"}, session, {})
        assert len(model.asks) == 6 + restart


@pytest.mark.parametrize("form", FORMS)
def test_a_thread_that_waits_is_not_begun_anew_either(session: Session, form: str) -> None:
    app = workflow(Note, "waits")
    model = ScriptedModel(lambda *_: "x")
    with using(model):
        FORMS[form](app, Note(), session, {})
        FORMS[form](app, Note(), session, {})
        assert len(model.asks) == 1
        FORMS[form](app, Note(), session, {"restart": True})
    assert len(model.asks) == 2
    assert session.journal.query("SELECT status FROM runs") == [{"status": "interrupted"}]


@pytest.mark.parametrize("form", FORMS)
def test_a_thread_whose_budget_ended_goes_on_with_a_larger_one(session: Session, form: str) -> None:
    app = workflow(Note, "goes on")
    model = ScriptedModel(lambda *_: "x")
    with using(model):
        FORMS[form](app, Note(), session, {"budget": Budget(calls=1)})
        FORMS[form](app, Note(), session, {"budget": Budget(calls=2)})
    assert [request.messages[-1]["content"] for _, request in model.asks] == ["first", "second"]
