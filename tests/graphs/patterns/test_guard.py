"""Guards: what gets out, what is stopped, and what it costs in time and calls."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, chain, guard, step, using
from stepgraph.state.errors import DefinitionError, GuardTripped

from .races import come_down_to, races


class Verdict(BaseModel):
    safe: bool
    reason: str = ""


@dataclass
class Chat:
    text: str = "How do I boil an egg?"
    reply: str = "(nothing)"
    verdict: Verdict | None = None
    log: list[str] = field(default_factory=list)


@step("reply")
def answer(chat: Chat) -> Ask[str]:
    return Ask(chat.text)


@step("verdict")
def screen(chat: Chat) -> Ask[Verdict]:
    return Ask(f"Safe? {chat.text} {chat.reply}")


def safe(verdict: Verdict) -> bool | str:
    return verdict.safe or verdict.reason


def decline(chat: Chat) -> dict[str, str]:
    return {"reply": f"I cannot help with that: {chat.verdict.reason if chat.verdict else ''}"}


def polite(chat: Chat) -> bool | str:
    return "damn" not in chat.text or "it swears"


BAD = {"safe": False, "reason": "weapons"}


def unsafe(request: Any, context: Any) -> Any:
    return BAD if context.step == "screen" else "Mix …"


@pytest.mark.parametrize("sync", [True, False])
def test_what_passes_gets_out(session: Session, sync: bool) -> None:
    app = guard(answer, screen, safe).compile()
    with ScriptedModel({"answer": ["Ten minutes."], "screen": [{"safe": True}]}) as model, using(model):
        config = session.config("t")
        result = app.invoke(Chat(), config) if sync else asyncio.run(app.ainvoke(Chat(), config))
    assert (result["reply"], result["verdict"]) == ("Ten minutes.", Verdict(safe=True))
    assert not [name for name in result if name.startswith("stepgraph_")]
    prompt = next(request for name, request in model.asks if name == "screen")
    assert "(nothing)" in prompt.messages[0]["content"]
    rows = session.journal.query("SELECT kind, choice FROM decisions")
    assert [(row["kind"], row["choice"]) for row in rows] == [("guard", "passed")]


def test_what_trips_stays_in(session: Session) -> None:
    app = guard(answer, screen, safe).compile()
    model = ScriptedModel(unsafe)
    with using(model), pytest.raises(GuardTripped, match="'screen' stopped 'answer': weapons") as caught:
        app.invoke(Chat(), session.config("t"))
    assert caught.value.reason == "weapons"
    assert app.get_state(session.config("t")).values["reply"] == "(nothing)"


def test_something_else_instead() -> None:
    app = guard(answer, screen, safe, otherwise=decline).compile()
    with ScriptedModel(unsafe) as model, using(model):
        assert app.invoke(Chat())["reply"] == "I cannot help with that: weapons"


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_tripped_guard_stops_the_main_work(session: Session, sync: bool, nested: bool) -> None:
    ended = []

    class Slow:
        name = "slow"

        async def complete(self, request: Any, context: Any) -> Any:
            if context.step == "answer":
                await asyncio.sleep(30)
                ended.append(context.step)
            return await fast.complete(request, context)

    fast = ScriptedModel([BAD])
    main = chain(answer, answer, answer) if nested else answer
    app = guard(main, screen, safe, otherwise=decline).compile()
    with using(Slow()):
        config = session.config("t")
        result = app.invoke(Chat(), config) if sync else asyncio.run(app.ainvoke(Chat(), config))
    assert result["reply"] == "I cannot help with that: weapons"
    assert ended == []


async def test_a_guard_adds_no_time() -> None:
    """Each call waits for the other to begin: one after the other they would wait in vain."""
    both = asyncio.Barrier(2)

    class Together:
        name = "together"

        async def complete(self, request: Any, context: Any) -> Any:
            async with asyncio.timeout(30):
                await both.wait()
            return await script.complete(request, context)

    script = ScriptedModel({"answer": ["Ten minutes."], "screen": [{"safe": True}]})
    with using(Together()):
        result = await guard(answer, screen, safe).compile().ainvoke(Chat())
    assert result["reply"] == "Ten minutes."


def test_a_guard_of_plain_code(session: Session) -> None:
    app = guard(answer, polite).compile()
    with ScriptedModel(["Ten minutes."]) as model, using(model):
        assert app.invoke(Chat(), session.config("t"))["reply"] == "Ten minutes."
    with ScriptedModel(lambda *_: "…") as model, using(model), pytest.raises(GuardTripped, match="it swears"):
        app.invoke(Chat("damn"), session.config("u"))


def test_a_check_that_raises_lets_nothing_out(session: Session) -> None:
    def broken(chat: Chat) -> bool:
        raise ValueError("no word list")

    app = guard(answer, broken).compile()
    with (
        ScriptedModel(lambda *_: "out") as model,
        using(model),
        pytest.raises(ValueError, match="no word list"),
    ):
        app.invoke(Chat(), session.config("t"))
    assert app.get_state(session.config("t")).values["reply"] == "(nothing)"


def test_a_person_in_the_main_work(session: Session) -> None:
    def ask_person(chat: Chat) -> dict[str, Any]:
        return {"reply": interrupt("Reply?")}

    app = guard(chain(answer, ask_person), screen, safe).compile()
    with ScriptedModel({"answer": ["Ten."], "screen": [{"safe": True}]}) as model, using(model):
        app.invoke(Chat(), session.config("t"))
        result = app.invoke(Command(resume="Seven."), session.config("t"))
    assert (result["reply"], result["verdict"]) == ("Seven.", Verdict(safe=True))
    assert len(model.asks) == 2


def test_guards_nest(session: Session) -> None:
    app = guard(guard(answer, screen, safe), polite, otherwise=decline).compile()
    with ScriptedModel({"answer": ["Ten."], "screen": [{"safe": True}]}) as model, using(model):
        assert app.invoke(Chat(), session.config("t"))["reply"] == "Ten."


def test_a_guard_that_is_over_leaves_nothing_in_memory(session: Session) -> None:
    before = races()
    with ScriptedModel(["Ten minutes."]) as model, using(model):
        guard(answer, polite).compile().invoke(Chat(), session.config("t"))
    assert come_down_to(before)


def test_a_step_needs_passes() -> None:
    with pytest.raises(DefinitionError, match="needs `passes`"):
        guard(answer, screen)  # type: ignore[call-overload]
