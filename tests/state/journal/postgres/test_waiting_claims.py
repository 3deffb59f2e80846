"""A claim that waits until its thread's former owner has committed what it wrote last."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from stepgraph import Session

ENDS = "UPDATE stepgraph.claims SET expires_at = 0"
SAYS = (
    "INSERT INTO stepgraph.invocations (thread_id, trace, status, started_at, ended_at) "
    "VALUES ('t', 0, 'failed', 1, 2)"
)
WAITS = "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_thread_is_not_new_whose_first_run_was_committed_while_a_claim_waited(
    postgres_url: str, way: str
) -> None:
    """The statement sees what was on record when it began, and the claim as it is when the wait is over."""
    with Session(postgres_url) as one, Session(postgres_url) as other:
        one.claims.acquire("t")
        with psycopg.connect(postgres_url) as ending:
            ending.execute(ENDS)
            ending.execute(SAYS.encode())
            work = (
                asyncio.to_thread(other.claims.acquire, "t") if way == "sync" else other.claims.aacquire("t")
            )
            claiming = asyncio.ensure_future(work)
            while not ending.execute(WAITS).fetchone():
                assert not claiming.done()
                await asyncio.sleep(0.01)
        assert await claiming is False
