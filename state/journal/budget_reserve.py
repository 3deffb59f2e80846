"""Sets aside in SQL what calls can cost: what fits, in all the accounts of a call or in none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from .budget_accounts import (
    Account,
    AccountKey,
    Accounts,
    Ahead,
    Amount,
    Declined,
    Granted,
    HeldIn,
    Limits,
    Wanted,
)
from .budget_holds import amount, fold, holders, left_by, set_aside
from .dialect import Transaction

NOTHING = Amount()
SHARES = 50  # of what is left, a process has at most one ahead
_OPEN = (
    "INSERT INTO budget_accounts (scope, per, starts_at, ends_at, "
    "allowed_calls, allowed_tokens, allowed_picos) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (scope, per, starts_at) DO UPDATE SET allowed_calls = excluded.allowed_calls, "
    "allowed_tokens = excluded.allowed_tokens, allowed_picos = excluded.allowed_picos "
    "RETURNING calls, tokens, picos, "
    + ", ".join(
        f"(SELECT l.{name} FROM budget_limits l WHERE l.scope = budget_accounts.scope "
        f"AND l.per = budget_accounts.per) AS set_{name}"
        for name in Amount._fields
    )
    + ", {now} AS now"
)


class Lapsed(Exception):
    """Others may have given back what an owner had set aside before."""


@dataclass(slots=True)
class _Standing:
    """How an account stands while a transaction fills it; `dead` is what processes left there that died."""

    ends_at: int | None
    spent: Amount
    by_hand: Limits
    now: float
    reserved: Amount = NOTHING
    dead: Amount = NOTHING

    def part_of(self, ahead: Ahead) -> Amount:
        """Return what may be set aside ahead: for so many calls that enough is left for everybody."""
        limits, calls = ahead.limits.replaced(self.by_hand), ahead.calls
        total = self.spent.plus(self.reserved)
        for limit, used, bound in zip(limits, total, ahead.bound, strict=True):
            if limit is not None and bound:
                calls = max(0, min(calls, (limit - used) // (SHARES * bound)))
        return Amount(*(calls * bound for bound in ahead.bound))


def reserve(
    db: Transaction,
    wanted: Sequence[Wanted],
    owner: str,
    now: str,
    ahead: Mapping[AccountKey, Ahead],
    until: float | None = None,
) -> tuple[list[Granted | Declined], dict[AccountKey, Ahead], float | None]:
    """Set aside what fits, of calls in their order, and then what is to be set aside `ahead`.

    Also return what time it is by the database's clock; `now` is the SQL of that. To be called in a
    transaction; each account is locked until its end, in an order that is the same for everybody. Raises
    Lapsed where `until` is over: the owner must not set aside any more then by that name.
    """
    outcomes: dict[int, Granted | Declined] = {}
    left = {number: _left(db, call) for number, call in enumerate(wanted) if call.owner is not None}
    open_calls = dict(enumerate(wanted))
    for number, held in left.items():
        if held:
            call = open_calls.pop(number)
            if missing := _missing(call, held):
                open_calls[number] = call._replace(accounts=missing)
            else:
                outcomes[number] = Granted(held)
    stand = _locked(db, open_calls.values(), now)
    clock = max((here.now for here in stand.values()), default=None)
    if until is not None and clock is not None and clock > until:
        raise Lapsed
    for key, more in ahead.items():
        stand[key].reserved = stand[key].reserved.minus(more.left)
    granted: dict[tuple[AccountKey, str], Amount] = {}
    for number, call in sorted(open_calls.items(), key=itemgetter(0)):
        refused = _refusal(call, stand)
        if refused is not None:
            outcomes[number] = refused
            continue
        holder = call.owner or owner
        for key in call.accounts:
            stand[key].reserved = stand[key].reserved.plus(call.bound)
            granted[key, holder] = granted.get((key, holder), Amount()).plus(call.bound)
        held = tuple([(key, holder, call.bound) for key in call.accounts])
        outcomes[number] = Granted((*left.get(number, ()), *held))
    stocks = {key: replace(more, left=stand[key].part_of(more)) for key, more in ahead.items()}
    for key, more in stocks.items():
        added = more.left.minus(ahead[key].left)
        granted[key, owner] = granted.get((key, owner), Amount()).plus(added)
    for (key, holder), total in sorted(granted.items()):
        set_aside(db, key, holder, total, now)
    return [outcomes[number] for number in range(len(wanted))], stocks, clock


def _left(db: Transaction, call: Wanted) -> tuple[HeldIn, ...]:
    """Return what a call has set aside that goes on without its process."""
    return tuple(left_by(db, call.owner)) if call.owner is not None else ()


def _missing(call: Wanted, held: Iterable[HeldIn]) -> Accounts:
    """Return the accounts in which a call has nothing set aside any more: somebody gave that back."""
    known = {(key.scope, key.per) for key, _, _ in held}  # in whatever period that was
    return {key: of_key for key, of_key in call.accounts.items() if (key.scope, key.per) not in known}


def _locked(db: Transaction, calls: Iterable[Wanted], now: str) -> dict[AccountKey, _Standing]:
    """Lock the accounts of calls, and return how each stands.

    What holders have is read once the account is locked: a statement that waits for a lock may see what other
    tables were like before it waited.
    """
    limits = {key: of_key for call in calls for key, of_key in call.accounts.items()}
    stand = {key: _opened(db, key, *limits[key], now) for key in sorted(limits)}
    for key, here in stand.items():
        all_holders = holders(db, key, now)
        here.spent = here.spent.plus(all_holders.spent)
        here.reserved, here.dead = all_holders.held, all_holders.dead
        if all_holders.idle:
            fold(db, key, now)
    return stand


def _opened(db: Transaction, key: AccountKey, ends_at: int | None, limits: Limits, now: str) -> _Standing:
    """Lock an account, and return what it has paid for itself."""
    (row,) = db.execute(_OPEN.format(now=now), (*key, ends_at, *limits))
    by_hand = Limits(row["set_calls"], row["set_tokens"], row["set_picos"])
    return _Standing(ends_at, amount(row), by_hand, float(row["now"]))


def _refusal(call: Wanted, stand: Mapping[AccountKey, _Standing]) -> Declined | None:
    """Return why a call does not fit, None if it does: an account that never will comes first."""
    refusal: Declined | None = None
    for key, (_, named) in call.accounts.items():
        here = stand[key]
        limits = named.replaced(here.by_hand)
        if limits.broken_by(here.spent.plus(here.reserved).plus(call.bound)) is None:
            continue
        ended = limits.broken_by(here.spent.plus(here.dead).plus(call.bound))
        live = here.reserved.minus(here.dead)
        account = Account(key, here.ends_at, limits, here.spent, live, here.dead)
        if ended is not None:
            return Declined(account, ended)
        refusal = refusal or Declined(account, None)
    return refusal
