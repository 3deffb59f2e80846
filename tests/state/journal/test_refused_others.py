"""Who writes to a thread that somebody runs is refused, and the run goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from stepgraph import Session
from stepgraph.state.errors import ClaimLost, ThreadBusy
from stepgraph.state.journal.records import ThreadStatement

from .test_journal import CALL


@pytest.fixture(params=["file", "postgres_url"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return tmp_path / "runs.sqlite" if request.param == "file" else request.getfixturevalue(request.param)


def statuses(session: Session) -> list[str]:
    rows = session.journal.query("SELECT status FROM calls UNION ALL SELECT status FROM runs")
    return [row["status"] for row in rows]


@pytest.mark.parametrize("flushed", [False, True], ids=["in one transaction", "apart"])
async def test_what_another_writes_does_not_refuse_the_answer_of_the_run(
    database: str | Path, flushed: bool
) -> None:
    """An update of a running thread from outside is refused; what it would note of its end waits."""
    with Session(database) as session:
        journal = session.journal
        session.claims.acquire("t")
        journal.start_run("t")
        await journal.aflush()
        journal.end_run("t", "failed")
        if flushed:
            await journal.aflush()
        await journal.commit_call(replace(CALL, thread_id="t"))
        assert statuses(session) == ["answered", "running"]


async def test_who_writes_together_with_the_run_is_refused_alone(database: str | Path) -> None:
    other = ThreadStatement(("UPDATE runs SET status = 'failed'", ()), "t", of_run=False)
    with Session(database) as session:
        journal = session.journal
        session.claims.acquire("t")
        journal.start_run("t")
        await journal.aflush()
        outcomes = await asyncio.gather(
            journal.awrite([other]),
            journal.commit_call(replace(CALL, thread_id="t")),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [ThreadBusy, type(None)]
        assert statuses(session) == ["answered", "running"]


async def test_a_run_that_lost_its_claim_refuses_nobody_else(
    database: str | Path,
) -> None:
    other = ThreadStatement(("UPDATE runs SET status = 'failed'", ()), "t", of_run=False)
    with Session(database) as session, Session(database) as later:
        journal = session.journal
        session.claims.acquire("t")
        journal.start_run("t")
        await journal.aflush()
        later.claims.end("t", [session.claims.worker_name()])
        session.claims._renew_all()
        outcomes = await asyncio.gather(
            journal.awrite([other]),
            journal.commit_call(replace(CALL, thread_id="t")),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), ClaimLost]
        assert statuses(session) == ["superseded", "failed"]
