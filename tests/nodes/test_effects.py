"""Side effects: each happens once for its key, through crashes, replays, forks and parallel branches."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, chain, effect, refine, route, step, using
from stepgraph.nodes import effects
from stepgraph.state.errors import DefinitionError, InputError
from stepgraph.tracing.forks.fork import fork
from stepgraph.tracing.record.prune import delete_threads

from ..child_path import child_path
from .shop import Order, Shop, approve, charging

# Once


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_effect_with_a_key_happens_once_in_all_threads(
    session: Session, shop: Shop, asynchronous: bool
) -> None:
    app = chain(charging(shop, key=lambda order: order.id)).compile()
    results = []
    for thread in ("a", "b"):
        if asynchronous:
            results.append(await app.ainvoke(Order("7"), session.config(thread)))
        else:
            results.append(await asyncio.to_thread(app.invoke, Order("7"), session.config(thread)))
    assert shop.charged == ["charge:7"]
    assert [(r["receipt"], r["log"]) for r in results] == [("r1", ["charged"])] * 2
    app.invoke(Order("8"), session.config("c"))
    assert shop.charged == ["charge:7", "charge:8"]


def test_without_a_key_it_is_the_thread_the_place_and_what_it_reads(session: Session, shop: Shop) -> None:
    app = chain(charging(shop, reads=("id",))).compile()
    app.invoke(Order("1", note="x"), session.config("a"))
    app.invoke({"id": "1", "note": "y"}, session.config("a"))  # the note is not read
    assert len(shop.charged) == 1
    app.invoke(Order("1"), session.config("b"))
    app.invoke({"id": "2"}, session.config("a"))
    assert len(shop.charged) == len(set(shop.charged)) == 3


def test_a_replay_after_a_failure_behind_it_does_not_repeat_it(session: Session, shop: Shop) -> None:
    charge = charging(shop)

    async def both(order: Order) -> dict[str, Any]:
        done = await charge.ainvoke(order)
        if not os.environ.get("FIXED"):
            raise ZeroDivisionError
        return done

    app = chain(both).compile()
    with pytest.raises(ZeroDivisionError):
        app.invoke(Order(), session.config("t"))
    os.environ["FIXED"] = "1"
    try:
        assert app.invoke(None, session.config("t"))["receipt"] == "r1"
    finally:
        del os.environ["FIXED"]
    assert len(shop.charged) == 1


async def test_equal_keys_in_parallel_branches_happen_once(session: Session, shop: Shop) -> None:
    started = asyncio.Event()

    @effect(key=lambda order: order.id)
    async def charge(order: Order, key: str) -> dict[str, Any]:
        started.set()
        await asyncio.sleep(0)
        return {"log": shop.charge(key)["log"]}

    graph: Any = StateGraph(Order)
    graph.add_node("charge", charge)
    graph.add_conditional_edges(START, lambda _: [Send("charge", Order(str(n % 2))) for n in range(40)])
    graph.add_edge("charge", END)
    app = graph.compile()
    results = await asyncio.gather(*(app.ainvoke(Order(), session.config(f"t{n}")) for n in range(5)))
    assert sorted(shop.charged) == ["charge:0", "charge:1"]
    assert [len(result["log"]) for result in results] == [40] * 5


def test_equal_keys_in_threads_with_loops_of_their_own_happen_once(session: Session, shop: Shop) -> None:
    app = chain(charging(shop, key=lambda order: order.id)).compile()
    threads = [
        threading.Thread(
            target=lambda n=n: asyncio.run(app.ainvoke(Order("1"), session.config(f"t{n}")))  # type: ignore[misc]
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shop.charged == ["charge:1"]
    assert session.journal.query("SELECT DISTINCT status FROM runs") == [{"status": "done"}]


async def test_two_sessions_on_one_file_wait_for_each_other(
    session: Session, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "LOOK_AGAIN_S", 0.01)
    begun, go_on = asyncio.Event(), asyncio.Event()

    @effect(key=lambda order: order.id)
    async def charge(order: Order, key: str) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        return shop.charge(key)

    app = chain(charge).compile()
    with Session(session.database) as other:
        first = asyncio.create_task(app.ainvoke(Order(), session.config("a")))
        await begun.wait()
        second = asyncio.create_task(app.ainvoke(Order(), other.config("b")))
        await asyncio.sleep(0.1)
        assert not second.done()
        go_on.set()
        assert (await first)["receipt"] == (await second)["receipt"] == "r1"
    assert shop.charged == ["charge:1"]


class Foreign(InMemorySaver):
    """A saver that brings no session."""


@pytest.mark.filterwarnings("ignore::stepgraph.state.session.default.NotKeptWarning")
async def test_a_thread_that_another_saver_keeps_has_no_guard_so_nothing_happens(shop: Shop) -> None:
    builder = StateGraph(Order)
    builder.add_node("charge", charging(shop))
    builder.add_edge(START, "charge")
    builder.add_edge("charge", END)
    thread: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(InputError, match=r"'charge' happens once, which needs a session.*Foreign keeps it\."):
        await builder.compile(checkpointer=Foreign()).ainvoke(Order(), thread)
    assert shop.charged == []
    await builder.compile().ainvoke(Order(), thread)
    assert len(shop.charged) == 1


def test_without_a_session_nothing_is_guarded(shop: Shop) -> None:
    app = chain(charging(shop, key=lambda order: order.id)).compile()
    assert app.invoke(Order())["receipt"] == "r1"
    assert app.invoke(Order())["receipt"] == "r2"


# Forks and pruning


def test_a_fork_does_not_repeat_it(session: Session, shop: Shop) -> None:
    app = chain(charging(shop), approve).compile()
    app.invoke(Order(), session.config("t"))
    child = fork(session, "t", at=0)
    assert app.invoke(None, session.config(child))["receipt"] == "r1"
    grandchild = fork(session, child, at=0)
    result = app.invoke(None, session.config(grandchild))
    assert (result["receipt"], result["log"]) == ("r1", ["charged"])
    assert len(shop.charged) == 1


def test_an_effect_of_a_fork_counts_for_its_parent(session: Session, shop: Shop) -> None:
    shop.trouble = [None]
    app = chain(approve, charging(shop, reads=("id",))).compile()
    app.invoke(Order(), session.config("t"))
    child = fork(session, "t")
    app.invoke(Command(resume="yes"), session.config(child))
    assert app.invoke(Command(resume="no"), session.config("t"))["receipt"] == "r1"
    assert len(shop.charged) == 1


def test_other_content_in_a_fork_is_another_effect(session: Session, shop: Shop) -> None:
    app = chain(charging(shop)).compile()
    app.invoke(Order("1"), session.config("t"))
    app.invoke(None, session.config(fork(session, "t", at=0, changes={"id": "2"}, graph=app)))
    assert len(set(shop.charged)) == 2


@pytest.mark.parametrize("forget", [False, True])
def test_pruning_a_thread_repeats_nothing_in_its_forks(session: Session, shop: Shop, forget: bool) -> None:
    app = chain(charging(shop), approve).compile()
    app.invoke(Order(), session.config("t"))
    child = fork(session, "t", at=0)
    grandchild = fork(session, child, at=0)
    delete_threads(session, [child], effects=forget)  # in the middle of the line
    assert app.invoke(None, session.config(grandchild))["receipt"] == "r1"
    delete_threads(session, ["t"], effects=forget)
    again = fork(session, grandchild, at=0)
    assert app.invoke(None, session.config(again))["receipt"] == "r1"
    assert len(shop.charged) == 1


def test_effects_can_be_forgotten_with_the_last_of_the_line(session: Session, shop: Shop) -> None:
    app = chain(charging(shop), approve).compile()
    app.invoke(Order(), session.config("t"))
    child = fork(session, "t")
    delete_threads(session, ["t"], effects=True)
    assert session.journal.query("SELECT thread_id FROM effects") == [{"thread_id": child}]
    delete_threads(session, [child])
    assert len(session.journal.query("SELECT * FROM effects")) == 1  # not asked to forget
    app.invoke(Order(), session.config(child))
    delete_threads(session, [child], effects=True)
    assert session.journal.query("SELECT * FROM effects") == []


def test_a_whole_family_goes_with_its_effects(session: Session, shop: Shop) -> None:
    app = chain(charging(shop), approve).compile()
    app.invoke(Order(), session.config("t"))
    child = fork(session, "t")
    delete_threads(session, [child, "t"], effects=True)
    assert session.journal.query("SELECT * FROM effects") == []


# Everywhere


def test_it_is_a_part_of_every_pattern(session: Session, shop: Shop) -> None:
    @step("note")
    def write(order: Order) -> Ask[str]:
        return Ask("Write")

    def good(order: Order) -> bool:
        return bool(order.receipt)

    def which(order: Order) -> str:
        return "charge"

    charge = charging(shop, reads=("id",))
    app = route(which, {"charge": chain(refine(charge, good, until=bool, rounds=3), write)}).compile()
    with using(ScriptedModel(["a note"])):
        result = app.invoke(Order(), session.config("t"))
    assert (result["receipt"], result["note"], result["log"]) == ("r1", "a note", ["charged"])
    (row,) = session.journal.query("SELECT path, status FROM effects")
    assert row["path"].endswith("/charge")
    assert row["status"] == "done"


class Bill(BaseModel):
    total: int = 0
    paid: bool = False


class Account(BaseModel):
    id: str = "1"
    bill: Bill = Bill()


def test_what_it_wrote_comes_back_as_it_was(session: Session) -> None:
    calls = 0

    @effect(key=lambda account: account.id)
    async def settle(account: Account) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        return {"bill": Bill(total=5, paid=True)}

    app = chain(settle).compile()
    first = app.invoke(Account(), session.config("a"))
    second = app.invoke(Account(), session.config("b"))
    assert first["bill"] == second["bill"] == Bill(total=5, paid=True)
    assert calls == 1


def test_a_mistake_is_named(session: Session, shop: Shop) -> None:
    with pytest.raises(DefinitionError, match=r"retry=True.*takes no `key`"):

        @effect(retry=True)
        def charge(order: Order) -> None: ...

    with pytest.raises(DefinitionError, match="Did you mean 'note'"):
        charging(shop, reads=("notes",))

    @effect
    def misspelled(order: Order) -> dict[str, Any]:
        return {"recipt": "r1"}

    @effect
    def no_update(order: Order) -> Any:
        return "r1"

    for wrong, told in (
        (misspelled, "Did you mean 'receipt'"),
        (no_update, "returned str; expected a state"),
    ):
        with pytest.raises(DefinitionError, match=told):
            chain(wrong).compile().invoke(Order(), session.config())


KEYED = """
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from stepgraph import effect


class Part(BaseModel):
    tags: set[str] = {"x", "y", "z", "longer", "words"}


@dataclass
class Order:
    tags: frozenset[str] = frozenset({"a", "b", "c", "d", "e"})
    parts: dict[str, list[Part]] = field(default_factory=lambda: {"one": [Part()]})
    other: Any = None


@effect
def charge(order: Order) -> None: ...


print(charge.key_of(Order()))
"""


def test_the_key_is_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "keyed.py").write_text(KEYED)
    keys = {
        subprocess.run(
            [sys.executable, "keyed.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": child_path(), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(keys) == 1


def test_content_that_cannot_be_known_again_is_refused(shop: Shop) -> None:
    charge = charging(shop)
    with pytest.raises(InputError, match=r"field 'note' holds .* at 0x.*effect\(key=…\)"):
        charge.invoke(Order(note=object()))  # type: ignore[arg-type]
    assert charge.key_of(Order(note="meet me at 0x10")) == charge.key_of(Order(note="meet me at 0x10"))


@pytest.mark.parametrize("key", [None, ""])
def test_an_empty_key_is_refused(session: Session, shop: Shop, key: str | None) -> None:
    app = chain(charging(shop, key=lambda order: key)).compile()
    with pytest.raises(InputError, match="would count as the same"):
        app.invoke(Order(), session.config("t"))
    assert shop.charged == []


def test_a_namesake_over_another_state_is_not_taken_for_it(session: Session, shop: Shop) -> None:
    chain(charging(shop, key=lambda order: order.id)).compile().invoke(Order("1"), session.config("a"))

    @effect(key=lambda account: account.id)
    def charge(account: Account) -> None: ...

    with pytest.raises(DefinitionError, match="'charge:1', as it is on record, writes 'receipt'"):
        chain(charge).compile().invoke(Account(id="1"), session.config("b"))


def test_config_is_handed_in_as_in_any_node(session: Session) -> None:
    from langchain_core.runnables import RunnableConfig

    seen: list[Any] = []

    @effect
    def charge(order: Order, config: RunnableConfig) -> None:
        seen.append(config["configurable"]["thread_id"])

    chain(charge).compile().invoke(Order(), session.config("t"))
    assert seen == ["t"]
    assert time.time() - session.journal.query("SELECT started_at FROM effects")[0]["started_at"] < 60
