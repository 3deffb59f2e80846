"""A session in Postgres: another process goes on with what a killed one left, and pays nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.errors import StoreError
from stepgraph.state.journal.postgres import traffic
from stepgraph.state.journal.postgres.transactions import in_transaction

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
