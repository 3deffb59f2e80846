"""A session in Postgres: another process goes on with what a killed one left, and pays nothing twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stepgraph import Ask, Budget, Session, arun, chain, step
from stepgraph.errors import StoreError
from stepgraph.state.journal.postgres import traffic
from stepgraph.state.journal.postgres.transactions import in_transaction
from stepgraph.state.journal.postgres.wire import Segment, Wire
from stepgraph.state.journal.records import ThreadStatement, insert
from stepgraph.testing import ScriptedModel

from ..test_leases import CALL

PROGRAM = """
import os, signal, sys, time
from dataclasses import dataclass
from stepgraph import Ask, Session, chain, run, step
from stepgraph.testing import ScriptedModel

@dataclass
class State:
    first: str = ""
    second: str = ""

def answer(request, count):
    with open(sys.argv[2], "a") as asked:
        asked.write(request.messages[-1]["content"] + "\\n")
    if sys.argv[3] == "dies" and "two" in request.messages[-1]["content"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return "answered"

@step("first", model=ScriptedModel(answer))
def one(state: State) -> Ask[str]:
    return Ask("one")

@step("second", model=ScriptedModel(answer))
def two(state: State) -> Ask[str]:
    return Ask(f"two after {state.first}")

with Session(sys.argv[1], heartbeat_s=0.5) as session:
    while session.claims.is_run("t"):  # so long does the claim of a dead process live
        time.sleep(0.05)
    found = run(chain(one, two).compile(), State(), session, "t")
    print(found.status, found.values["second"])
"""


def test_a_killed_run_goes_on_in_postgres(postgres_url: str, tmp_path: Path) -> None:
    asked = tmp_path / "asked"

    def life(how: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, postgres_url, str(asked), how]
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    assert life("dies").returncode == -signal.SIGKILL
    after = life("lives")
    assert after.stdout.split() == ["done", "answered"], after.stderr
    assert asked.read_text().splitlines() == ["one", "two after answered", "two after answered"]
    with Session(postgres_url) as session:
        (row,) = session.journal.query("SELECT calls, replays, known_cost_usd FROM run_costs")
        assert row["calls"] == 2
        assert isinstance(row["calls"], int)


@dataclass
class Note:
    text: str = ""
    given: str = ""


BEGUN = "INSERT INTO invocations (thread_id, trace, status, started_at) VALUES (?, ?, ?, ?)"


async def test_what_is_committed_apart_from_what_failed_is_waiting_until_then(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(postgres_url) as session:
        store, statement = session.journal.store, (BEGUN, ("t", 1, "running", 1.0))
        seen: list[bool] = []

        def committed(*given: Any) -> None:
            seen.append(store.is_waiting(statement))
            in_transaction(*given)

        monkeypatch.setattr(traffic, "in_transaction", committed)
        store.add_later(statement)
        with pytest.raises(StoreError):
            await store.awrite([(BEGUN, (None, 1, "running", 1.0))])
        assert seen[0]
        assert not store.is_waiting(statement)
        assert session.journal.query("SELECT thread_id FROM invocations") == [{"thread_id": "t"}]


UNCLOSED = """
import asyncio, os, sys
from dataclasses import dataclass
from stepgraph import Ask, Session, chain, step
from stepgraph.testing import ScriptedModel

@dataclass
class State:
    text: str = ""

@step("text", model=ScriptedModel(lambda *_: "answered"))
def write(_: State) -> Ask[str]:
    return Ask("?")

session = Session(sys.argv[1])
asyncio.run(chain(write).compile().ainvoke(State(), session.config("t")))
os._exit(0)
"""


def test_a_run_is_over_on_record_though_its_loop_ends_at_once_and_nobody_closes_the_session(
    postgres_url: str,
) -> None:
    subprocess.run([sys.executable, "-c", UNCLOSED, postgres_url], check=True, timeout=60)
    with Session(postgres_url) as session:
        assert session.journal.query("SELECT status FROM runs") == [{"status": "done"}]
        assert session.journal.query("SELECT expires_at FROM claims") == [{"expires_at": 0.0}]


async def test_what_a_run_has_spent_is_read_with_its_end(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @step("text", model=ScriptedModel(lambda *_: "answered"))
    def write(_: Note) -> Ask[str]:
        return Ask("?")

    sent: list[list[str]] = []
    send = Wire.send

    def seen(self: Wire, segments: Sequence[Segment]) -> None:
        sent.append([query.sql.decode() for segment in segments for query in segment.queries])
        send(self, segments)

    with Session(postgres_url) as session:
        monkeypatch.setattr(Wire, "send", seen)
        result = await arun(chain(write).compile(), Note(), session)
    assert result.spent.calls == 1
    last = " ".join(next(each for each in reversed(sent) if any("UPDATE" in sql for sql in each)))
    assert "runs SET status" in last
    assert "claims SET expires_at = 0" in last
    assert "job_parts" in last


async def test_a_thread_that_goes_on_does_not_block_its_event_loop_by_reading_what_it_had(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others run in it, and the database may be far away."""
    here = threading.get_ident()

    @step("text", model=ScriptedModel(lambda *_: "answered"))
    def write(note: Note) -> Ask[str]:
        return Ask(f"?{note.given}")

    app = chain(write).compile()
    with Session(postgres_url) as session:
        await arun(app, Note(), session, "t")
        wait = traffic.Traffic.wait

        def waiting(self: traffic.Traffic, work: Any) -> None:
            assert threading.get_ident() != here, work
            wait(self, work)

        monkeypatch.setattr(traffic.Traffic, "wait", waiting)
        for given in ("again", "again", "once more"):
            result = await arun(app, {"given": given}, session, "t", budget=Budget(calls=9))
            assert result.status == "done"
        monkeypatch.undo()


async def test_what_nobody_can_write_and_nobody_waits_for_keeps_no_query_waiting(postgres_url: str) -> None:
    session = Session(postgres_url)
    store = session.journal.store
    store.add_later((BEGUN, (None, 1, "running", 1.0)), (BEGUN, ("t", 1, "running", 1.0)))
    rows = await asyncio.wait_for(store.aquery("SELECT thread_id FROM invocations"), 30)
    assert rows == [{"thread_id": "t"}]  # what can be written is in it
    assert await asyncio.wait_for(store.aquery("SELECT 1 AS one"), 30) == [{"one": 1}]
    with pytest.raises(StoreError, match="null value"):  # it is told at the latest now
        await asyncio.to_thread(session.close)


async def test_a_query_in_a_flight_that_is_committed_in_parts_is_answered(postgres_url: str) -> None:
    """The guard has to be asked for it, because the threads are those of others."""
    with Session(postgres_url) as session:
        store = session.journal.store

        def write(thread: str | None) -> Any:
            statement = (BEGUN, (thread, 1, "running", 1.0))
            return store.awrite([ThreadStatement(statement, thread or "t", of_run=False)])

        outcomes = await asyncio.wait_for(
            asyncio.gather(
                write(None),
                write("u"),
                store.aquery("SELECT thread_id FROM invocations"),
                return_exceptions=True,
            ),
            30,
        )
        assert isinstance(outcomes[0], StoreError)
        assert outcomes[1:] == [None, [{"thread_id": "u"}]]


async def test_a_value_that_cannot_be_sent_is_told_to_whoever_waits(postgres_url: str) -> None:
    with Session(postgres_url) as session:
        store = session.journal.store
        with pytest.raises(TypeError):
            await asyncio.wait_for(store.awrite([(BEGUN, ("t", 1, object(), 1.0))]), 30)
        await asyncio.wait_for(store.awrite([(BEGUN, ("t", 1, "running", 1.0))]), 30)
        assert len(await store.aquery("SELECT * FROM invocations")) == 1


async def test_a_query_that_cannot_be_sent_is_its_own_callers_alone(postgres_url: str) -> None:
    with Session(postgres_url) as session:
        store = session.journal.store
        store.add_later((BEGUN, ("u", 1, "running", 1.0)))
        outcomes = await asyncio.wait_for(
            asyncio.gather(
                store.awrite([(BEGUN, ("t", 1, "running", 1.0))]),
                store.aquery("SELECT * FROM invocations WHERE thread_id = ?", (object(),)),
                store.awrite([(BEGUN, ("v", 1, object(), 1.0)), (BEGUN, ("v", 2, "running", 1.0))]),
                store.aquery("SELECT 1 AS one"),
                return_exceptions=True,
            ),
            30,
        )
        assert [type(each) for each in outcomes] == [type(None), TypeError, TypeError, list]
        rows = await store.aquery("SELECT thread_id FROM invocations ORDER BY thread_id")
        assert [row["thread_id"] for row in rows] == ["t", "u"]


async def test_what_cannot_be_sent_beside_what_the_guard_is_asked_about_is_told(postgres_url: str) -> None:
    with Session(postgres_url) as session:
        store = session.journal.store

        def write(thread: str, status: Any) -> Any:
            statement = (BEGUN, (thread, 1, status, 1.0))
            return store.awrite([ThreadStatement(statement, thread, of_run=False)])

        both = asyncio.gather(write("t", object()), write("u", "running"), return_exceptions=True)
        outcomes = await asyncio.wait_for(both, 30)
        assert [type(each) for each in outcomes] == [TypeError, type(None)]


async def test_what_nobody_waits_for_and_nobody_can_write_keeps_nothing_busy(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Any] = []
    session = Session(postgres_url)
    store = session.journal.store
    monkeypatch.setattr(traffic, "in_transaction", lambda *given: (tries.append(1), in_transaction(*given)))
    store.add_later((BEGUN, (None, 1, "running", 1.0)))
    with pytest.raises(StoreError, match="null value"):
        await store.aflush()
    await asyncio.sleep(0.5)
    assert len(tries) <= 4
    with pytest.raises(StoreError, match="null value"):
        await asyncio.to_thread(session.close)


async def test_answers_of_a_lost_thread_are_told_though_something_else_fails_beside_them(
    postgres_url: str,
) -> None:
    with Session(postgres_url) as one, Session(postgres_url) as other:
        one.claims.acquire("t")
        other.claims.end("t", [one.claims.worker_name()])
        other.claims.acquire("t")
        store = one.journal.store
        answers = [insert(replace(CALL, id=name, request_hash=name)) for name in ("a", "b")]
        outcomes = await asyncio.wait_for(
            asyncio.gather(
                *(store.awrite([answer]) for answer in answers),
                store.awrite([(BEGUN, (None, 1, "running", 1.0))]),
                return_exceptions=True,
            ),
            30,
        )
        assert [type(each) for each in outcomes] == [type(None), type(None), StoreError]
        rows = one.journal.query("SELECT id, status FROM calls ORDER BY id")
        assert rows == [{"id": name, "status": "superseded"} for name in ("a", "b")]


async def test_a_query_waits_for_what_is_written_apart_though_the_connection_is_lost_meanwhile(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[int] = []

    def losing(opened: Any, flight: Any, *given: Any) -> None:
        if not lost:
            lost.append(1)
            raise psycopg.OperationalError("the connection was lost")
        in_transaction(opened, flight, *given)

    session = Session(postgres_url)
    store = session.journal.store
    monkeypatch.setattr(traffic, "in_transaction", losing)
    store.add_later((BEGUN, ("t", 1, "running", 1.0)), (BEGUN, (None, 1, "running", 1.0)))
    rows = await asyncio.wait_for(store.aquery("SELECT thread_id FROM invocations"), 30)
    assert lost
    assert rows == [{"thread_id": "t"}]
    with pytest.raises(StoreError, match="null value"):
        await asyncio.to_thread(session.close)
