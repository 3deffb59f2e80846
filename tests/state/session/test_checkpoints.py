from __future__ import annotations

import sqlite3
import time
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from stepgraph import Session
from stepgraph.errors import StoreError


class State(TypedDict):
    text: str


def shout(state: State) -> dict[str, Any]:
    return {"text": state["text"] + "!"}


graph = StateGraph(State)
graph.add_node("shout", shout)
graph.add_edge(START, "shout")
graph.add_edge("shout", END)
app = graph.compile()


async def test_sync_and_async_callers_see_the_same_history(session: Session) -> None:
    config = session.config("t")
    app.invoke({"text": "a"}, config)
    await app.ainvoke({"text": "b"}, config)
    history = [state.values for state in app.get_state_history(config)]
    assert history == [state.values async for state in app.aget_state_history(config)]
    assert history[0] == {"text": "b!"}
    assert len(history) == 6
    assert len([s async for s in app.aget_state_history(config, limit=2)]) == 2


@pytest.mark.parametrize("sync", [True, False])
async def test_a_node_that_ended_beside_one_that_failed_does_not_run_again(
    session: Session, sync: bool
) -> None:
    ran: list[str] = []

    def good_is_saved() -> bool:
        with session.checkpointer.cursor() as cursor:
            # LangGraph's start node writes the field as well, before any other node runs.
            (saved,) = cursor.execute("SELECT count(*) FROM writes WHERE channel = 'text'").fetchone()
            return bool(saved > 1)

    def good(state: State) -> dict[str, Any]:
        ran.append("good")
        return {"text": "good"}

    def bad(state: State) -> dict[str, Any]:
        ran.append("bad")
        deadline = time.monotonic() + 60
        while not good_is_saved() and time.monotonic() < deadline:
            time.sleep(0.01)
        if ran.count("bad") == 1:
            raise ValueError("once")
        return {}

    both = StateGraph(State)
    for node in (good, bad):
        both.add_node(node)
        both.add_edge(START, node.__name__)
        both.add_edge(node.__name__, END)
    app, config = both.compile(), session.config("t")
    with pytest.raises(ValueError, match="once"):
        app.invoke({"text": ""}, config) if sync else await app.ainvoke({"text": ""}, config)
    result = app.invoke(None, config) if sync else await app.ainvoke(None, config)
    assert result == {"text": "good"}
    assert sorted(ran) == ["bad", "bad", "good"]


async def test_a_thread_can_be_deleted(session: Session) -> None:
    for thread in "abc":
        app.invoke({"text": thread}, session.config(thread))
    session.checkpointer.delete_thread("a")
    await session.checkpointer.adelete_thread("b")
    assert [bool(app.get_state(session.config(thread)).values) for thread in "abc"] == [False, False, True]


def test_a_failed_transaction_is_undone(session: Session) -> None:
    checkpointer = session.checkpointer

    def half() -> None:
        with checkpointer.cursor() as cursor:
            cursor.execute(
                "INSERT INTO writes (thread_id, checkpoint_id, task_id, idx, channel) VALUES (1, 2, 3, 4, 5)"
            )
            cursor.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises((sqlite3.OperationalError, StoreError), match="nowhere"):
        half()
    with checkpointer.cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM writes").fetchone() == (0,)


@pytest.mark.sqlite_file("how the file is written")
def test_the_file_survives_a_crash_at_little_cost(session: Session) -> None:
    for connection in (session.checkpointer.conn, session.journal.store._connection):
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
