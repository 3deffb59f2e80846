"""A run that begins while another process holds the file's lock: it waits, and its event loop does not."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command, interrupt

from stepgraph import Budget, Session, arun, chain, effect
from stepgraph.state.errors import GraphChanged, ThreadBusy

pytestmark = pytest.mark.sqlite_file("the lock of the file")


@dataclass
class Post:
    text: str = ""
    approved: str = ""


def write(post: Post) -> dict[str, Any]:
    return {"text": post.text + "!"}


def approve(post: Post) -> dict[str, Any]:
    return {"approved": interrupt("fine?")}


graph = chain(write, approve)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


async def ticks(number: int = 5) -> None:
    """Let the event loop turn: it could not if somebody blocked it until the lock is gone."""
    for _ in range(number):
        await asyncio.sleep(0.02)


def claimed(session: Session) -> list[Any]:
    return session.journal.query("SELECT * FROM claims WHERE expires_at > 0")


def rows(session: Session, table: str) -> list[dict[str, Any]]:
    return session.journal.query(f"SELECT * FROM {table}")


@pytest.mark.parametrize("through", ["invoke", "run"])
async def test_runs_wait_and_the_loop_does_not(session: Session, through: str) -> None:
    app = graph.compile()

    async def one(number: int) -> Any:
        if through == "run":
            budget = Budget(calls=3, seconds=100)
            return (await arun(app, Post("a"), session, f"t{number}", budget=budget)).values
        return await app.ainvoke(Post("a"), session.config(f"t{number}"))

    with locked(session.path):
        running = [asyncio.create_task(one(number)) for number in range(10)]
        await ticks()
        assert not any(task.done() for task in running)
    results = await asyncio.gather(*running)
    assert [result["text"] for result in results] == ["a!"] * 10
    assert [row["status"] for row in rows(session, "runs")] == ["interrupted"] * 10
    assert claimed(session) == []


async def test_it_is_refused_as_ever(session: Session) -> None:
    app = graph.compile()
    await app.ainvoke(Post("a"), session.config("changed"))
    other = chain(approve).compile()
    with Session(session.path) as elsewhere:
        elsewhere.claims.acquire("busy")
        with locked(session.path):
            busy = asyncio.create_task(app.ainvoke(Post("a"), session.config("busy")))
            changed = asyncio.create_task(other.ainvoke(Command(resume="yes"), session.config("changed")))
            await ticks()
        with pytest.raises(ThreadBusy):
            await busy
        with pytest.raises(GraphChanged):
            await changed
        assert [row["thread_id"] for row in claimed(session)] == ["busy"]
    assert [(row["thread_id"], row["status"]) for row in rows(session, "runs")] == [
        ("changed", "interrupted")
    ]
    assert (await app.ainvoke(Post("a"), session.config("busy")))["text"] == "a!"


async def test_two_runs_of_one_thread_that_begin_late(session: Session) -> None:
    app, config = graph.compile(), session.config("t")
    with locked(session.path):
        configs = [config, config, session.config("t")]
        running = [asyncio.create_task(app.ainvoke(Post("a"), each)) for each in configs]
        await ticks()
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    assert sum(isinstance(outcome, ThreadBusy) for outcome in outcomes) >= 1
    assert sum(isinstance(outcome, dict) for outcome in outcomes) >= 1
    assert claimed(session) == []


async def test_a_run_that_is_cancelled_before_it_begins_leaves_no_claim(session: Session) -> None:
    app, config = graph.compile(), session.config("t")
    with locked(session.path):
        running = asyncio.create_task(app.ainvoke(Post("a"), config))
        await ticks()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    for _ in range(600):
        if rows(session, "runs") and not claimed(session):
            break
        await asyncio.sleep(0.05)
    assert claimed(session) == []
    assert rows(session, "runs")[0]["error"] == "stopped before it ended"
    assert (await app.ainvoke(Post("b"), config))["text"] == "b!"


async def test_a_sync_call_inside_a_loop_waits_too(session: Session) -> None:
    app = graph.compile()
    with Session(session.path) as elsewhere:
        held = sqlite3.connect(elsewhere.path, isolation_level=None, check_same_thread=False)
        held.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().run_in_executor(None, lambda: (asyncio.run(ticks()), held.close()))
        assert app.invoke(Post("a"), session.config("t"))["text"] == "a!"
    assert claimed(session) == []


async def test_an_effect_waits_without_the_loop(session: Session) -> None:
    posted: list[str] = []

    @effect
    async def post(state: Post) -> None:
        posted.append(state.text)

    config = session.config("t")
    with locked(session.path):
        running = asyncio.create_task(post.ainvoke(replace(Post(), text="x"), config))
        await ticks()
        assert posted == []
    await running
    assert posted == ["x"]
