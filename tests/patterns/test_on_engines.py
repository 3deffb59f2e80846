"""Every pattern on Temporal and on DBOS, its graph unedited: it does there as it does in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.postgres import PostgresServer
from stepgraph import Session

from ..servers import ChatServer
from .cases import CASES
from .engines import Played, Ran, Stage, named
from .living import label

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("cluster")]
each = pytest.mark.parametrize("name", CASES)
on_each = pytest.mark.parametrize("played", ["Temporal", "DBOS"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[Played]:
    """All threads on one engine; they are played once for all tests."""
    on = "dbos"
    if request.param == "Temporal":
        temporal: Any = request.getfixturevalue("temporal_server")
        on = f"temporal://{temporal.address}?queue=patterns"
    url = postgres_server.lend()
    with Session(url) as session, ChatServer() as server:
        yield asyncio.run(Stage(on, session, url, server).play())
    postgres_server.take_back(url)


def ended(played: Played, part: str, name: str) -> tuple[Ran, int]:
    """Return what became of a thread that has its draft in the end, and how many calls it made."""
    thread = named(part, name)
    ran = played.ran[thread]
    assert ran.last.status == "done"
    return ran, played.answered[thread]


@on_each
@each
def test_kill_9(name: str, played: Played) -> None:
    """Killed in its first call, in its second, …: another worker makes that call again, and no other."""
    case = CASES[name]
    for number in range(1, case.calls() + 1):
        thread = label(name, number)
        last = played.ran[thread].last
        assert played.answered[thread] == case.calls(), thread
        assert (last.status, last.values["draft"].partition(" ")[0]) == ("done", "draft")
        assert last.values["log"].count("written") == case.kept


@on_each
@each
def test_interrupt(name: str, played: Played) -> None:
    """Each run of the inner part waits for an answer from elsewhere; no call is made again for that."""
    case = CASES[name]
    ran, calls = ended(played, "asked", name)
    assert ran.last.values["draft"].startswith("draft ")
    assert ran.answered == case.runs + case.asks
    assert calls == case.calls()


@on_each
@each
def test_budget_end(name: str, played: Played) -> None:
    """With one call too few it stops with what it has; with a larger budget it makes that call."""
    case = CASES[name]
    ran, calls = ended(played, "poor", name)
    (partial,) = [result for result in ran.results if result.status == "partial"]
    assert "calls" in str(partial.limit)
    assert partial.spent.calls == case.calls() - 1
    assert calls == case.calls()


@on_each
@each
def test_failing_call(name: str, played: Played) -> None:
    """It stops the run, and what goes on repeats that call alone; or the pattern goes on without it."""
    case = CASES[name]
    ran, calls = ended(played, "failing", name)
    assert ran.failure == ("" if case.absorbs else "ModelFiltered")
    if not case.absorbs:
        assert calls == case.calls() + 1


TESTS = (test_kill_9, test_interrupt, test_budget_end, test_failing_call)
