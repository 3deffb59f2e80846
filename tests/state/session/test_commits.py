"""How often a run writes to the disk, and what is there before a node runs."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pytest

from stepgraph import Ask, Session, chain, run, step
from stepgraph.testing import ScriptedModel

pytestmark = pytest.mark.sqlite_file("the commits of the connection to the file")


@dataclass
class State:
    first: str = ""
    second: str = ""


@step("first", model=ScriptedModel(lambda request, _: "one"))
def one(state: State) -> Ask[str]:
    return Ask("one")


@step("second", model=ScriptedModel(lambda request, _: "two"))
def two(state: State) -> Ask[str]:
    return Ask(f"two after {state.first}")


def test_a_run_of_two_calls_commits_fewer_than_ten_times(tmp_path: Path) -> None:
    commits: list[str] = []
    with Session(tmp_path / "runs.sqlite") as session:
        for connection in (session.journal.store._connection, session.checkpointer.conn):
            connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        assert run(chain(one, two).compile(), State(), session, "t").status == "done"
        for connection in (session.journal.store._connection, session.checkpointer.conn):
            connection.set_trace_callback(None)
    assert 0 < len(commits) < 10


@pytest.mark.parametrize("sync", [True, False])
async def test_what_ran_before_a_node_is_on_disk_when_it_runs(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "runs.sqlite"
    seen: list[tuple[int, int, int]] = []

    def look(state: State) -> dict[str, str]:
        other = sqlite3.connect(path)  # what another process would find, if this one died now
        tables = ("checkpoints", "writes", "node_runs")
        counts = [other.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
        other.close()
        seen.append((counts[0], counts[1], counts[2]))
        return {}

    def again(state: State) -> dict[str, str]:
        return look(state)

    app = chain(look, one, again).compile()
    with Session(path) as session:
        config = session.config("t")
        _ = list(app.stream(State(), config)) if sync else await app.ainvoke(State(), config)
    (first_checkpoints, _, first_runs), (checkpoints, writes, runs) = seen
    assert (first_checkpoints, first_runs) == (
        2,
        0,
    )  # the input's and the one that the first node starts from
    assert (checkpoints, runs) == (4, 2)
    assert writes > 2
