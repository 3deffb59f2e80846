"""A process shows signs of life while a call of its own is under way, and no longer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.journal import allowances, reservations as module
from stepgraph.state.journal.allowances import Allowances
from stepgraph.state.journal.budget_accounts import AccountKey, Limits, Wanted
from stepgraph.state.journal.budget_reads import accounts
from stepgraph.state.journal.reservations import Reservations

from .test_reservations import ENOUGH_S, ONE, Clocks, clocks as clocks, expiry, held, want, within_limit


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            break
        await asyncio.sleep(0.01)
    assert condition()


@pytest.mark.parametrize("of_stock", [False, True])
async def test_a_call_under_way_keeps_its_process_alive(
    session: Session, monkeypatch: pytest.MonkeyPatch, of_stock: bool
) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.01)
    monkeypatch.setattr(allowances, "time", stocks := Clocks())
    calls = [(await within_limit(session.reservations.reserve(want(None))))[0] for _ in range(4)]
    calls.pop(2 if of_stock else 0)  # the third is the first one that has of what is ahead
    for granted in calls:
        session.reservations.settle(session.reservations.settlements(granted, ONE))
    monkeypatch.setattr(module, "pause_s", lambda tries: 3600.0)
    waiting = asyncio.create_task(session.reservations.freed(0))
    await asyncio.sleep(0)
    stocks.forward(60)  # what is ahead is given back
    assert await within_limit(waiting) == [None]
    await until(lambda: held(session) == 1)
    session.journal.write([("UPDATE budget_holds SET expires_at = 1", ())])
    await until(lambda: expiry(session) > 1)


async def test_who_has_nothing_under_way_shows_no_signs_of_life(
    session: Session, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_S", 0.001)
    looks, looked, proofs = threading.Semaphore(0), Allowances.unused, []

    def unused(stocks: Allowances, *, whole: bool = False) -> Any:
        looks.release()
        return looked(stocks, whole=whole)

    monkeypatch.setattr(Allowances, "unused", unused)
    (granted,) = await within_limit(session.reservations.reserve(want()))
    session.reservations.settle(session.reservations.settlements(granted, ONE))
    session.journal.flush()
    monkeypatch.setattr(session.journal, "query", lambda *asked: proofs.append(asked))
    clocks.forward(1e6)
    for _ in range(4):
        assert await asyncio.to_thread(looks.acquire, timeout=ENOUGH_S)
    monkeypatch.undo()
    assert proofs == []


def test_a_session_that_is_closed_shows_no_signs_of_life_any_more(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renewers() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "stepgraph-reservations"]

    before = renewers()
    mine = Reservations(session.journal)
    asyncio.run(mine.reserve(want()))
    (renewer,) = (each for each in renewers() if each not in before)
    assert renewer.daemon  # it holds up the end of no process
    mine.close()
    assert renewer not in renewers()
    written: list[Any] = []
    monkeypatch.setattr(session.journal, "write", written.append)
    mine.close()
    monkeypatch.undo()
    assert written == []


async def test_the_end_locks_some_accounts_at_a_time(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORGOTTEN_AT_ONCE", 2)
    mine = Reservations(session.journal)
    for name in "abcde":
        (granted,) = await within_limit(
            mine.reserve(Wanted(ONE, {AccountKey(name, "", 0): (None, Limits())}))
        )
        mine.settle(mine.settlements(granted, ONE))
    made: list[Any] = []
    real = session.journal.transact
    monkeypatch.setattr(
        session.journal, "transact", lambda work, **how: (made.append(work), real(work, **how))
    )
    mine.close()
    monkeypatch.undo()
    assert len(made) == 3
    assert session.journal.query("SELECT owner FROM budget_holds") == []
    assert [each.spent["calls"] for each in accounts(session.journal)] == [1] * 5


async def test_a_forked_child_is_an_owner_of_its_own(session: Session) -> None:
    child = Reservations(session.journal)
    (before,) = await within_limit(child.reserve(want()))
    child.close()
    child.after_fork()
    (own,) = await within_limit(child.reserve(want()))
    child.close()
    assert own.held[0][1] != before.held[0][1]
