"""Ledgers of budgets that threads share: what they have left is in the database, for all its processes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from ..budget import Budget, Ledger
from ..cost import Cost
from ..errors import BudgetExceeded
from ..journal.budget_accounts import (
    Account,
    AccountKey,
    Accounts,
    Amount,
    Granted,
    Limits,
    Settlement,
    Wanted,
)
from ..journal.journal import Journal
from ..journal.reservations import Reservations
from ..money import dollars, picos, shown
from ..periods import shown_time, slice_at


class NoRoom(Exception):
    """A call does not fit while others are under way; most of them settle for less than they set aside."""

    def __init__(self, reservations: Reservations) -> None:
        super().__init__("other calls have set the rest of a shared budget aside")
        self._reservations = reservations

    async def freed(self, tries: int) -> None:
        """Return once it is worth another try; `tries` were made before."""
        await self._reservations.freed(tries)


class SharedLedger(Ledger):
    """What a scope has left in a period, for all threads and processes that share the database.

    `now` tells which period it is, where that is not the database's clock.
    """

    is_shared = True

    def __init__(
        self, budget: Budget, reservations: Reservations, now: Callable[[], float] | None = None
    ) -> None:
        super().__init__(budget, scope=budget.scope or "")
        self.reservations = reservations
        self.limits = Limits(budget.calls, budget.tokens, None if budget.usd is None else picos(budget.usd))
        self._now = now
        self._accounts: Accounts = {}  # the one of the period under way; several threads may ask for it
        self._held: list[tuple[Cost, Held]] = []

    def seconds_left(self) -> float | None:
        return None

    def accounts_at(self, now: float) -> Accounts:
        """Return the account of a moment by the database's clock, when its period ends, and its limits."""
        if self._now is not None:
            now = self._now()
        accounts = self._accounts
        for key, (ends_at, _) in accounts.items():
            if key.starts_at <= now and (ends_at is None or now < ends_at):
                return accounts
        here = slice_at(self.budget.per, now)
        key = AccountKey(self.scope, self.budget.per or "", here.starts_at)
        self._accounts = accounts = {key: (here.ends_at, self.limits)}
        return accounts

    async def reserve(self, bound: Cost) -> None:
        tries = 0
        while True:
            try:
                self._held.append((bound, await set_aside([self], bound)))
                return
            except NoRoom as full:
                await full.freed(tries)
                tries += 1

    def settle(self, bound: Cost, spent: Cost) -> None:
        entry = next(item for item in self._held if item[0] == bound)
        self._held.remove(entry)
        entry[1].settle(spent)

    def end(self, limit: str) -> BudgetExceeded:
        key, nothing = AccountKey(self.scope, self.budget.per or "", 0), Amount()
        return ended(Account(key, None, self.limits, nothing, nothing, nothing), limit)


class Held:
    """What one call has set aside in shared budgets, until it is settled."""

    __slots__ = ("_granted", "reservations")

    def __init__(self, granted: Granted, reservations: Reservations) -> None:
        self.reservations = reservations
        self._granted = granted

    @property
    def journal(self) -> Journal:
        return self.reservations.journal

    def settlements(self, spent: Cost) -> list[Settlement]:
        """Return what is to be written with the call; say `settled` once it is."""
        return self.reservations.settlements(self._granted, Amount.of(spent))

    def settled(self) -> None:
        self.reservations.ended()

    def settle(self, spent: Cost) -> None:
        """Settle with the next commit."""
        self.reservations.settle(self.settlements(spent))


async def set_aside(ledgers: Sequence[SharedLedger], bound: Cost, owner: str | None = None) -> Held:
    """Set aside the most that a call can cost, in all of these budgets or in none.

    `owner` names a call that goes on without its process. Raises BudgetExceeded, and NoRoom where it may fit
    later.
    """
    reservations = ledgers[0].reservations
    now = reservations.known_now()
    if now is None:
        now = await reservations.now()
    wanted = Wanted(Amount.of(bound), _together(ledgers, now), owner)
    outcome = reservations.take(wanted) or await reservations.reserve(wanted)
    if isinstance(outcome, Granted):
        return Held(outcome, reservations)
    if outcome.ended is None:
        raise NoRoom(reservations)
    raise ended(outcome.account, outcome.ended)


def _together(ledgers: Sequence[SharedLedger], now: float) -> Accounts:
    """Return the accounts of several ledgers, each with its tightest limits."""
    if len(ledgers) == 1:
        return ledgers[0].accounts_at(now)
    accounts: dict[AccountKey, tuple[int | None, Limits]] = {}
    for ledger in ledgers:
        for key, (ends_at, limits) in ledger.accounts_at(now).items():
            known = accounts.get(key)
            accounts[key] = ends_at, limits if known is None else limits.tightest(known[1])
    return accounts


def ended(account: Account, limit: str) -> BudgetExceeded:
    """Return the error that says which limit of a shared budget ended what, and what goes on when."""
    scope, per, _ = account.key
    limits, spent, unsettled = (_plain(each) for each in (account.limits, account.spent, account.unsettled))
    form = shown if limit == "usd" else "{:,}".format
    lost = f", and {form(unsettled[limit])} set aside by processes that died" if unsettled[limit] else ""
    every = f" per {per}" if per else ""
    anew = f" It begins anew at {shown_time(account.ends_at)}." if account.ends_at else ""
    return BudgetExceeded(
        f"The budget of {scope}{every} ended: {limit} = {form(limits[limit])}. {form(spent[limit])} of it "
        f"is spent{lost}.{anew} What was done is kept: resume {'then, or ' if anew else ''}with a larger "
        f"limit (stepgraph budgets {shlex.quote(scope)} --per {per or 'ever'} --set {limit}=…).",
        limit=limit,
        scope=scope,
        budget={name: value for name, value in limits.items() if value is not None},
        spent=spent,
        is_shared=True,
        per=per or None,
        ends_at=account.ends_at,
    )


def _plain(amounts: Amount | Limits) -> dict[str, Any]:
    calls, tokens, most = amounts
    return {"calls": calls, "tokens": tokens, "usd": None if most is None else dollars(most)}


def shared(ledgers: Sequence[Ledger]) -> list[SharedLedger]:
    """Return those of a call's budgets that threads share."""
    return [ledger for ledger in ledgers if isinstance(ledger, SharedLedger)]


def own(ledgers: Sequence[Ledger]) -> list[Ledger]:
    """Return the others: a run's own, and a part's."""
    return [ledger for ledger in ledgers if not isinstance(ledger, SharedLedger)]
