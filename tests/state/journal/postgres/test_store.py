"""A session in Postgres: another process goes on with what a killed one left, and pays nothing twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, Budget, Session, arun, chain, step
from stepgraph.errors import StoreError
from stepgraph.state.journal.postgres import traffic
from stepgraph.state.journal.postgres.transactions import in_transaction
from stepgraph.state.journal.postgres.wire import Segment, Wire
from stepgraph.state.journal.records import ThreadStatement
from stepgraph.testing import ScriptedModel

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
