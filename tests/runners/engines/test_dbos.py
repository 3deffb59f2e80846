"""DBOS brings threads to workers: what it loses is found again, and what it brings twice is run once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from stepgraph import Session
from stepgraph.runners.choosing import engine_of
from stepgraph.runners.engines import dbos
from stepgraph.runners.engines.dbos import DbosEngine
from stepgraph.runners.outcomes import Job
from stepgraph.runners.sessions import close_sessions
from stepgraph.runners.submitting import RunHandle, asubmit, asubmitted
from stepgraph.runners.turns import Turn
from stepgraph.runners.workers import aworker
from stepgraph.state.errors import EngineUnreachable, InputError
from stepgraph.state.journal.jobs import JobRecord, submit_job

from ...servers import Answer, ChatServer

FLOW = """
from datetime import timedelta
from typing import TypedDict

from stepgraph import Ask, chain, review, step


class Post(TypedDict, total=False):
    topic: str
    plan: str
    draft: str


@step("plan")
def plan(post: Post) -> Ask[str]:
    return Ask("Plan " + post["topic"])


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("Write " + post["plan"])


@review("draft")
def check(post: Post) -> str:
    return "Fine?"


@review("draft", deadline=timedelta(seconds=1), otherwise="approve")
def check_soon(post: Post) -> str:
    return "Fine?"


app = chain(plan, write).compile()
asked = chain(plan, write, check).compile()
hurried = chain(plan, write, check_soon).compile()
"""
pytestmark = pytest.mark.engine
GRAPHS = ("flow.py:app", "flow.py:asked", "flow.py:hurried")
SEEN_S = 30


@pytest.fixture
def flow(tmp_path: Path, server: ChatServer) -> Iterator[ChatServer]:
    (tmp_path / "flow.py").write_text(FLOW)
    server.always = Answer("fine")
    yield server
    close_sessions()  # the next test has an empty database under the same address
    sys.modules.pop("flow", None)


@asynccontextmanager
async def worker(url: str, server: ChatServer) -> AsyncIterator[asyncio.Task[None]]:
    ready = asyncio.Event()
    models = {"model": "m", "base_url": server.url}
    serving = aworker(*GRAPHS, db=url, on="dbos", models=models, grace_s=10, ready=ready.set)
    task = asyncio.create_task(serving)
    await asyncio.wait({task, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    try:
        assert not task.done(), task.result()
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(SEEN_S):
        while not await asyncio.to_thread(true):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def submitted(url: str, graph: str, thread: str, topic: str = "tea") -> RunHandle:
    return await asubmit(f"flow.py:{graph}", {"topic": topic}, db=url, on="dbos", thread_id=thread)


async def test_runs_reviews_and_deadlines_are_brought_to_a_worker(
    flow: ChatServer, postgres_url: str
) -> None:
    runs = [await submitted(postgres_url, "app", f"run-{number}") for number in range(5)]
    asked = await submitted(postgres_url, "asked", "asked")
    hurried = await submitted(postgres_url, "hurried", "hurried")
    async with worker(postgres_url, flow):
        for run in runs:
            assert (await run.aresult(SEEN_S)).status == "done"
        assert (await asked.aresult(SEEN_S)).status == "interrupted"
        await (await asubmitted("asked", db=postgres_url)).aanswer({"decision": "edit", "value": "mine"})
        assert (await asked.aresult(SEEN_S)).values["draft"] == "mine"
        await until(lambda: hurried.status() == "done")
    assert flow.calls == 2 * 7


async def test_a_run_that_is_canceled_stops_and_one_whose_worker_ends_is_handed_over(
    flow: ChatServer, postgres_url: str
) -> None:
    flow.always = Answer("fine", delay_s=1.5)
    canceled = await submitted(postgres_url, "app", "canceled")
    drained = await submitted(postgres_url, "app", "drained", topic="coffee")
    async with worker(postgres_url, flow):
        await until(lambda: flow.calls == 2)
        await canceled.acancel()
    flow.always = Answer("fine")
    async with worker(postgres_url, flow):
        assert (await drained.aresult(SEEN_S)).status == "done"
    assert await canceled.astatus() == "canceled"
    assert flow.calls == 3  # both calls that were under way are kept


async def test_what_nobody_enqueued_or_a_dead_worker_had_is_found_and_what_came_twice_is_run_once(
    flow: ChatServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbos, "OVERDUE_S", 0.1)
    twice = await submitted(postgres_url, "app", "twice")
    with Session(postgres_url) as session:
        engine = engine_of("dbos", session)
        assert isinstance(engine, DbosEngine)
        for _ in range(3):
            await engine.submit(Job(twice.graph, twice.thread_id))
        submit_job(session.journal, JobRecord("lost", "flow.py:app", 0, {"topic": "a"}, engine="dbos"))
        dead = await submitted(postgres_url, "app", "dead", topic="b")
        begun = await submitted(postgres_url, "app", "begun", topic="c")
        with psycopg.connect(postgres_url, autocommit=True) as database:
            database.execute(  # as a worker leaves it that is killed at once
                "UPDATE stepgraph_dbos.workflow_status SET status = 'PENDING', executor_id = 'gone' "
                "WHERE workflow_uuid LIKE 'stepgraph/dead/%' OR workflow_uuid LIKE 'stepgraph/begun/%'"
            )
            database.execute(
                "UPDATE stepgraph.jobs SET status = 'running', owner = 'gone', expires_at = 1 "
                "WHERE thread_id = 'begun'"
            )
        async with worker(postgres_url, flow):
            for run in (twice, dead, begun, await asubmitted("lost", db=postgres_url)):
                assert (await run.aresult(SEEN_S)).status == "done"
        left = await engine._workflows(["twice", "lost", "dead", "begun"], ["PENDING"])
        assert left == []
    assert flow.calls == 2 * 4


async def test_what_it_keeps_of_a_run_is_names_and_words(flow: ChatServer, postgres_url: str) -> None:
    flow.always = Answer("secret" * 20_000)
    run = await submitted(postgres_url, "asked", "run", topic="secret")
    async with worker(postgres_url, flow):
        assert (await run.aresult(SEEN_S)).status == "interrupted"
    with psycopg.connect(postgres_url) as database:
        rows = database.execute("SELECT to_jsonb(each)::text FROM stepgraph_dbos.workflow_status each")
        kept = "".join(row[0] for row in rows)
    assert len(kept) < 5_000
    assert "secret" not in kept


async def test_a_thread_is_found_by_its_whole_name(flow: ChatServer, postgres_url: str) -> None:
    for thread in ("a", "a/b", "a%", "a/b/c"):
        await submitted(postgres_url, "app", thread)
    with Session(postgres_url) as session:
        engine = DbosEngine(session)
        for thread in ("a", "a/b", "a%", "a/b/c"):
            (only,) = await engine._workflows([thread], ["ENQUEUED"])
            assert only.workflow_id.startswith(f"stepgraph/{thread}/")
        await engine.cancel(Job("flow.py:app", "a"))
        assert not await engine._workflows(["a"], ["ENQUEUED"])
        assert await engine._workflows(["a/b"], ["ENQUEUED"])


async def test_it_works_through_pgbouncer(flow: ChatServer, pgbouncer_url: str) -> None:
    run = await submitted(pgbouncer_url, "app", "run")
    async with worker(pgbouncer_url, flow):
        assert (await run.aresult(SEEN_S)).status == "done"


@pytest.mark.parametrize("place", ["migrate", "launch", "register_queue"])
async def test_a_worker_starts_while_the_database_does(
    flow: ChatServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The record was read just now, so the database is only on its way back."""
    lost = OperationalError("SELECT", {}, Exception("server closed the connection unexpectedly"))
    answers, real = [lost, lost], getattr(dbos.DBOS, place)

    def hindered(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        if answers:
            raise answers.pop()
        return result

    run = await submitted(postgres_url, "app", "run")
    monkeypatch.setattr(dbos.DBOS, place, hindered)
    async with worker(postgres_url, flow):
        assert (await run.aresult(SEEN_S)).status == "done"
    assert not answers


@pytest.mark.parametrize("is_draining", [True, False])
async def test_a_worker_that_finds_no_database_ends(
    flow: ChatServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch, is_draining: bool
) -> None:
    monkeypatch.setattr(dbos, "RESTART_S", 3600.0 if is_draining else 0.0)

    def lost(*_: Any, **__: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("connection refused"))

    monkeypatch.setattr(dbos.DBOS, "migrate", lost)
    with Session(postgres_url) as session:
        turn = Turn(session, {})
        if is_draining:
            turn.drain()
        with pytest.raises(EngineUnreachable, match="connection refused"):
            await DbosEngine(session).serve(turn, at_once=1, ready=pytest.fail)


@pytest.mark.sqlite_file("a file, which DBOS refuses")
async def test_a_file_and_a_database_that_is_away_are_told_without_a_password(
    tmp_path: Path, postgres_url: str, flow: ChatServer
) -> None:
    with (
        Session(tmp_path / "runs.sqlite") as session,
        pytest.raises(InputError, match=r"runs\.sqlite is a file"),
    ):
        engine_of("dbos", session)
    with Session(postgres_url) as session:
        engine = DbosEngine(session)
        place = postgres_url.replace("127.0.0.1:", "127.0.0.1:1")[: postgres_url.index("@") + 11] + "1/none"
        engine._address = type(engine._address)(place, str(engine._address))
        with pytest.raises(EngineUnreachable) as raised:
            await engine.submit(Job("flow.py:app", "t"))
    assert "waits there" in str(raised.value)
    assert postgres_url.split(":")[2].split("@")[0] not in str(raised.value)
