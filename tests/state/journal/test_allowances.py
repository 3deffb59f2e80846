"""What is set aside ahead: more, the faster calls come, and for a second only."""

from __future__ import annotations

import pytest

from stepgraph.state.journal import allowances
from stepgraph.state.journal.allowances import Allowances
from stepgraph.state.journal.budget_accounts import (
    AccountKey,
    Ahead,
    Amount,
    Granted,
    Limits,
    Settlement,
    Wanted,
)

ADA, TEAM = AccountKey("ada", "day", 0), AccountKey("team", "", 0)
BOUND, LIMITS = Amount(1, 10), Limits(calls=1000)


class Clock:
    now = 500.0

    def monotonic(self) -> float:
        return self.now


class Life:
    is_on = True

    def __call__(self) -> bool:
        return self.is_on


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(allowances, "time", clock)
    return clock


@pytest.fixture
def life() -> Life:
    return Life()


@pytest.fixture
def stocks(clock: Clock, life: Life) -> Allowances:
    return Allowances(life)


def want(
    *keys: AccountKey, bound: Amount = BOUND, limits: Limits = LIMITS, owner: str | None = None
) -> Wanted:
    return Wanted(bound, dict.fromkeys(keys or (ADA,), (None, limits)), owner)


def put(
    stocks: Allowances, calls: int, *keys: AccountKey, owner: str = "me", limits: Limits = LIMITS
) -> None:
    left = Amount(calls, 10 * calls)
    stocks.put({key: Ahead(left, BOUND, calls, limits) for key in keys or (ADA,)}, owner)


def next_calls(stocks: Allowances) -> int:
    found = stocks.ahead({ADA: (LIMITS, BOUND)}, "me")
    return found[ADA].calls if found else 0


def test_each_time_that_it_is_used_up_within_a_second_more_is_set_aside(
    stocks: Allowances, clock: Clock
) -> None:
    found = []
    for _ in range(7):
        found.append(next_calls(stocks))
        clock.now += 1.0
        assert not stocks.unused()
    assert found == [0, 1, 4, 16, 64, 128, 128]
    clock.now += 0.01
    assert [next_calls(stocks), next_calls(stocks)] == [0, 1]


def test_the_pace_of_each_account_is_its_own(stocks: Allowances) -> None:
    for _ in range(3):
        stocks.ahead({ADA: (LIMITS, BOUND)}, "me")
    found = stocks.ahead({ADA: (LIMITS, BOUND), TEAM: (Limits(5), Amount(1))}, "me")
    assert found == {ADA: Ahead(Amount(), BOUND, 16, LIMITS)}
    found = stocks.ahead({TEAM: (Limits(5), Amount(1))}, "me")
    assert found == {TEAM: Ahead(Amount(), Amount(1), 1, Limits(5))}


def test_calls_are_served_from_a_stock_until_it_is_used_up(stocks: Allowances) -> None:
    assert stocks.take(want()) is None
    put(stocks, 2)
    assert stocks.take(want()) == Granted(((ADA, "me", BOUND),))
    assert stocks.take(want(bound=Amount(1, 11))) is None  # calls enough, and tokens too few
    assert stocks.take(want()) == Granted(((ADA, "me", BOUND),))
    assert stocks.take(want()) is None
    assert stocks  # it is known, though nothing is left


def test_a_call_has_of_all_its_accounts_or_of_none(stocks: Allowances) -> None:
    put(stocks, 1)
    assert stocks.take(want(ADA, TEAM)) is None
    put(stocks, 1, TEAM, owner="other")
    assert stocks.take(want(ADA, TEAM)) == Granted(((ADA, "me", BOUND), (TEAM, "other", BOUND)))
    assert stocks.take(want()) is stocks.take(want(TEAM)) is None


@pytest.mark.parametrize(
    "wanted",
    [want(owner="batch"), want(limits=Limits(calls=999)), want(TEAM)],
    ids=["owner", "limits", "key"],
)
def test_what_a_stock_is_not_for_is_looked_up(stocks: Allowances, wanted: Wanted) -> None:
    put(stocks, 9)
    assert stocks.take(wanted) is None
    assert stocks.take(want()) is not None


def test_nothing_is_taken_once_others_may_take_the_process_for_dead(stocks: Allowances, life: Life) -> None:
    put(stocks, 1)
    life.is_on = False
    assert stocks.take(want()) is None
    life.is_on = True
    assert stocks.take(want()) is not None


def test_a_stock_is_kept_for_a_second_and_then_given_back(stocks: Allowances, clock: Clock) -> None:
    put(stocks, 2)
    clock.now += 1.0
    assert stocks.unused() == []
    assert stocks.take(want()) is not None
    clock.now += 0.01
    assert stocks.take(want()) is None
    assert stocks.unused() == [Settlement(ADA, "me", BOUND, Amount())]
    assert not stocks
    assert stocks.unused(whole=True) == []


def test_at_the_end_all_is_given_back_that_is_left(stocks: Allowances) -> None:
    put(stocks, 1, ADA, TEAM)
    stocks.take(want(TEAM))
    assert stocks.unused(whole=True) == [Settlement(ADA, "me", BOUND, Amount())]
    assert not stocks


def test_what_is_left_goes_into_what_is_set_aside_next(stocks: Allowances) -> None:
    put(stocks, 3)
    found = stocks.ahead({ADA: (LIMITS, BOUND)}, "me")
    assert found == {ADA: Ahead(Amount(3, 30), BOUND, 0, LIMITS)}
    assert stocks.take(want()) is None  # so it is in no stock meanwhile
    put(stocks, 1)
    stocks.put({ADA: Ahead(Amount(2, 20), BOUND, 9, LIMITS)}, "me")  # two event loops at once
    assert stocks.unused(whole=True) == [Settlement(ADA, "me", Amount(3, 30), Amount())]


def test_what_an_owner_of_before_has_left_stays_its_own(stocks: Allowances) -> None:
    put(stocks, 3, owner="before")
    assert stocks.ahead({ADA: (LIMITS, BOUND)}, "me") == {}
    assert stocks.take(want()) == Granted(((ADA, "before", BOUND),))


def test_what_somebody_gave_back_is_forgotten(stocks: Allowances) -> None:
    put(stocks, 3)
    stocks.forget()
    assert not stocks
    assert stocks.unused(whole=True) == []
