"""Accounts of the budgets that threads share: what is spent and set aside in each period, in SQL.

Whoever is about to send a call sets aside the most that it can cost, in one transaction for all that ask at
the same moment; its cost takes the place of that in the transaction that commits the call. So what is set
aside and never settled belongs to calls that were under way when their process died. The provider may bill
those, so they count as spent until their period ends, or somebody gives them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, Literal, NamedTuple, Self

from ..cost import Cost
from ..money import picos
from .dialect import Transaction
from .records import Statement

LIFETIME_S = 10.0
SHARES = 50  # of what is left, a process has at most one ahead
RENEW = "UPDATE budget_holds SET expires_at = {now} + ? WHERE owner = ?"
FORGET = "DELETE FROM budget_holds WHERE owner = ? AND calls = 0 AND tokens = 0 AND picos = 0"
HOLDS = "SELECT count(*) AS n FROM budget_holds WHERE owner = ?"
Resource = Literal["calls", "tokens", "usd"]


class AccountKey(NamedTuple):
    """One period of one shared budget; `per` is empty for ever."""

    scope: str
    per: str
    starts_at: int


class Amount(NamedTuple):
    """Calls, tokens, and trillionths of a dollar."""

    calls: int = 0
    tokens: int = 0
    picos: int = 0

    @classmethod
    def of(cls, cost: Cost) -> Amount:
        """Return what budgets are charged for a cost."""
        usd = cost.charged_usd if cost.known_usd or cost.estimated_usd else 0.0  # the exact sum is slow
        return cls(cost.calls, cost.charged_tokens, picos(usd))

    def plus(self, other: Amount) -> Amount:
        return Amount(self.calls + other.calls, self.tokens + other.tokens, self.picos + other.picos)

    def minus(self, other: Amount) -> Amount:
        return Amount(self.calls - other.calls, self.tokens - other.tokens, self.picos - other.picos)


class Limits(NamedTuple):
    """The most calls, tokens and trillionths of a dollar; None is no limit."""

    calls: int | None = None
    tokens: int | None = None
    picos: int | None = None

    def tightest(self, other: Limits) -> Limits:
        return Limits(*map(_tighter, self, other))

    def replaced(self, by_hand: Limits) -> Limits:
        """Return these, with those that somebody set by hand in their place."""
        return Limits(*map(_first, by_hand, self))

    def broken_by(self, total: Amount) -> Resource | None:
        """Return the first limit that a sum is beyond."""
        if self.calls is not None and total.calls > self.calls:
            return "calls"
        if self.tokens is not None and total.tokens > self.tokens:
            return "tokens"
        if self.picos is not None and total.picos > self.picos:
            return "usd"
        return None


def _first(one: int | None, other: int | None) -> int | None:
    return other if one is None else one


def _tighter(one: int | None, other: int | None) -> int | None:
    if one is None:
        return other
    return one if other is None else min(one, other)


@dataclass(frozen=True, slots=True)
class Account:
    """How one period stands: spent, set aside for calls under way, and left by processes that died."""

    key: AccountKey
    ends_at: int | None
    limits: Limits
    spent: Amount
    reserved: Amount
    unsettled: Amount


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a call that was paid from an account had set aside, and what it cost."""

    key: AccountKey
    owner: str
    bound: Amount
    spent: Amount


@dataclass(slots=True)
class Wanted:
    """A call that is about to be sent: what to set aside for it, in which accounts, under which limits.

    `owner` is for one whose process may end before it does; what it set aside before is taken over.
    """

    bound: Amount
    accounts: Mapping[AccountKey, tuple[int | None, Limits]]
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is to be set aside for calls to come, each of at most `bound`; `left` is of the last time."""

    left: Amount
    bound: Amount
    calls: int
    limits: Limits


@dataclass(frozen=True, slots=True)
class Granted:
    """The call may be sent: what it has set aside, and for whom."""

    held: tuple[tuple[AccountKey, str, Amount], ...]

    def settled(self, spent: Amount) -> list[Settlement]:
        return [Settlement(key, owner, bound, spent) for key, owner, bound in self.held]


@dataclass(frozen=True, slots=True)
class Declined:
    """The call does not fit now; it never will in this period, if a limit has `ended`."""

    account: Account
    ended: Resource | None


_KEY = "scope = ? AND per = ? AND starts_at = ?"
_HELD = "held_calls, held_tokens, held_picos"
_OPEN = (
    "INSERT INTO budget_accounts (scope, per, starts_at, ends_at, held_calls, held_tokens, held_picos, "
    "allowed_calls, allowed_tokens, allowed_picos) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (scope, per, starts_at) DO UPDATE SET "
    "held_calls = budget_accounts.held_calls + excluded.held_calls, "
    "held_tokens = budget_accounts.held_tokens + excluded.held_tokens, "
    "held_picos = budget_accounts.held_picos + excluded.held_picos, "
    "allowed_calls = excluded.allowed_calls, allowed_tokens = excluded.allowed_tokens, "
    f"allowed_picos = excluded.allowed_picos RETURNING calls, tokens, picos, {_HELD}, "
    + ", ".join(
        f"(SELECT l.{name} FROM budget_limits l WHERE l.scope = budget_accounts.scope "
        f"AND l.per = budget_accounts.per) AS set_{name}"
        for name in Amount._fields
    )
    + ", {now} AS now"
)
_GIVE_BACK = (
    "UPDATE budget_accounts SET held_calls = held_calls - ?, held_tokens = held_tokens - ?, "
    f"held_picos = held_picos - ? WHERE {_KEY}"
)
_HOLD = (
    "INSERT INTO budget_holds (scope, per, starts_at, owner, calls, tokens, picos, expires_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, {now} + ?) ON CONFLICT (scope, per, starts_at, owner) DO UPDATE SET "
    "calls = budget_holds.calls + excluded.calls, tokens = budget_holds.tokens + excluded.tokens, "
    "picos = budget_holds.picos + excluded.picos, expires_at = excluded.expires_at"
)
_SETTLE = (
    "UPDATE budget_accounts SET calls = calls + ?, tokens = tokens + ?, picos = picos + ?, "
    f"held_calls = held_calls - ?, held_tokens = held_tokens - ?, held_picos = held_picos - ? WHERE {_KEY}"
)
_LET_GO = (
    "UPDATE budget_holds SET calls = calls - ?, tokens = tokens - ?, picos = picos - ? "
    f"WHERE {_KEY} AND owner = ?"
)


def reserve(
    db: Transaction,
    wanted: Sequence[Wanted],
    owner: str,
    now: str,
    ahead: Mapping[AccountKey, Ahead],
) -> tuple[list[Granted | Declined], dict[AccountKey, Ahead], float | None]:
    """Set aside what fits, of calls in their order, and then what is to be set aside `ahead`.

    Also return what time it is by the database's clock; `now` is the SQL of that. To be called in a
    transaction; each account is locked until its end, in an order that is the same for everybody.
    """
    outcomes: dict[int, Granted | Declined] = {}
    for number, call in enumerate(wanted):
        if call.owner is not None and (left := list(_left_by(db, call.owner))):
            outcomes[number] = Granted(tuple(left))
    open_calls = {number: call for number, call in enumerate(wanted) if number not in outcomes}
    keys = sorted({key for call in open_calls.values() for key in call.accounts})
    stand = {key: _opened(db, key, open_calls.values(), now) for key in keys}
    for key, more in ahead.items():
        stand[key].reserved = stand[key].reserved.minus(more.left)
    excess: dict[AccountKey, Amount] = {}
    granted: dict[tuple[AccountKey, str], Amount] = {}
    for number, call in open_calls.items():
        refused = _refusal(db, call, stand, now)
        if refused is not None:
            outcomes[number] = refused
            for key in call.accounts:
                excess[key] = excess.get(key, Amount()).plus(call.bound)
            continue
        holder = call.owner or owner
        for key in call.accounts:
            stand[key].reserved = stand[key].reserved.plus(call.bound)
            granted[key, holder] = granted.get((key, holder), Amount()).plus(call.bound)
        outcomes[number] = Granted(tuple((key, holder, call.bound) for key in call.accounts))
    stocks = {key: replace(more, left=stand[key].part_of(more)) for key, more in ahead.items()}
    for key, more in stocks.items():
        added = more.left.minus(ahead[key].left)
        excess[key] = excess.get(key, Amount()).minus(added)
        granted[key, owner] = granted.get((key, owner), Amount()).plus(added)
    for key, amount in sorted(excess.items()):
        if any(amount):
            db.execute(_GIVE_BACK, (*amount, *key))
    for (key, holder), amount in sorted(granted.items()):
        db.execute(_HOLD.format(now=now), (*key, holder, *amount, LIFETIME_S))
    clock = max((here.now for here in stand.values()), default=None)
    return [outcomes[number] for number in range(len(wanted))], stocks, clock


@dataclass(slots=True)
class _Standing:
    """How an account stands while a transaction fills it; `dead` is known once something does not fit."""

    ends_at: int | None
    spent: Amount
    reserved: Amount
    by_hand: Limits
    now: float
    dead: Amount | None = field(default=None)

    def part_of(self, ahead: Ahead) -> Amount:
        """Return what may be set aside ahead: for so many calls that enough is left for everybody."""
        limits, calls = ahead.limits.replaced(self.by_hand), ahead.calls
        total = self.spent.plus(self.reserved)
        for limit, amount, bound in zip(limits, total, ahead.bound, strict=True):
            if limit is not None and bound:
                calls = max(0, min(calls, (limit - amount) // (SHARES * bound)))
        return Amount(*(calls * bound for bound in ahead.bound))


def _opened(db: Transaction, key: AccountKey, calls: Iterable[Wanted], now: str) -> _Standing:
    """Lock an account, with all that is asked of it set aside, and return how it stood before."""
    total, limits, ends_at = Amount(), Limits(), None
    for call in calls:
        if key in call.accounts:
            total = total.plus(call.bound)
            ends_at, limits = call.accounts[key]
    (row,) = db.execute(_OPEN.format(now=now), (*key, ends_at, *total, *limits))
    spent, held = _amount(row), _amount(row, "held_")
    by_hand = Limits(row["set_calls"], row["set_tokens"], row["set_picos"])
    return _Standing(ends_at, spent, held.minus(total), by_hand, float(row["now"]))


def _amount(row: Mapping[str, Any], prefix: str = "") -> Amount:
    return Amount(*(int(row[f"{prefix}{name}"]) for name in Amount._fields))


def _refusal(
    db: Transaction, call: Wanted, stand: Mapping[AccountKey, _Standing], now: str
) -> Declined | None:
    """Return why a call does not fit, None if it does: an account that never will comes first."""
    refusal: Declined | None = None
    for key, (_, named) in call.accounts.items():
        here = stand[key]
        limits = named.replaced(here.by_hand)
        if limits.broken_by(here.spent.plus(here.reserved).plus(call.bound)) is None:
            continue
        if here.dead is None:
            here.dead = _dead(db, key, now)
        ended = limits.broken_by(here.spent.plus(here.dead).plus(call.bound))
        live = here.reserved.minus(here.dead)
        account = Account(key, here.ends_at, limits, here.spent, live, here.dead)
        if ended is not None:
            return Declined(account, ended)
        refusal = refusal or Declined(account, None)
    return refusal


def _dead(db: Transaction, key: AccountKey, now: str) -> Amount:
    """Return what processes that died have set aside in an account."""
    sums = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in Amount._fields)
    (row,) = db.execute(f"SELECT {sums} FROM budget_holds WHERE {_KEY} AND expires_at < {now}", key)
    return _amount(row)


def _left_by(db: Transaction, owner: str) -> Iterator[tuple[AccountKey, str, Amount]]:
    sql = "SELECT scope, per, starts_at, calls, tokens, picos FROM budget_holds WHERE owner = ? AND calls > 0"
    for row in db.execute(sql, (owner,)):
        yield AccountKey(row["scope"], row["per"], row["starts_at"]), owner, _amount(row)


class SettlingStatement(tuple[str, Sequence[Any]]):
    """A statement that settles. Several that are committed together are put together by `in_order`."""

    settlement: Settlement

    def __new__(cls, statement: Statement, settlement: Settlement) -> Self:
        self = super().__new__(cls, statement)
        self.settlement = settlement
        return self


def in_order(statements: Iterable[Statement]) -> list[Statement]:
    """Return statements with what settles at their end, in the order in which everybody locks accounts.

    Else two processes that settle for the same users in another order would wait for each other.
    """
    listed = list(statements)
    settle = [each for each in listed if isinstance(each, SettlingStatement)]
    if not settle:
        return listed
    rest = [each for each in listed if not isinstance(each, SettlingStatement)]
    return [*rest, *settling(each.settlement for each in settle if each[0] == _SETTLE)]  # one of two each


def settling(settlements: Iterable[Settlement]) -> Iterator[Statement]:
    """Yield the statements that settle: as few as can be, and in the order in which accounts are locked."""
    sums: dict[tuple[AccountKey, str], Settlement] = {}
    for each in settlements:
        place = each.key, each.owner
        known = sums.get(place)
        if known is None:
            sums[place] = each
        else:
            sums[place] = replace(
                known, bound=known.bound.plus(each.bound), spent=known.spent.plus(each.spent)
            )
    for (key, owner), settled in sorted(sums.items(), key=itemgetter(0)):
        yield SettlingStatement((_SETTLE, (*settled.spent, *settled.bound, *key)), settled)
        yield SettlingStatement((_LET_GO, (*settled.bound, *key, owner)), settled)
