"""The accounts of shared budgets, for people: how they stand, and what a person changes by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..budget import ThreadBudgets
from ..money import PICOS, dollars, picos
from ..periods import PERIODS, Period
from .budget_accounts import AccountKey, Amount, Limits
from .budget_holds import give_back, sums, sums_of_dead
from .dialect import Transaction
from .journal import Journal

NO_LIMIT = 2**62  # by hand: in the place of a limit that runs name
_LIMITS = ("calls", "tokens", "usd")
_OWN = (
    *("scope", "per", "starts_at", "ends_at", *Amount._fields),
    *(f"allowed_{name}" for name in Limits._fields),
)


@dataclass(frozen=True, slots=True)
class BudgetAccount:
    """One period of a budget that threads share, in calls, tokens and US dollars.

    `per` is None for ever, and `ends_at` too; else it says in Unix seconds when the budget begins anew.
    `reserved` is set aside for calls under way; `unsettled` was left by processes that died during their
    calls, and counts as spent, because the provider may bill those. `by_hand` names the limits that somebody
    set, in the place of what runs and settings name.
    """

    scope: str
    per: Period | None
    starts_at: int
    ends_at: int | None
    limits: Mapping[str, float]
    spent: Mapping[str, float]
    reserved: Mapping[str, float]
    unsettled: Mapping[str, float]
    by_hand: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Whose it is, and for how long."""
        return f"{self.scope} per {self.per}" if self.per else self.scope

    @property
    def left(self) -> dict[str, float]:
        """What can still be set aside, of what is limited."""
        used = (self.spent, self.reserved, self.unsettled)
        exact = {
            name: max(0, picos(limit) - sum(picos(amounts[name]) for amounts in used))
            for name, limit in self.limits.items()
        }
        return {name: dollars(n) if name == "usd" else n // PICOS for name, n in exact.items()}


def accounts(
    journal: Journal, scope: str | None = None, per: Period | str | None = "any", *, past: bool = False
) -> list[BudgetAccount]:
    """Return the accounts of the periods under way, or of all; by scope and period, the latest first.

    `per` None means those for ever, "any" all.
    """
    now = journal.dialect.now
    own = ", ".join(f"a.{name}" for name in _OWN)
    hand = ", ".join(f"l.{name}" for name in Amount._fields)
    named = ", ".join(f"l.{name} AS set_{name}" for name in Amount._fields)
    all_sums = {**sums("h."), **sums_of_dead(now, "h.")}
    sql = (
        f"SELECT {own}, {named}, {', '.join(f'{each} AS {name}' for name, each in all_sums.items())} "
        "FROM budget_accounts a LEFT JOIN budget_limits l ON l.scope = a.scope AND l.per = a.per "
        "LEFT JOIN budget_holds h ON h.scope = a.scope AND h.per = a.per AND h.starts_at = a.starts_at "
        "WHERE (CAST(? AS TEXT) IS NULL OR a.scope = ?) AND (CAST(? AS TEXT) IS NULL OR a.per = ?) "
        f"AND (? = 1 OR a.ends_at IS NULL OR a.ends_at > {now}) GROUP BY {own}, {hand}"
    )
    period = None if per == "any" else per or ""
    rows = journal.query(sql, (scope, scope, period, period, int(past)))
    only_set = (  # limits of which nothing has been spent yet
        f"SELECT l.scope, l.per, {named} FROM budget_limits l WHERE (CAST(? AS TEXT) IS NULL OR l.scope = ?) "
        "AND (CAST(? AS TEXT) IS NULL OR l.per = ?) AND NOT EXISTS (SELECT 1 FROM budget_accounts a WHERE "
        f"a.scope = l.scope AND a.per = l.per AND (a.ends_at IS NULL OR a.ends_at > {now}))"
    )
    rows += journal.query(only_set, (scope, scope, period, period))
    return sorted(map(_account, rows), key=lambda each: (each.scope, each.per or "", -each.starts_at))


def accounts_of(journal: Journal, budgets: ThreadBudgets) -> list[BudgetAccount]:
    """Return how those accounts stand that a thread's calls are paid from."""
    scopes = dict.fromkeys([*budgets.ruled, *(budget.scope for budget in budgets.shared if budget.scope)])
    return [account for scope in scopes for account in accounts(journal, scope)]


def _account(row: Mapping[str, Any]) -> BudgetAccount:
    limits = _limits(row, "allowed_").replaced(by_hand := _limits(row, "set_"))
    dead = _amount(row, "dead_")
    return BudgetAccount(
        scope=row["scope"],
        per=next((per for per in PERIODS if per == row["per"]), None),
        starts_at=row.get("starts_at", 0),
        ends_at=row.get("ends_at"),
        limits=_plain(Limits(*(None if n is not None and n >= NO_LIMIT else n for n in limits))),
        spent=_plain(_amount(row).plus(_amount(row, "spent_"))),
        reserved=_plain(_amount(row, "held_").minus(dead)),
        unsettled=_plain(dead),
        by_hand=tuple(name for name, n in zip(_LIMITS, by_hand, strict=True) if n is not None),
    )


def _amount(row: Mapping[str, Any], prefix: str = "") -> Amount:
    return Amount(*(int(row.get(f"{prefix}{name}", 0)) for name in Amount._fields))


def _limits(row: Mapping[str, Any], prefix: str) -> Limits:
    return Limits(*(row.get(f"{prefix}{name}") for name in Amount._fields))


def _plain(amounts: Sequence[int | None]) -> dict[str, float]:
    calls, tokens, picos = amounts
    plain = {"calls": calls, "tokens": tokens, "usd": None if picos is None else dollars(picos)}
    return {name: amount for name, amount in plain.items() if amount is not None}


def set_limits(journal: Journal, scope: str, per: Period | None, limits: Limits) -> None:
    """Set limits by hand: in the place of those that runs name, from the next call on. None leaves one."""
    sql = (
        "INSERT INTO budget_limits (scope, per, calls, tokens, picos, set_at) "
        f"VALUES (?, ?, ?, ?, ?, {journal.dialect.now}) ON CONFLICT (scope, per) DO UPDATE SET "
        "calls = coalesce(excluded.calls, budget_limits.calls), "
        "tokens = coalesce(excluded.tokens, budget_limits.tokens), "
        "picos = coalesce(excluded.picos, budget_limits.picos), set_at = excluded.set_at"
    )
    journal.write([(sql, (scope, per or "", *limits))])


def reset_limits(journal: Journal, scope: str, per: Period | None) -> None:
    """Have those limits hold again that runs and settings name."""
    journal.write([("DELETE FROM budget_limits WHERE scope = ? AND per = ?", (scope, per or ""))])


def release(journal: Journal, scope: str, per: Period | None) -> None:
    """Give back what processes set aside that died during their calls: the provider did not bill those."""
    starts = f"SELECT starts_at FROM budget_accounts WHERE scope = ? AND per = ?{journal.dialect.for_update}"

    def work(db: Transaction) -> None:
        for row in db.execute(starts, (scope, per or "")):
            give_back(db, AccountKey(scope, per or "", row["starts_at"]), journal.dialect.now)

    journal.transact(work)
