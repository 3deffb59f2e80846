"""What a process sets aside: for all that ask at one moment at once, and for as long as it shows life."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.errors import StoreError
from stepgraph.state.journal import allowances, budget_owner, reservations as module
from stepgraph.state.journal.budget_accounts import AccountKey, Amount, Declined, Granted, Limits, Wanted
from stepgraph.state.journal.budget_reads import BudgetAccount, accounts, release
from stepgraph.state.journal.reservations import pause_s

ADA = AccountKey("ada", "", 0)
ONE = Amount(1, 2, 3)
ENOUGH_S = 60.0  # for what comes at once


def want(calls: int | None = 9, owner: str | None = None) -> Wanted:
    return Wanted(ONE, {ADA: (None, Limits(calls=calls))}, owner)


def stand(session: Session) -> BudgetAccount:
    session.journal.flush()
    (found,) = accounts(session.journal)
    return found


def held(session: Session) -> int:
    """Return how many calls are set aside, whether their process counts as alive or not."""
    here = stand(session)
    return int(here.reserved["calls"] + here.unsettled["calls"])


class Clocks:
    """Both clocks of this machine, which a test moves."""

    def __init__(self) -> None:
        self.wall, self.ticking = 1e9, 1000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticking

    def forward(self, seconds: float) -> None:
        self.wall += seconds
        self.ticking += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    for each in (module, budget_owner):
        monkeypatch.setattr(each, "time", clocks)
    monkeypatch.setattr(allowances, "time", Clocks())  # by which no stock grows old
    for name in ("RENEW_S", "KEPT_S"):  # so that no thread shows a sign of life meanwhile
        monkeypatch.setattr(module, name, 3600.0)
    return clocks


Around = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


def transactions(session: Session, monkeypatch: pytest.MonkeyPatch, *around: Around) -> list[Any]:
    """Return the list to which each transaction is added; `around` does something in the first ones."""
    seen: list[Any] = []
    real, first = session.journal.atransact, list(around)

    async def atransact(work: Any, **options: Any) -> Any:
        seen.append(work)
        return await (first.pop(0) if first else _plain)(lambda: real(work, **options))

    monkeypatch.setattr(session.journal, "atransact", atransact)
    return seen


async def _plain(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()


async def within_limit(*awaitables: Awaitable[Any]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*awaitables, return_exceptions=True), ENOUGH_S)


async def test_all_that_ask_at_one_moment_are_served_by_one_transaction(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = transactions(session, monkeypatch)
    outcomes = await within_limit(*(session.reservations.reserve(want(2)) for _ in range(3)))
    assert [type(each) for each in outcomes] == [Granted, Granted, Declined]
    assert len(seen) == 1
    assert held(session) == 2


async def test_who_asks_while_a_transaction_runs_is_served_by_the_next(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, go_on = asyncio.Event(), asyncio.Event()

    async def held(work: Callable[[], Awaitable[Any]]) -> Any:
        runs.set()
        await go_on.wait()
        return await work()

    seen = transactions(session, monkeypatch, held)
    first = asyncio.create_task(session.reservations.reserve(want()))
    await asyncio.wait_for(runs.wait(), ENOUGH_S)
    others = [asyncio.create_task(session.reservations.reserve(want())) for _ in range(2)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(seen) == 1
    go_on.set()
    assert {type(each) for each in await within_limit(first, *others)} == {Granted}
    assert len(seen) == 2


async def test_who_asks_alone_waits_for_nobody(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_S", 3600.0)
    for _ in range(3):
        assert [type(each) for each in await within_limit(session.reservations.reserve(want(None)))] == [
            Granted
        ]


async def test_after_several_at_once_the_next_ones_are_gathered_for_a_moment(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, waits = asyncio.get_running_loop(), []

    def call_at(when: float, start: Any, *values: Any, **options: Any) -> Any:
        if start.__name__ == "_start":
            waits.append(when - loop.time())
            return loop.call_soon(start, *values)
        return real(when, start, *values, **options)

    real = loop.call_at
    monkeypatch.setattr(loop, "call_at", call_at)
    monkeypatch.setattr(module, "SLICE_S", 3600.0)
    several = [session.reservations.reserve(want(None, f"{n}")) for n in range(2)]
    assert {type(each) for each in await within_limit(*several)} == {Granted}
    assert waits == []
    assert {type(each) for each in await within_limit(session.reservations.reserve(want()))} == {Granted}
    (wait,) = waits
    assert 0 < wait <= 3600.0


@pytest.mark.parametrize("cancelled", ["before", "at that moment"])
async def test_a_transaction_that_fails_is_told_to_all_and_the_next_is_tried(
    session: Session, monkeypatch: pytest.MonkeyPatch, cancelled: str
) -> None:
    noise: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    tasks: list[asyncio.Task[Any]] = []

    async def failing(work: Callable[[], Awaitable[Any]]) -> Any:
        asyncio.get_running_loop().call_soon(tasks[0].cancel)
        if cancelled == "before":
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        raise StoreError("the disk is full")

    transactions(session, monkeypatch, failing)
    tasks += [asyncio.create_task(session.reservations.reserve(want())) for _ in range(3)]
    outcomes = await within_limit(*tasks)
    assert [type(each) for each in outcomes] == [asyncio.CancelledError, StoreError, StoreError]
    assert [type(each) for each in await within_limit(session.reservations.reserve(want()))] == [Granted]
    del outcomes
    gc.collect()
    assert noise == []


async def test_one_that_is_cut_off_leaves_nobody_waiting(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[Any] = []

    async def cut_off(work: Callable[[], Awaitable[Any]]) -> Any:
        tasks.append(asyncio.current_task())
        raise asyncio.CancelledError

    transactions(session, monkeypatch, cut_off)
    outcomes = await within_limit(*(session.reservations.reserve(want()) for _ in range(2)))
    assert [type(each) for each in outcomes] == [asyncio.CancelledError] * 2
    assert tasks[0].cancelled()
    assert [type(each) for each in await within_limit(session.reservations.reserve(want()))] == [Granted]


async def test_who_was_cancelled_before_its_turn_sets_nothing_aside_and_after_it_gives_it_back(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def cancelling(work: Callable[[], Awaitable[Any]]) -> Any:
        found = await work()
        tasks[1].cancel()
        await asyncio.sleep(0)
        return found

    seen = transactions(session, monkeypatch, cancelling)
    tasks += [asyncio.create_task(session.reservations.reserve(want(2))) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    outcomes = await within_limit(*tasks)
    assert [type(each) for each in outcomes] == [
        asyncio.CancelledError,
        asyncio.CancelledError,
        Granted,
        Declined,
    ]
    assert len(seen) == 1
    assert (held(session), stand(session).spent) == (1, {"calls": 0, "tokens": 0, "usd": 0})


async def test_all_who_were_cancelled_need_no_transaction(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = transactions(session, monkeypatch)
    task = asyncio.create_task(session.reservations.reserve(want()))
    await asyncio.sleep(0)
    task.cancel()
    assert [type(each) for each in await within_limit(task)] == [asyncio.CancelledError]
    assert [type(each) for each in await within_limit(session.reservations.reserve(want()))] == [Granted]
    assert len(seen) == 1


async def test_the_databases_clock_is_asked_once_and_then_told_by_each_transaction(
    session: Session, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(session.journal.dialect), "now", "5000.0")
    assert await session.reservations.now() == 5000.0
    monkeypatch.setattr(type(session.journal.dialect), "now", "6000.0")
    clocks.forward(7)
    assert await session.reservations.now() == 5007.0
    await within_limit(session.reservations.reserve(want(owner="batch")))
    assert await session.reservations.now() == 6000.0
    clocks.forward(1)
    await within_limit(session.reservations.reserve(want(owner="batch")))  # it has that already
    assert await session.reservations.now() == 6001.0


@pytest.mark.parametrize(("tries", "pause"), [(0, 0.05), (1, 0.1), (3, 0.4), (4, 0.8), (5, 1.0), (50, 1.0)])
def test_who_waits_for_other_processes_looks_less_and_less_often(tries: int, pause: float) -> None:
    assert pause_s(tries) == pytest.approx(pause)


async def test_who_waits_is_woken_by_what_is_settled_here_and_else_looks_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "pause_s", lambda tries: 3600.0)
    (granted,) = await within_limit(session.reservations.reserve(want()))
    waiting = [asyncio.create_task(session.reservations.freed(0)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    session.reservations.settle(session.reservations.settlements(granted, ONE))
    assert [type(each) for each in await within_limit(*waiting)] == [asyncio.CancelledError, type(None)]
    assert stand(session).spent["calls"] == 1
    monkeypatch.setattr(module, "pause_s", lambda tries: 0.0 if tries == 7 else 3600.0)
    assert await within_limit(session.reservations.freed(7)) == [None]


async def test_a_loop_that_was_closed_keeps_nobody_else_waiting(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "pause_s", lambda tries: 3600.0)

    def wait_in_a_loop_of_its_own() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(session.reservations.freed(0))
        loop.run_until_complete(asyncio.sleep(0))
        task.get_coro().close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()

    thread = threading.Thread(target=wait_in_a_loop_of_its_own)
    thread.start()
    thread.join()
    waiting = asyncio.create_task(session.reservations.freed(0))
    await asyncio.sleep(0)
    session.reservations.ended()
    assert await within_limit(waiting) == [None]


def expiry(session: Session) -> float:
    return float(session.journal.query("SELECT expires_at FROM budget_holds")[0]["expires_at"])


def gone(session: Session) -> None:
    """Let somebody give back what its process has set aside, as if that had died."""
    session.journal.write([("UPDATE budget_holds SET expires_at = 1", ())])
    release(session.journal, "ada", None)


async def test_what_is_paid_is_settled_while_the_database_is_away(
    session: Session, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is kept elsewhere then; nothing may go wrong before that."""
    (granted,) = await within_limit(session.reservations.reserve(want()))
    clocks.forward(60)

    def away(*_: Any, **__: Any) -> Any:
        raise StoreError("away")

    with monkeypatch.context() as patch:
        for name in ("query", "transact", "write"):
            patch.setattr(session.journal, name, away)
        settlements = session.reservations.settlements(granted, ONE)
    session.reservations.settle(settlements)
    assert (held(session), stand(session).spent["calls"]) == (0, 1)


async def test_a_call_that_is_cancelled_as_its_turn_comes_holds_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = asyncio.create_task(session.reservations.reserve(want()))

    async def cancelling(work: Callable[[], Awaitable[Any]]) -> Any:
        done = await work()
        asyncio.get_running_loop().call_soon(asking.cancel)  # in the pass in which it is told
        return done

    transactions(session, monkeypatch, cancelling)
    assert [type(each) for each in await within_limit(asking)] == [asyncio.CancelledError]
    assert (held(session), session.reservations._open) == (0, 0)


async def test_a_transaction_that_fails_takes_no_stock_along(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = session.reservations
    granted = [(await within_limit(mine.reserve(want(100_000))))[0] for _ in range(4)]
    for each in granted:
        mine.settle(mine.settlements(each, ONE))
    assert held(session) == 4

    async def failing(work: Callable[[], Awaitable[Any]]) -> Any:
        raise StoreError("away")

    seen = transactions(session, monkeypatch, failing)
    wide = Wanted(Amount(9, 18, 27), {ADA: (None, Limits(calls=100_000))})
    assert [type(each) for each in await within_limit(mine.reserve(wide))] == [StoreError]
    (granted_of_stock,) = await within_limit(mine.reserve(want(100_000)))
    assert len(seen) == 1
    mine.settle(mine.settlements(granted_of_stock, ONE))
    mine.close()
    assert held(session) == 0


async def test_a_batchs_call_is_paid_by_the_account_too_that_gave_its_part_back(session: Session) -> None:
    team = AccountKey("team", "", 0)
    both = Wanted(ONE, {key: (None, Limits(calls=9)) for key in (ADA, team)}, "a call in a batch")
    await within_limit(session.reservations.reserve(both))
    gone(session)
    (granted,) = await within_limit(session.reservations.reserve(both))
    assert {key.scope for key, _, _ in granted.held} == {"ada", "team"}
    session.reservations.settle(session.reservations.settlements(granted, ONE))
    session.journal.flush()
    found = accounts(session.journal)
    assert [(each.spent["calls"], each.reserved["calls"], each.unsettled["calls"]) for each in found] == [
        (1, 0, 0)
    ] * 2


async def test_the_end_leaves_what_is_under_way_and_no_row_that_holds_nothing(
    session: Session, clocks: Clocks
) -> None:
    with Session(session.database) as one, Session(session.database) as other:
        for _ in range(4):  # for the last of which two more are set aside ahead
            (granted,) = await within_limit(one.reservations.reserve(want(100_000)))
            one.reservations.settle(one.reservations.settlements(granted, ONE))
        await within_limit(other.reservations.reserve(want(100_000)))
    assert session.journal.query("SELECT calls FROM budget_holds") == [{"calls": 1}]
    assert (stand(session).spent["calls"], held(session)) == (4, 1)
