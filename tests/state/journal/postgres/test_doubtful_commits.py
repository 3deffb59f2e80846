"""A connection that is lost after a transaction was committed, and before that was told: it happens once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.postgres import PostgresServer
from stepgraph import Ask, Budget, ScriptedModel, Session, arun, chain, step, using
from stepgraph.providers.prices import Price
from stepgraph.state.journal.budget_reads import accounts
from stepgraph.state.journal.dialect import Transaction

from .cutting import Line, line_to


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def line(postgres_server: PostgresServer) -> Iterator[Line]:
    with line_to(postgres_server.port) as line:
        yield line


@pytest.fixture
def cut_url(line: Line, postgres_server: PostgresServer, postgres_url: str) -> str:
    return postgres_url.replace(f":{postgres_server.port}/", f":{line.port}/")


@dataclass
class Pair:
    first: str = ""
    second: str = ""


@step("first")
def first(pair: Pair) -> Ask[str]:
    return Ask("first", max_tokens=40)


@step("second")
def second(pair: Pair) -> Ask[str]:
    return Ask(f"second after {pair.first}", max_tokens=40)


graph = chain(first, second, name="pair").compile()


async def run_under_a_shared_budget(url: str, thread: str, once_open: Callable[[], None]) -> None:
    model = ScriptedModel(lambda *_: "fine", price=Price(input=1000, output=3000))
    with Session(url) as session, using(model):
        once_open()
        result = await arun(graph, Pair(), session, thread, budget=Budget(calls=9, usd=9, scope=thread))
    assert result.status == "done"


def on_record(session: Session, thread: str) -> dict[str, Any]:
    def column(name: str, table: str) -> list[Any]:
        sql = f"SELECT {name} AS found FROM {table} WHERE thread_id = ? ORDER BY 1"
        return [row["found"] for row in session.journal.query(sql, (thread,))]

    (account,) = accounts(session.journal, thread)
    return {
        "nodes": column("node", "node_runs"),
        "calls": column("step", "calls"),
        "inputs": column("trace", "invocations"),
        "spent": account.spent,
        "set aside": (account.reserved, account.unsettled),
    }


async def test_what_a_run_writes_is_on_record_once(line: Line, cut_url: str, postgres_url: str) -> None:
    with Session(postgres_url) as session:
        await run_under_a_shared_budget(postgres_url, "untouched", lambda: None)
        expected = on_record(session, "untouched")
        number = -1
        while number < 0 or line.was_cut.is_set():
            number += 1
            cut = partial(line.cut, number)  # at each transaction once
            await run_under_a_shared_budget(cut_url, f"cut {number}", cut)
            assert on_record(session, f"cut {number}") == expected
    assert number > 5


def test_work_that_looks_before_it_writes_is_done_once(line: Line, cut_url: str) -> None:
    def add(transaction: Transaction) -> int:
        transaction.execute(
            "INSERT INTO invocations (thread_id, trace, status, started_at) VALUES ('t', 0, 'done', 1.0)"
        )
        return int(transaction.execute("SELECT count(*) AS n FROM invocations")[0]["n"])

    with Session(cut_url) as session:
        line.cut(0)
        assert session.journal.transact(add) == 1
        assert line.was_cut.is_set()
        assert session.journal.query("SELECT count(*) AS n FROM invocations")[0]["n"] == 1
