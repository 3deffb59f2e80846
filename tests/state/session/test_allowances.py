"""Calls that follow each other are served from what their process set aside ahead; nobody else misses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Budget, Session
from stepgraph.state.cost import Cost
from stepgraph.state.errors import BudgetExceeded
from stepgraph.state.journal import allowances, reservations
from stepgraph.state.journal.budget_accounts import Limits
from stepgraph.state.journal.budget_reads import accounts, set_limits
from stepgraph.state.session.shared_ledger import NoRoom, set_aside


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.xdist_group("cluster"))])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return (
        str(tmp_path / "runs.sqlite")
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_url")
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock by which what was set aside ahead grows old."""
    now = [100.0]
    monkeypatch.setattr(allowances.time, "monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def budget(limit: int, **more: Any) -> Budget:
    return Budget(calls=limit, scope="team:x", **more)


async def calls(session: Session, limit: int, number: int) -> int:
    """Make calls one after another, and return how many fitted."""
    ledger = session.shared_ledger(budget(limit))
    made = 0
    for _ in range(number):
        try:
            held = await set_aside([ledger], Cost(1))
        except (BudgetExceeded, NoRoom):
            break
        held.settle(Cost(1))
        made += 1
    return made


def transactions(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list to which each transaction that sets something aside is added."""
    seen: list[Any] = []
    real = session.journal.atransact

    def atransact(work: Any, **options: Any) -> Awaitable[Any]:
        seen.append(work)
        return real(work, **options)

    monkeypatch.setattr(session.journal, "atransact", atransact)
    return seen


async def test_a_chain_needs_few_transactions(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(database) as session:
        seen = transactions(session, monkeypatch)
        assert await calls(session, 100_000, 120) == 120
        assert len(seen) < 15
        (found,) = accounts(session.journal)
        assert (found.spent["calls"], 0 < found.reserved["calls"] <= allowances.MOST) == (120, True)
    with Session(database) as session:
        (found,) = accounts(session.journal)
        assert (found.spent["calls"], found.reserved["calls"], found.unsettled["calls"]) == (120, 0, 0)


@pytest.mark.parametrize("limit", [1, 60, 130])
async def test_two_processes_make_exactly_as_many_calls_as_fit(database: str, limit: int) -> None:
    """What one sets aside ahead becomes less with what is left: the last calls go to whoever asks."""
    with Session(database) as one, Session(database) as other:
        made = [0, 0]
        while True:
            some = [await calls(session, limit, 9) for session in (one, other)]
            if not any(some):
                break
            made = [made[0] + some[0], made[1] + some[1]]
        assert sum(made) == limit
        (found,) = accounts(one.journal)
        assert (found.spent["calls"], found.left["calls"]) == (limit, 0)


async def test_what_is_not_used_within_a_moment_is_given_back(
    database: str, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "RENEW_S", 0.02)
    with Session(database) as session:
        assert await calls(session, 100_000, 22) == 22
        reserved = accounts(session.journal)[0].reserved["calls"]
        assert reserved > 0
        clock(allowances.KEPT_S + 0.1)
        for _ in range(3000):
            reserved = accounts(session.journal)[0].reserved["calls"]
            if not reserved:
                break
            await asyncio.to_thread(time.sleep, 0.01)  # the event loop's own clock stands
        assert reserved == 0


async def test_a_limit_by_hand_holds_a_second_later(database: str, clock: Callable[[float], None]) -> None:
    with Session(database) as session:
        assert await calls(session, 100_000, 20) == 20
        set_limits(session.journal, "team:x", None, Limits(0))
        assert await calls(session, 100_000, 100) <= allowances.MOST
        assert await calls(session, 100_000, 100) == 0
        set_limits(session.journal, "team:x", None, Limits(100_000))
        clock(60)
        assert await calls(session, 100_000, 20) == 20
        set_limits(session.journal, "team:x", None, Limits(0))
        clock(allowances.KEPT_S + 0.1)
        assert await calls(session, 100_000, 100) == 0


async def test_what_others_gave_back_is_not_used_any_more(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(database) as session:
        assert await calls(session, 100_000, 20) == 20
        monkeypatch.setattr(reservations, "LIFETIME_S", 0.0)  # it stood still, and counts as dead
        seen = transactions(session, monkeypatch)
        assert await calls(session, 100_000, 1) == 1
        assert len(seen) == 1


async def test_a_wider_or_narrower_limit_is_looked_up(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(database) as session:
        assert await calls(session, 100_000, 20) == 20
        assert await calls(session, 20, 5) == 0
        assert await calls(session, 25, 50) == 5
