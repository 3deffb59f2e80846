"""A process that stood still: others may have given back what it had set aside before."""

from __future__ import annotations

import pytest

from stepgraph import Session
from stepgraph.state.journal import reservations as module
from stepgraph.state.journal.budget_accounts import AccountKey, Amount, Granted, Limits, Wanted

from .test_reservations import (
    ONE,
    Clocks,
    clocks as clocks,
    gone,
    held,
    stand,
    transactions,
    want,
    within_limit,
)


async def test_who_stood_still_with_calls_under_way_sets_aside_as_somebody_else(
    session: Session, clocks: Clocks
) -> None:
    """Else what its earlier calls settle would be taken from what the later ones hold."""
    mine = session.reservations
    one, other = await within_limit(mine.reserve(want()), mine.reserve(want()))
    gone(session)
    clocks.forward(10.1)
    (anew,) = await within_limit(mine.reserve(want()))
    assert anew.held[0][1] != one.held[0][1] == other.held[0][1]
    mine.settle(mine.settlements(one, Amount(1, 1, 1)))
    mine.settle(mine.settlements(other, ONE))
    assert (held(session), stand(session).spent["calls"], stand(session).spent["tokens"]) == (1, 2, 3)
    mine.settle(mine.settlements(anew, ONE))
    assert (held(session), stand(session).spent["calls"]) == (0, 3)


async def test_the_databases_clock_tells_who_stood_still(
    session: Session, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that was put to sleep has clocks that stood still as well."""
    mine = session.reservations
    (granted,) = await within_limit(mine.reserve(want()))
    gone(session)
    later = f"({session.journal.dialect.now} + 10.1)"
    monkeypatch.setattr(type(session.journal.dialect), "now", later)
    (anew,) = await within_limit(mine.reserve(want()))
    assert anew.held[0][1] != granted.held[0][1]
    mine.settle(mine.settlements(granted, ONE))
    assert (held(session), stand(session).spent["calls"]) == (1, 1)


async def test_a_sign_of_life_that_comes_too_late_tells_it_too(
    session: Session, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = session.reservations
    granted = [(await within_limit(mine.reserve(want(100_000))))[0] for _ in range(4)]
    assert held(session) == 8  # four are ahead
    gone(session)
    later = f"({session.journal.dialect.now} + 10.1)"
    monkeypatch.setattr(type(session.journal.dialect), "now", later)
    mine._prove_alive()
    (anew,) = await within_limit(mine.reserve(want(100_000)))
    assert anew.held[0][1] != granted[0].held[0][1]
    for each in granted:
        mine.settle(mine.settlements(each, ONE))
    ahead = held(session) - 1
    assert ahead >= 0
    mine.settle(mine.settlements(anew, ONE))
    assert (held(session), stand(session).spent["calls"]) == (ahead, 5)


async def test_who_stood_still_with_nothing_under_way_goes_on_as_before(
    session: Session, clocks: Clocks
) -> None:
    mine = session.reservations
    granted = [(await within_limit(mine.reserve(want(100_000))))[0] for _ in range(3)]
    for each in granted[:-1]:
        mine.settle(mine.settlements(each, ONE))
    session.journal.flush()
    mine.settle(mine.settlements(granted[-1], ONE))  # not written yet
    gone(session)
    clocks.forward(60)
    (anew,) = await within_limit(mine.reserve(want(100_000)))
    assert anew.held[0][1] == granted[0].held[0][1]
    mine.settle(mine.settlements(anew, ONE))
    stock = held(session)
    assert stand(session).spent["calls"] == 4
    mine._give_back(mine._allowances.unused(whole=True))
    assert (held(session), stock) == (0, 4)


async def test_the_signs_of_life_are_for_all_accounts(
    session: Session, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets something aside for one user keeps what it holds for the others, too."""
    monkeypatch.setattr(module, "RENEW_S", 3.0)
    mine = session.reservations
    await within_limit(mine.reserve(want()))
    session.journal.write([("UPDATE budget_holds SET expires_at = 1", ())])
    bo = Wanted(ONE, {AccountKey("bo", "", 0): (None, Limits(calls=9))})
    for after_s, renewed in ((2.0, False), (0.9, False), (0.2, True)):
        clocks.forward(after_s)
        await within_limit(mine.reserve(bo))
        (row,) = session.journal.query("SELECT expires_at FROM budget_holds WHERE scope = 'ada'")
        assert (row["expires_at"] > 1) is renewed


@pytest.mark.parametrize("clock", ["wall", "ticking"])
@pytest.mark.parametrize(("stood_s", "looks"), [(4.9, 0), (5.0, 1)])
async def test_a_stock_is_used_while_both_clocks_show_that_its_process_lives(
    session: Session, clocks: Clocks, monkeypatch: pytest.MonkeyPatch, clock: str, stood_s: float, looks: int
) -> None:
    for _ in range(2):
        await within_limit(session.reservations.reserve(want(100_000)))
    seen = transactions(session, monkeypatch)
    setattr(clocks, clock, getattr(clocks, clock) + stood_s)
    assert [type(each) for each in await within_limit(session.reservations.reserve(want(100_000)))] == [
        Granted
    ]
    assert len(seen) == looks


async def test_a_stock_that_others_gave_back_is_used_no_more(
    session: Session, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = session.reservations
    granted, _ = [(await within_limit(mine.reserve(want(None))))[0] for _ in range(2)]
    gone(session)
    clocks.forward(10.1)
    seen = transactions(session, monkeypatch)
    await within_limit(mine.reserve(want(None)))
    assert len(seen) == 1
    mine.settle(mine.settlements(granted, ONE))
