"""The accounts of shared budgets: what fits is set aside, in all accounts of a call or in none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.cost import Cost
from stepgraph.state.journal.budget_accounts import (
    AccountKey,
    Ahead,
    Amount,
    Declined,
    Granted,
    Limits,
    Settlement,
    Wanted,
)
from stepgraph.state.journal.budget_holds import settling
from stepgraph.state.journal.budget_reads import BudgetAccount, accounts, set_limits
from stepgraph.state.journal.budget_reserve import reserve

ADA = AccountKey("ada", "day", 0)
TEAM = AccountKey("team", "", 0)
ENDS_AT = 5_000_000_000
ONE = Amount(1, 2, 3)

Accounts = Mapping[AccountKey, tuple[int | None, Limits]]


def of_ada(**limits: int) -> Accounts:
    return {ADA: (ENDS_AT, Limits(**limits))}


def ask(
    session: Session,
    *wanted: Wanted,
    owner: str = "me",
    at: float = 100.0,
    ahead: Mapping[AccountKey, Ahead] | None = None,
) -> tuple[list[Granted | Declined], dict[AccountKey, Ahead], float | None]:
    """Set aside for these calls; `at` is the time that the database's clock then shows.

    That is long ago: so all that is set aside counts as `unsettled` in the end.
    """
    return session.journal.transact(lambda db: reserve(db, wanted, owner, str(at), ahead or {}))


def stand(session: Session, scope: str = "ada") -> BudgetAccount:
    (found,) = accounts(session.journal, scope)
    return found


@pytest.mark.parametrize(
    ("cost", "amount"),
    [
        (Cost(), Amount()),
        (Cost(1, 10, 5), Amount(1, 15, 0)),
        (Cost(1, 10, 5, known_usd=0.25), Amount(1, 15, 250_000_000_000)),
        (Cost(1, estimated_tokens=7, estimated_usd=1e-12), Amount(1, 7, 1)),
        (Cost(2, 1, 1, 0.1, 1, 2, 0.2), Amount(2, 4, 300_000_000_000)),
    ],
    ids=["nothing", "free", "known", "estimated", "both"],
)
def test_budgets_are_charged_what_is_known_and_what_is_estimated(cost: Cost, amount: Amount) -> None:
    assert Amount.of(cost) == amount


def test_amounts_add_up_and_are_taken_away() -> None:
    assert Amount(1, 2, 3).plus(Amount(10, 20, 30)) == Amount(11, 22, 33)
    assert Amount(11, 22, 33).minus(Amount(1, 2, 3)) == Amount(10, 20, 30)


def test_of_two_limits_the_tightest_holds_and_one_by_hand_before_both() -> None:
    one, other = Limits(1, None, 5), Limits(3, 0, None)
    assert one.tightest(other) == other.tightest(one) == Limits(1, 0, 5)
    assert Limits().tightest(Limits()) == Limits()
    assert one.replaced(other) == Limits(3, 0, 5)
    assert one.replaced(Limits()) == one


@pytest.mark.parametrize(
    ("limits", "broken"),
    [
        (Limits(), None),
        (Limits(1, 2, 3), None),
        (Limits(calls=0), "calls"),
        (Limits(tokens=1), "tokens"),
        (Limits(picos=2), "usd"),
        (Limits(1, 1, 2), "tokens"),
    ],
    ids=["none", "just", "calls", "tokens", "usd", "first"],
)
def test_a_limit_is_broken_by_what_is_beyond_it(limits: Limits, broken: str | None) -> None:
    assert limits.broken_by(ONE) == broken


def test_what_is_granted_is_set_aside_until_it_is_settled(session: Session) -> None:
    wanted = Wanted(ONE, {**of_ada(tokens=10), TEAM: (None, Limits(calls=5))})
    (granted,), kept, clock = ask(session, wanted, at=100.5)
    assert granted == Granted(((ADA, "me", ONE), (TEAM, "me", ONE)))
    assert (kept, clock) == ({}, 100.5)
    ada, team = accounts(session.journal)
    assert (ada.limits, ada.ends_at, team.limits, team.ends_at) == (
        {"tokens": 10},
        ENDS_AT,
        {"calls": 5},
        None,
    )
    assert ada.reserved == {"calls": 0, "tokens": 0, "usd": 0}  # its process counts as dead
    assert ada.unsettled == team.unsettled == {"calls": 1, "tokens": 2, "usd": 3e-12}
    assert isinstance(granted, Granted)
    session.journal.write(list(settling(granted.settled(Amount(1, 1, 1)))))
    for each in accounts(session.journal):
        assert each.spent == {"calls": 1, "tokens": 1, "usd": 1e-12}
        assert not any([*each.unsettled.values(), *each.reserved.values()])


def test_calls_are_served_in_their_order_and_what_does_not_fit_is_not_set_aside(session: Session) -> None:
    bounds = [Amount(1, tokens) for tokens in (2, 2, 2, 1)]
    outcomes, _, _ = ask(session, *(Wanted(bound, of_ada(tokens=5)) for bound in bounds))
    assert [isinstance(each, Granted) for each in outcomes] == [True, True, False, True]
    assert (stand(session).unsettled["tokens"], stand(session).unsettled["calls"]) == (5, 3)
    (full,), _, _ = ask(session, Wanted(Amount(1, 1), of_ada(tokens=5)))
    assert isinstance(full, Declined)
    assert (full.ended, full.account.key, full.account.ends_at) == (None, ADA, ENDS_AT)
    assert (full.account.limits, full.account.spent) == (Limits(tokens=5), Amount())
    assert (full.account.reserved, full.account.unsettled) == (Amount(3, 5), Amount())
    assert stand(session).unsettled["tokens"] == 5


def test_one_declined_account_leaves_the_others_as_they_were(session: Session) -> None:
    both: dict[AccountKey, Any] = {**of_ada(calls=9), TEAM: (None, Limits(calls=1))}
    outcomes, _, _ = ask(session, *[Wanted(ONE, both)] * 3)
    assert [isinstance(each, Granted) for each in outcomes] == [True, False, False]
    assert [each.unsettled["calls"] for each in accounts(session.journal)] == [1, 1]


def test_an_account_that_has_ended_is_named_before_one_that_is_only_full(session: Session) -> None:
    (granted,), _, _ = ask(session, Wanted(ONE, {TEAM: (None, Limits())}))
    assert isinstance(granted, Granted)
    session.journal.write(list(settling(granted.settled(ONE))))
    ask(session, Wanted(ONE, of_ada(calls=1)))
    both: dict[AccountKey, Any] = {**of_ada(calls=1), TEAM: (None, Limits(calls=1))}
    (declined,), _, _ = ask(session, Wanted(ONE, both))
    assert isinstance(declined, Declined)
    assert (declined.account.key, declined.ended, declined.account.spent) == (TEAM, "calls", ONE)
    third = AccountKey("third", "", 0)
    ask(session, Wanted(ONE, {third: (None, Limits())}))
    (declined,), _, _ = ask(session, Wanted(ONE, {**of_ada(calls=1), third: (None, Limits(calls=1))}))
    assert isinstance(declined, Declined)
    assert (declined.account.key, declined.ended) == (ADA, None)  # of two that are full, the first


def test_a_process_counts_as_dead_ten_seconds_after_it_was_heard_of(session: Session) -> None:
    ask(session, Wanted(ONE, of_ada(calls=1)), owner="dead")
    (declined,), _, _ = ask(session, Wanted(ONE, of_ada(calls=1)), at=109.9)
    assert isinstance(declined, Declined)
    assert (declined.ended, declined.account.reserved, declined.account.unsettled) == (None, ONE, Amount())
    (declined,), _, _ = ask(session, Wanted(ONE, of_ada(calls=1)), at=110.1)
    assert isinstance(declined, Declined)
    assert (declined.ended, declined.account.reserved, declined.account.unsettled) == ("calls", Amount(), ONE)


def test_a_call_that_outlives_its_process_has_once_set_something_aside(session: Session) -> None:
    wanted = Wanted(ONE, of_ada(calls=2), "batch")
    (first,), _, _ = ask(session, wanted, owner="one")
    assert first == Granted(((ADA, "batch", ONE),))
    (again, more), _, _ = ask(session, wanted, Wanted(ONE, of_ada(calls=2)), owner="other")
    assert (again, more) == (first, Granted(((ADA, "other", ONE),)))
    assert stand(session).unsettled["calls"] == 2
    assert isinstance(again, Granted)
    session.journal.write(list(settling(again.settled(ONE))))
    assert (stand(session).unsettled["calls"], stand(session).spent["calls"]) == (1, 1)
    (anew,), _, _ = ask(session, wanted)
    assert isinstance(anew, Declined)  # it is settled: it would be another call


@pytest.mark.parametrize(
    ("limits", "calls"),
    [
        (Limits(), 128),
        (Limits(calls=100_000), 128),
        (Limits(calls=1_001), 20),
        (Limits(calls=1_000), 19),
        (Limits(calls=50), 0),
        (Limits(calls=100_000, tokens=1_002), 10),
        (Limits(tokens=3), 0),
        (Limits(picos=9), 128),
    ],
    ids=["unlimited", "much", "just", "less", "little", "tokens", "none", "free"],
)
def test_a_fiftieth_of_what_is_left_is_set_aside_ahead(session: Session, limits: Limits, calls: int) -> None:
    bound = Amount(1, 2)
    ahead = {ADA: Ahead(Amount(), bound, 128, limits)}
    (granted,), kept, _ = ask(session, Wanted(bound, {ADA: (ENDS_AT, limits)}), ahead=ahead)
    assert granted == Granted(((ADA, "me", bound),))
    assert kept == {ADA: Ahead(Amount(calls, 2 * calls), bound, 128, limits)}
    assert stand(session).unsettled == {"calls": 1 + calls, "tokens": 2 + 2 * calls, "usd": 0}
    left = kept[ADA].left
    session.journal.write(list(settling([Settlement(ADA, "me", bound.plus(left), bound)])))
    assert not any([*stand(session).reserved.values(), *stand(session).unsettled.values()])


def test_what_was_set_aside_ahead_before_goes_into_what_is_set_aside_next(session: Session) -> None:
    bound, limits = Amount(1, 2), Limits(calls=101)
    wanted = Wanted(bound, {ADA: (ENDS_AT, limits)})
    _, kept, _ = ask(session, wanted, ahead={ADA: Ahead(Amount(), bound, 9, limits)})
    assert kept[ADA].left == Amount(2, 4)
    _, kept, _ = ask(session, *[wanted] * 100, ahead=kept)  # they fit, since what is ahead is for calls
    assert kept[ADA].left == Amount()
    assert stand(session).unsettled == {"calls": 101, "tokens": 202, "usd": 0}


def test_a_limit_by_hand_bounds_what_is_set_aside_ahead_too(session: Session) -> None:
    bound, limits = Amount(1, 2), Limits(calls=9_000)
    wanted, ahead = Wanted(bound, of_ada(calls=9_000)), {ADA: Ahead(Amount(), bound, 128, limits)}
    set_limits(session.journal, "ada", "day", Limits(calls=101, tokens=10_000, picos=100))
    _, kept, _ = ask(session, wanted, ahead=ahead)
    assert kept[ADA].left == Amount(2, 4)
    (declined,), kept, _ = ask(session, Wanted(Amount(200), of_ada(calls=9_000)), ahead=kept)
    assert isinstance(declined, Declined)
    assert declined.account.limits == Limits(101, 10_000, 100)


def test_nothing_is_set_aside_ahead_where_nothing_is_left(session: Session) -> None:
    bound = Amount(1, 2)
    wanted = Wanted(bound, of_ada(calls=9))
    (granted,), _, _ = ask(session, wanted)
    assert isinstance(granted, Granted)
    session.journal.write(list(settling(granted.settled(Amount(90, 180)))))
    ahead = {ADA: Ahead(Amount(), bound, 128, Limits(calls=9))}
    (declined,), kept, _ = ask(session, wanted, ahead=ahead)
    assert isinstance(declined, Declined)
    assert (declined.ended, kept[ADA].left) == ("calls", Amount())
    assert not any([*stand(session).reserved.values(), *stand(session).unsettled.values()])


def test_nothing_asked_is_nothing_done(session: Session) -> None:
    assert ask(session) == ([], {}, None)
