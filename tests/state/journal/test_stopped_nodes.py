"""A node that goes on in a thread after its run was stopped pays for nothing and begins nothing."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, effect, step, using
from stepgraph.state.errors import ClaimLost


@dataclass
class Note:
    text: str = ""


@step("text")
def ask(note: Note) -> Ask[str]:
    return Ask("what?")


@pytest.mark.parametrize("what", ["step", "graph", "stream", "effect"])
async def test_a_node_that_goes_on_after_its_run_was_stopped_begins_nothing(
    session: Session, what: str
) -> None:
    began, go_on, is_over = threading.Event(), threading.Event(), threading.Event()
    happened: list[str] = []
    told: list[BaseException] = []

    @effect
    def happen(note: Note) -> None:
        happened.append("happened")

    inner = chain(ask).compile()
    doing = {
        "step": lambda note: ask.invoke(note),
        "graph": lambda note: inner.invoke(note),
        "stream": lambda note: list(inner.stream(note)),
        "effect": lambda note: happen.invoke(note),
    }[what]

    def goes_on(note: Note) -> None:
        began.set()
        go_on.wait(60)
        try:
            doing(note)
        except BaseException as error:
            told.append(error)
        is_over.set()

    model = ScriptedModel(lambda *_: "paid")
    with using(model):
        running = asyncio.create_task(chain(goes_on).compile().ainvoke(Note(), session.config("t")))
        await asyncio.to_thread(began.wait, 60)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        go_on.set()
        await asyncio.to_thread(is_over.wait, 60)
    assert [type(error) for error in told] == [ClaimLost]
    assert (len(model.asks), happened) == (0, [])
    assert session.journal.query("SELECT status FROM runs") == [{"status": "failed"}]
    assert session.journal.query("SELECT * FROM claims WHERE expires_at > 0") == []
