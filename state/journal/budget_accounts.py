"""Accounts of the budgets that threads share: how one period stands, and what a call wants of it.

Whoever is about to send a call sets aside the most that it can cost (budget_reserve.py); its cost takes the
place of that in the transaction that commits the call (budget_holds.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..cost import Cost
from ..money import picos

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


class Settlement(NamedTuple):
    """What a call that was paid from an account had set aside, and what it cost."""

    key: AccountKey
    owner: str
    bound: Amount
    spent: Amount


Accounts = Mapping[AccountKey, tuple[int | None, Limits]]  # when each ends, None for never


class Wanted(NamedTuple):
    """A call that is about to be sent: what to set aside for it, in which accounts, under which limits.

    `owner` is for one whose process may end before it does; what it set aside before is taken over.
    """

    bound: Amount
    accounts: Accounts
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is to be set aside for calls to come, each of at most `bound`; `left` is of the last time."""

    left: Amount
    bound: Amount
    calls: int
    limits: Limits


HeldIn = tuple[AccountKey, str, Amount]  # where, for whom and how much


class Granted(NamedTuple):
    """The call may be sent: what it has set aside."""

    held: tuple[HeldIn, ...]

    def settled(self, spent: Amount) -> list[Settlement]:
        return [Settlement(key, owner, bound, spent) for key, owner, bound in self.held]


@dataclass(frozen=True, slots=True)
class Declined:
    """The call does not fit now; it never will in this period, if a limit has `ended`."""

    account: Account
    ended: Resource | None
