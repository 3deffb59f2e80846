"""A thread is kept whoever keeps its checkpoints; what cannot hold is refused before anything is paid."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, effect, run, step, using, within
from stepgraph.errors import InputError, SettingsError, ThreadBusy, UnboundRole
from stepgraph.state.session.default import (
    NotKeptWarning,
    SessionTable,
    _warned,
    default_sessions,
    named_database,
)

from ..cluster.switch import IN_POSTGRES

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}
done: list[str] = []


@dataclass
class Tea:
    kind: str = ""
    note: str = ""


@step("kind")
def kind(tea: Tea) -> Ask[str]:
    return Ask("Which kind?")


@step("note")
def note(tea: Tea) -> Ask[str]:
    return Ask("A note?")


@effect(key=lambda tea: "one pot")
def pour(tea: Tea, key: str) -> dict[str, str]:
    done.append(key)
    return {}


async def asks_and_waits(tea: Tea) -> dict[str, str]:
    answer = await kind.answer(tea)
    return {"kind": answer, "note": interrupt("Good?")}


broken = False


def breaks(tea: Tea) -> dict[str, str]:
    if broken:
        raise RuntimeError("broken")
    return {}


@pytest.fixture(autouse=True)
def fresh() -> Any:
    done.clear()
    yield
    default_sessions.close()
    if IN_POSTGRES:
        gc.collect()  # the session of an InMemorySaver ends with it: not after its schema was given away


def tea_model() -> ScriptedModel:
    return ScriptedModel(lambda request, context: "green")


@asynccontextmanager
async def savers(name: str, folder: Path) -> AsyncIterator[Any]:
    if name == "sqlite":
        async with AsyncSqliteSaver.from_conn_string(str(folder / "own.sqlite")) as saver:
            yield saver
    elif name == "session":
        with Session(folder / "runs.sqlite") as session:
            yield session.checkpointer
    else:
        yield InMemorySaver() if name == "memory" else None


@pytest.mark.parametrize(
    ("name", "file"),
    [("memory", False), ("memory", True), ("sqlite", True), ("none", True), ("session", False)],
)
async def test_a_thread_is_kept_whoever_keeps_its_checkpoints(
    name: str, file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if file:
        monkeypatch.setenv("STEPGRAPH_DB", str(tmp_path / "runs.sqlite"))
    async with savers(name, tmp_path) as saver:
        app = chain(asks_and_waits, pour).compile(checkpointer=saver)
        with using(model := tea_model()):
            assert "__interrupt__" in await app.ainvoke(Tea(), CONFIG)
            assert (await app.ainvoke(Command(resume="yes"), CONFIG))["kind"] == "green"
            await app.ainvoke(Tea(), CONFIG)
            await app.ainvoke(Command(resume="yes"), CONFIG)
        assert len(model.asks) == 2  # one in each turn
        assert done == ["pour:one pot"]
        limited = chain(within(chain(kind, note), Budget(calls=1))).compile(checkpointer=saver)
        with using(model := tea_model()):
            config: RunnableConfig = {"configurable": {"thread_id": "u"}}
            assert "__interrupt__" in await limited.ainvoke(Tea(), config)
        assert len(model.asks) == 1
        whole = chain(kind, note).compile(checkpointer=saver)
        with using(model := tea_model()):
            config = {"configurable": {"thread_id": "v", "stepgraph_budget": {"calls": 1}}}
            assert "__interrupt__" in await whole.ainvoke(Tea(), config)
        assert len(model.asks) == 1
    default_sessions.close()  # how the last run ended may still be on its way
    if file or name == "session":
        with Session(tmp_path / "runs.sqlite") as session:
            status = session.journal.query("SELECT thread_id, status FROM runs ORDER BY thread_id")
            assert [row["status"] for row in status] == ["done", "partial", "partial"]
            assert session.spent("t").calls == 2
            assert session.journal.query("SELECT 1 FROM node_runs WHERE thread_id = 't' AND path = 'pour'")


async def test_what_cannot_hold_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    async with savers("sqlite", tmp_path) as saver:
        for graph in (chain(kind, pour), chain(kind, within(note, Budget(calls=1)))):
            with using(model := tea_model()), pytest.raises(InputError, match="session"):
                await graph.compile(checkpointer=saver).ainvoke(Tea(), CONFIG)
            assert not model.asks
        app = chain(kind).compile(checkpointer=saver)
        with using(tea_model()):
            with pytest.warns(NotKeptWarning, match="STEPGRAPH_DB"):
                await app.ainvoke(Tea(), CONFIG)
            await app.ainvoke(Tea(), CONFIG)  # told once: a second warning would be an error here
    assert not done


def by_hand(saver: Any) -> Any:
    """Return a graph that LangGraph compiles: a step, a model of its own, a pattern, an effect."""

    def own_model(tea: Tea) -> None:
        FakeListChatModel(responses=["milk"]).invoke("Milk or sugar?")

    graph: Any = StateGraph(Tea)
    graph.add_node("kind", kind)
    graph.add_node("own", own_model)
    graph.add_node("inner", chain(chain(note)).compile())
    graph.add_node("breaks", breaks)
    graph.add_node("pour", pour)
    for one, other in pairwise([START, "kind", "own", "inner", "breaks", "pour", END]):
        graph.add_edge(one, other)
    return graph.compile(checkpointer=saver)


PATHS = {"kind", "own", "inner", "inner/chain_note", "inner/chain_note/note", "breaks", "pour"}


async def invoke(app: Any, given: Any, config: Any, how: str) -> Any:
    if how == "sync":
        return await asyncio.to_thread(app.invoke, given, config)
    if how == "stream":
        return [part async for part in app.astream(given, config, stream_mode="values")][-1]
    return await app.ainvoke(given, config)


async def status(session: Session, thread: str) -> str:
    """Return a thread's status once it has ended: another session writes that with its next commit."""
    while True:
        (row,) = session.journal.query("SELECT status FROM runs WHERE thread_id = ?", (thread,))
        if row["status"] != "running":
            return str(row["status"])
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("saver_name", "how"),
    [("memory", "async"), ("memory", "sync"), ("sqlite", "async"), ("sqlite", "stream")],
)
async def test_a_hand_written_graph_is_recorded_claimed_and_budgeted(
    saver_name: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    global broken
    monkeypatch.setenv("STEPGRAPH_DB", str(tmp_path / "runs.sqlite"))
    async with savers(saver_name, tmp_path) as saver:
        app = by_hand(saver)
        with using(model := tea_model()), Session(tmp_path / "runs.sqlite") as session:
            broken = True
            with pytest.raises(RuntimeError, match="broken"):
                await invoke(app, Tea(), CONFIG, how)
            assert await status(session, "t") == "failed"
            broken = False
            assert (await invoke(app, None, CONFIG, how))["note"] == "green"
            assert (len(model.asks), done, session.spent("t").calls) == (2, ["pour:one pot"], 3)
            rows = session.journal.query("SELECT path, status FROM node_runs WHERE thread_id = 't'")
            assert {row["path"] for row in rows} == PATHS
            assert await status(session, "t") == "done"
            assert not session.journal.query("SELECT 1 FROM claims WHERE expires_at > 0")

            session.claims.acquire("t")
            with pytest.raises(ThreadBusy):
                await invoke(app, Tea("other"), CONFIG, how)
            assert len(model.asks) == 2
            session.claims.release("t")

            limited: Any = {"configurable": {"thread_id": "u", "stepgraph_budget": {"calls": 1}}}
            assert "__interrupt__" in await app.ainvoke(Tea(), limited)
            assert len(model.asks) == 3
            assert await status(session, "u") == "partial"
            assert "__interrupt__" in await app.ainvoke(None, {"configurable": {"thread_id": "u"}})
            assert len(model.asks) == 3  # the thread has that budget, whoever goes on with it
            more: Any = {"configurable": {"thread_id": "u", "stepgraph_budget": {"calls": 9}}}
            assert (await app.ainvoke(None, more))["note"] == "green"


async def test_a_hand_written_graph_has_the_budget_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPGRAPH_DB", str(tmp_path / "runs.sqlite"))
    app = by_hand(InMemorySaver())
    for budget, told in ((Budget(calls=1), None), (Budget(supersteps=2), "recursion_limit")):
        table = SessionTable(budget=budget)
        monkeypatch.setattr("stepgraph.state.session.attached.session_table", lambda table=table: table)
        thread: RunnableConfig = {"configurable": {"thread_id": f"{budget}"}}
        with using(model := tea_model()):
            if told is None:
                assert "__interrupt__" in await app.ainvoke(Tea(), thread)
            else:
                with pytest.raises(InputError, match=told):
                    await app.ainvoke(Tea(), thread)
        assert len(model.asks) == (budget.calls or 0)


async def test_a_hand_written_graph_without_a_setting(tmp_path: Path) -> None:
    limited: Any = {"configurable": {"thread_id": "t", "stepgraph_budget": {"calls": 1}}}
    with using(model := tea_model()):
        assert "__interrupt__" in await by_hand(InMemorySaver()).ainvoke(Tea(), limited)
    assert len(model.asks) == 1
    async with savers("sqlite", tmp_path) as saver:
        graph: Any = StateGraph(Tea)
        graph.add_node("kind", kind)
        graph.add_edge(START, "kind")
        app = graph.compile(checkpointer=saver)
        with using(model := tea_model()):
            _warned.clear()
            with pytest.warns(NotKeptWarning, match="AsyncSqliteSaver keeps"):
                await app.ainvoke(Tea(), CONFIG)
            await app.ainvoke(Tea(), CONFIG)  # told once: a second warning would be an error here
            with pytest.raises(InputError, match="budget, which needs a session"):
                await app.ainvoke(Tea(), limited)
            assert len(model.asks) == 2


async def test_a_graph_of_ours_and_what_is_no_thread_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPGRAPH_DB", str(tmp_path / "runs.sqlite"))
    app = chain(kind, note).compile()
    with using(tea_model()), Session(tmp_path / "other.sqlite") as session:
        await app.ainvoke(Tea(), session.config("t"))
        await by_hand(None).ainvoke(Tea(), {})
        await RunnableLambda(lambda given: given).ainvoke(1, CONFIG)
        assert len(session.journal.query("SELECT 1 FROM node_runs")) == 2
    with Session(tmp_path / "runs.sqlite") as session:
        assert not session.journal.query("SELECT 1 FROM runs")


def test_urls_of_databases_and_of_nothing() -> None:
    assert named_database("sqlite:///a/b.sqlite", "x") == Path("a/b.sqlite")
    assert named_database("sqlite:////a/b.sqlite", "x") == Path("/a/b.sqlite")
    assert named_database("b.sqlite", "x") == Path("b.sqlite")
    assert str(named_database("postgresql://user:secret@host/db", "x")) == "postgresql://user@host/db"
    with pytest.raises(SettingsError, match="mysql: is no session") as told:
        named_database("mysql://user:secret@host/db", "x")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("restart", [False, True])
def test_the_same_input_goes_on_unless_it_is_to_restart(
    durability: Any, restart: bool, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = chain(kind, breaks, note).compile()
    monkeypatch.setitem(globals(), "broken", True)
    with using(model := tea_model()):
        with pytest.raises(RuntimeError):
            app.invoke(Tea(), session.config("t"), durability=durability)
        monkeypatch.setitem(globals(), "broken", False)
        app.invoke(Tea(), session.config("t", restart=restart), durability=durability)
        assert len(model.asks) == 2 + restart
        run(app, Tea(), session, "t")
        assert len(model.asks) == 4 + restart  # the thread had ended: a new turn


async def test_an_input_that_starts_anew_claims_each_answer_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(100))
    model = ScriptedModel(lambda request, context: str(next(numbers)))

    async def twice(tea: Tea) -> dict[str, str]:
        return {"kind": f"{await kind.answer(tea)} {await kind.answer(tea)}"}

    graph = StateGraph(Tea)
    for name, node in {"one": twice, "two": breaks, "three": twice}.items():
        graph.add_node(name, node)
    for source, target in ((START, "one"), ("one", "two"), ("two", "three"), ("three", END)):
        graph.add_edge(source, target)
    app = graph.compile()
    monkeypatch.setitem(globals(), "broken", True)
    with using(model):
        for _ in range(3):
            with pytest.raises(RuntimeError):
                await app.ainvoke(Tea(), session.config("t"))
        monkeypatch.setitem(globals(), "broken", False)
        assert (await app.ainvoke(Tea(), session.config("t")))["kind"] == "2 3"
    assert session.spent("t").calls == 4


def test_a_pool_works_in_the_block_around_it_and_two_blocks_do_not_mix() -> None:
    app = chain(kind).compile()

    def ask(_: int) -> str:
        return str(app.invoke(Tea())["kind"])

    with using(tea_model()), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(8))) == ["green"] * 8
        with using(ScriptedModel(lambda request, context: "black")):
            assert pool.submit(ask, 0).result() == "black"

    with ThreadPoolExecutor(1) as other, ThreadPoolExecutor(1) as pool, using(tea_model()):
        block = using(ScriptedModel(lambda request, context: "black"))
        other.submit(block.__enter__).result()
        try:
            assert other.submit(ask, 0).result() == "black"
            assert ask(0) == "green"
            with pytest.raises(UnboundRole, match="copy_context"):
                pool.submit(ask, 0).result()
        finally:
            other.submit(block.__exit__, None, None, None).result()


def test_a_subgraph_without_a_checkpointer_runs_in_a_session(session: Session) -> None:
    outer = StateGraph(Tea)
    outer.add_node("inner", chain(kind).compile(checkpointer=False))
    outer.add_edge(START, "inner")
    with using(tea_model()):
        assert outer.compile().invoke(Tea(), session.config("t"))["kind"] == "green"
        with pytest.raises(InputError, match="checkpointer=False"):
            chain(kind).compile(checkpointer=False).invoke(Tea(), session.config("u"))
