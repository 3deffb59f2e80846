"""How the accounts of shared budgets stand, and what a person changes in them by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from stepgraph import Budget, Session
from stepgraph.state.budget import ThreadBudgets
from stepgraph.state.journal.budget_accounts import (
    AccountKey,
    Amount,
    Granted,
    Limits,
    Wanted,
)
from stepgraph.state.journal.budget_holds import settling
from stepgraph.state.journal.budget_reads import (
    NO_LIMIT,
    BudgetAccount,
    accounts,
    accounts_of,
    release,
    reset_limits,
    set_limits,
)
from stepgraph.state.journal.budget_reserve import reserve

LATER = 5_000_000_000
NEVER: Mapping[str, float] = {"calls": 0, "tokens": 0, "usd": 0}
DEAD, LIVING = "100.0", "9000000000.0"  # by when a process was heard of


def pay(
    session: Session,
    key: AccountKey,
    spent: Amount | None,
    *,
    ends_at: int | None = None,
    limits: Limits = Limits(),  # noqa: B008
    at: str = DEAD,
    owner: str = "me",
) -> None:
    wanted = Wanted(Amount(1, 20, 3 * 10**12), {key: (ends_at, limits)})
    (granted,), _, _ = session.journal.transact(lambda db: reserve(db, [wanted], owner, at, {}))
    assert isinstance(granted, Granted)
    if spent is not None:
        session.journal.write(list(settling(granted.settled(spent))))


def test_accounts_come_by_scope_and_period_the_latest_first(session: Session) -> None:
    spent = Amount(1, 2, 10**12)
    for key, ends_at in [
        (AccountKey("bo", "", 0), None),
        (AccountKey("ada", "week", 7), LATER),
        (AccountKey("ada", "day", 10), LATER),
        (AccountKey("ada", "day", 20), LATER),
        (AccountKey("ada", "day", 5), 6),
        (AccountKey("ada", "", 0), None),
    ]:
        pay(session, key, spent, ends_at=ends_at)

    def found(*asked: str | None, past: bool = False) -> list[tuple[str, str | None, int]]:
        return [
            (each.scope, each.per, each.starts_at) for each in accounts(session.journal, *asked, past=past)
        ]

    of_ada: list[tuple[str, str | None, int]] = [
        ("ada", None, 0),
        ("ada", "day", 20),
        ("ada", "day", 10),
        ("ada", "week", 7),
    ]
    assert found() == [*of_ada, ("bo", None, 0)]
    assert found("ada") == of_ada
    assert found("ada", "day") == of_ada[1:3]
    assert found("ada", "day", past=True) == [*of_ada[1:3], ("ada", "day", 5)]
    assert found(None, None) == [("ada", None, 0), ("bo", None, 0)]
    assert found("nobody") == []


def test_an_account_tells_how_it_stands(session: Session) -> None:
    key = AccountKey("ada", "day", 10)
    limits = Limits(9, 100, 8 * 10**12)
    pay(session, key, Amount(1, 2, 10**12), ends_at=LATER, limits=limits)
    pay(session, key, None, ends_at=LATER, limits=limits, at=LIVING)
    pay(session, key, None, ends_at=LATER, limits=limits, owner="dead")
    (here,) = accounts(session.journal)
    bound = {"calls": 1, "tokens": 20, "usd": 3}
    assert here == BudgetAccount(
        scope="ada",
        per="day",
        starts_at=10,
        ends_at=LATER,
        limits={"calls": 9, "tokens": 100, "usd": 8},
        spent={"calls": 1, "tokens": 2, "usd": 1},
        reserved=bound,
        unsettled=bound,
    )
    assert here.left == {"calls": 6, "tokens": 58, "usd": 1}
    assert here.name == "ada per day"


def test_nothing_is_left_where_more_was_spent_and_dollars_are_exact() -> None:
    spent = {"calls": 5, "tokens": 1, "usd": 0.1}
    here = BudgetAccount("ada", None, 0, None, {"calls": 3, "usd": 0.7}, spent, {**NEVER, "usd": 0.2}, NEVER)
    assert here.left == {"calls": 0, "usd": 0.4}
    assert (here.name, here.by_hand) == ("ada", ())
    for limit, used, left in [(8000.1, 7999.9, 0.2), (3e-12, 1e-12, 2e-12)]:
        here = BudgetAccount("ada", None, 0, None, {"usd": limit}, {**NEVER, "usd": used}, NEVER, NEVER)
        assert here.left == {"usd": left}


def test_limits_by_hand_are_told_before_anything_is_spent(session: Session) -> None:
    set_limits(session.journal, "ada", "day", Limits(calls=5))
    set_limits(session.journal, "ada", "day", Limits(tokens=NO_LIMIT, picos=10**13))
    set_limits(session.journal, "bo", None, Limits(calls=1))
    ada, bo = accounts(session.journal)
    assert (ada.limits, ada.by_hand) == ({"calls": 5, "usd": 10}, ("calls", "tokens", "usd"))
    assert (ada.per, ada.starts_at, ada.ends_at, ada.spent) == ("day", 0, None, NEVER)
    assert (bo.limits, bo.per, bo.by_hand) == ({"calls": 1}, None, ("calls",))
    assert accounts(session.journal, "ada", None) == accounts(session.journal, "bo", "day") == []
    pay(session, AccountKey("ada", "day", 10), Amount(), ends_at=LATER, limits=Limits(9, 9, None))
    (ada,) = accounts(session.journal, "ada")
    assert (ada.limits, ada.starts_at) == ({"calls": 5, "usd": 10}, 10)
    reset_limits(session.journal, "ada", None)  # another one
    assert accounts(session.journal, "ada")[0].by_hand
    reset_limits(session.journal, "ada", "day")
    reset_limits(session.journal, "bo", None)
    (ada,) = accounts(session.journal)
    assert (ada.limits, ada.by_hand) == ({"calls": 9, "tokens": 9}, ())


@pytest.mark.parametrize("per", [None, "day"])
def test_only_what_the_dead_left_is_given_back(session: Session, per: str | None) -> None:
    key, other = AccountKey("ada", per or "", 0), AccountKey("bo", per or "", 0)
    for place in (key, other):
        for owner, at in (("dead", DEAD), ("also dead", DEAD), ("living", LIVING)):
            pay(session, place, None, at=at, owner=owner)
    release(session.journal, "ada", per)  # type: ignore[arg-type]
    release(session.journal, "ada", "month")
    ada, bo = accounts(session.journal)
    assert (ada.unsettled, ada.reserved["calls"]) == (NEVER, 1)
    assert (bo.unsettled["calls"], bo.reserved["calls"]) == (2, 1)
    session.journal.write([("UPDATE budget_holds SET expires_at = 1", ())])
    assert [each.unsettled["calls"] for each in accounts(session.journal)] == [1, 3]


def test_a_threads_accounts_are_those_of_its_scopes_each_once(session: Session) -> None:
    for scope in ("ada", "bo", "cy"):
        pay(session, AccountKey(scope, "", 0), Amount(1))
    shared = tuple(Budget(calls=1, scope=scope, per=per) for scope, per in [("bo", None), ("bo", "day")])
    budgets = ThreadBudgets(None, shared, ("cy", "bo"))  # type: ignore[arg-type]
    assert [each.scope for each in accounts_of(session.journal, budgets)] == ["cy", "bo"]
    assert accounts_of(session.journal, ThreadBudgets(Budget(calls=1))) == []
