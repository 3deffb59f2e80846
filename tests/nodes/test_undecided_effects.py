"""Effects of which nobody knows whether they happened: failures, cancellations, killed processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy, interrupt

from stepgraph import Session, chain, effect
from stepgraph.state.errors import DefinitionError, EffectUnknown, InputError, StoreError
from stepgraph.tracing.forks.fork import fork

from ..committed import until_the_dead_are_known
from ..warm import run_python
from .shop import Order, Shop, charging


def test_a_failure_leaves_it_undecided_until_somebody_decides(session: Session, shop: Shop) -> None:
    shop.trouble = [ConnectionError("line cut")]
    app = chain(charging(shop, key=lambda order: order.id)).compile()
    with pytest.raises(ConnectionError, match="line cut") as failed:
        app.invoke(Order(), session.config("t"))
    assert "Nobody knows whether the effect 'charge:1' happened" in failed.value.__notes__[-2]
    told = (
        r"'charge:1' was started on .* by charge in the thread 't'.*It failed with ConnectionError: line cut"
    )
    for _ in range(2):
        with pytest.raises(EffectUnknown, match=told) as unknown:
            app.invoke(None, session.config("t"))
    assert unknown.value.key == "charge:1"
    assert shop.charged == []
    (open_one,) = session.undecided_effects()
    assert (open_one.key, open_one.error) == ("charge:1", "ConnectionError: line cut")

    session.decide_effect("charge:1", happened=False)
    assert app.invoke(None, session.config("t"))["receipt"] == "r1"
    assert shop.charged == ["charge:1"]
    assert session.undecided_effects() == []


def test_what_happened_can_be_told_with_what_it_would_have_written(session: Session, shop: Shop) -> None:
    shop.trouble = [ConnectionError()]
    app = chain(charging(shop, key=lambda order: order.id)).compile()
    with pytest.raises(ConnectionError):
        app.invoke(Order(), session.config("t"))
    with pytest.raises(InputError, match="pass happened=True"):
        session.decide_effect("charge:1", happened=False, update={"receipt": "r9"})
    session.decide_effect("charge:1", happened=True, update={"recipt": "r9"})
    with pytest.raises(DefinitionError, match=r"'recipt'.*Did you mean 'receipt'"):
        app.invoke(None, session.config("t"))
    session.decide_effect("charge:1", happened=True, update={"receipt": ["r9"]}, change=True)
    with pytest.raises(InputError, match="string"):
        app.invoke(None, session.config("t"))
    session.decide_effect("charge:1", happened=True, update={"receipt": "r9"}, change=True)
    assert app.invoke(None, session.config("t"))["receipt"] == "r9"
    assert shop.charged == []


def test_only_what_is_open_can_be_decided(session: Session, shop: Shop) -> None:
    with pytest.raises(InputError, match="There are none"):
        session.decide_effect("charge:1", happened=True)
    chain(charging(shop, key=lambda order: order.id)).compile().invoke(Order(), session.config("t"))
    with pytest.raises(InputError, match="ended by itself"):
        session.decide_effect("charge:1", happened=False)


def test_an_error_that_proves_that_nothing_happened_lets_it_happen(session: Session, shop: Shop) -> None:
    shop.trouble = [ConnectionRefusedError(), ValueError("what?")]
    app = chain(charging(shop, undone=(ConnectionRefusedError,))).compile()
    with pytest.raises(ConnectionRefusedError):
        app.invoke(Order(), session.config("t"))
    with pytest.raises(ValueError, match=r"what\?"):
        app.invoke(None, session.config("t"))
    with pytest.raises(EffectUnknown):
        app.invoke(None, session.config("t"))


def test_a_receiver_that_knows_the_key_is_asked_again(session: Session, shop: Shop) -> None:
    shop.trouble = [ConnectionError()]
    app = chain(charging(shop, retry=True)).compile()
    with pytest.raises(ConnectionError):
        app.invoke(Order(), session.config("t"))
    assert app.invoke(None, session.config("t"))["receipt"] == "r1"
    assert app.invoke(None, session.config(fork(session, "t", at=0)))["receipt"] == "r1"
    assert len(shop.charged) == 1


def test_a_retry_policy_does_not_try_what_may_have_happened(session: Session, shop: Shop) -> None:
    shop.trouble = [ConnectionError()]
    graph: Any = StateGraph(Order)
    policy = RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=3)
    graph.add_node("charge", charging(shop), retry_policy=policy)
    graph.add_edge(START, "charge")
    with pytest.raises(EffectUnknown, match="It failed with ConnectionError"):
        graph.compile().invoke(Order(), session.config("t"))
    assert shop.charged == []


async def test_a_cancelled_effect_is_undecided(session: Session) -> None:
    begun = asyncio.Event()

    @effect
    async def charge(order: Order) -> None:
        begun.set()
        await asyncio.Event().wait()

    app = chain(charge).compile()
    running = asyncio.create_task(app.ainvoke(Order(), session.config("t")))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(EffectUnknown):
        await app.ainvoke(None, session.config("t"))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_interrupt_inside_is_refused(session: Session, asynchronous: bool) -> None:
    def ask(order: Order) -> dict[str, Any]:
        return {"receipt": interrupt("really?")}

    async def ask_async(order: Order) -> dict[str, Any]:
        return {"receipt": interrupt("really?")}

    app = chain(effect(ask_async) if asynchronous else effect(ask)).compile()
    with pytest.raises(DefinitionError, match=r"interrupted.*in a node of its own, in front"):
        app.invoke(Order(), session.config("t"))


@pytest.mark.sqlite_file("a file that is full")
def test_what_happened_and_cannot_be_put_on_record_is_said_to_have_happened(session: Session) -> None:
    connection = session.journal.store._connection

    @effect(key=lambda order: order.id)
    def charge(order: Order) -> dict[str, Any]:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return {"receipt": "r" * 100_000}

    app = chain(charge).compile()
    with pytest.raises(StoreError, match="the disk is full") as failed:
        app.invoke(Order(), session.config("t"))
    connection.execute("PRAGMA max_page_count = 1000000")
    assert any("'charge:1' happened, but" in note for note in failed.value.__notes__)
    with pytest.raises(EffectUnknown):
        app.invoke(None, session.config("t"))
    session.decide_effect("charge:1", happened=True, update={"receipt": "r1"})
    assert app.invoke(None, session.config("t"))["receipt"] == "r1"


@pytest.mark.sqlite_file("a table of the file that is gone")
async def test_nothing_happens_that_cannot_be_begun(session: Session, shop: Shop) -> None:
    charge = charging(shop)
    session.journal.store._connection.execute("DROP TABLE effects")
    with pytest.raises(StoreError):
        await charge.ainvoke(Order(), session.config("t"))
    assert shop.charged == []


KILLED = """
import os, signal, sys
from dataclasses import dataclass
from pathlib import Path

from stepgraph import Session, chain, effect
from stepgraph.state.errors import EffectUnknown


@dataclass
class Order:
    id: str = "1"
    receipt: str = ""
    end: str = ""


def strike(moment: str) -> None:
    if os.environ.get("KILL") == moment:
        os.kill(os.getpid(), signal.SIGKILL)


@effect(key=lambda order: order.id)
def charge(order: Order, key: str) -> dict[str, str]:
    strike("before")
    with Path("world").open("a") as world:
        world.write(key + "\\n")
    strike("after")
    return {"receipt": "r1"}


def end(order: Order) -> dict[str, str]:
    strike("behind")
    return {"end": "reached"}


app = chain(charge, end).compile()

if __name__ == "__main__":
    with Session("runs.sqlite") as session:
        try:
            known = session.journal.query("SELECT 1 FROM runs")
            print(app.invoke(None if known else Order(), session.config("t")))
        except EffectUnknown as unknown:
            print("unknown", unknown.key)
"""


@pytest.mark.parametrize(
    ("moment", "charged", "told"),
    [("before", 0, "unknown"), ("after", 1, "unknown"), ("behind", 1, "{'id': '1', 'receipt': 'r1'")],
)
def test_a_process_killed_at_any_moment_repeats_nothing(
    tmp_path: Path, moment: str, charged: int, told: str
) -> None:
    (tmp_path / "shop.py").write_text(KILLED)

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return run_python("shop.py", cwd=tmp_path, env={**os.environ, **more})

    assert run(KILL=moment).returncode == -signal.SIGKILL
    until_the_dead_are_known(tmp_path / "runs.sqlite")
    resumed = run()
    assert resumed.stdout.startswith(told), resumed.stderr
    world = tmp_path / "world"
    assert len(world.read_text().splitlines() if world.exists() else []) == charged
    if told == "unknown":
        with Session(tmp_path / "runs.sqlite") as session:
            session.decide_effect(
                "charge:1", happened=bool(charged), update={"receipt": "seen"} if charged else None
            )
        assert f"'receipt': '{'seen' if charged else 'r1'}', 'end': 'reached'" in run().stdout
        assert len(world.read_text().splitlines()) == 1
