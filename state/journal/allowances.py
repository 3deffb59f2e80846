"""What a process has set aside ahead of its calls: one transaction for many that come one after another.

It is little of what is left, and less the less is left, so near its end a budget is shared out call by call.
It is used within a second, or given back: so nobody waits long for what another process does not need, and a
limit that somebody sets by hand holds a second later. What a process that dies had set aside counts as spent,
as all that it had under way does: some of it may have been.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .budget_accounts import AccountKey, Ahead, Amount, Granted, Limits, Settlement, Wanted

KEPT_S = 1.0
MOST = 128  # calls
GROWTH = 4  # while a process' pace grows, by how much it sets more aside each time: fewer transactions


@dataclass(slots=True)
class _Stock:
    """What is set aside in an account and belongs to no call yet."""

    owner: str
    limits: Limits
    left: Amount
    until: float


class _Pace(NamedTuple):
    """How fast calls come: each time that a second is enough to use all, more is set aside."""

    calls: int
    at: float

    def is_over(self, now: float) -> bool:
        return now - self.at > KEPT_S


class Allowances:
    """The stocks of one process; safe to use from several threads."""

    def __init__(self, is_alive: Callable[[], bool]) -> None:
        self._is_alive = is_alive  # others still take it for alive: nobody gave back what it has set aside
        self._lock = threading.Lock()
        self._stocks: dict[AccountKey, _Stock] = {}
        self._paces: dict[AccountKey, _Pace] = {}

    def take(self, wanted: Wanted) -> Granted | None:
        """Return what a call has of the stocks, None if they do not have enough for it."""
        if wanted.owner is not None or not self._stocks:
            return None
        now, bound = time.monotonic(), wanted.bound
        with self._lock:
            held = []
            for key, (_, limits) in wanted.accounts.items():
                stock = self._stocks.get(key)
                if stock is None or stock.until < now or stock.limits != limits:
                    return None
                left = stock.left
                if left.calls < bound.calls or left.tokens < bound.tokens or left.picos < bound.picos:
                    return None
                held.append((key, stock))
            if not self._is_alive():
                return None
            for _, stock in held:
                stock.left = stock.left.minus(bound)
        return Granted(tuple([(key, stock.owner, bound) for key, stock in held]))

    def ahead(
        self, wanted: Mapping[AccountKey, tuple[Limits, Amount]], owner: str
    ) -> dict[AccountKey, Ahead]:
        """Return what to set aside ahead in accounts; what is left of the stocks there goes into it."""
        now, allowances = time.monotonic(), {}
        with self._lock:
            for key, (limits, bound) in wanted.items():
                pace = self._paces.get(key)
                calls = 0 if pace is None or pace.is_over(now) else min(MOST, max(1, GROWTH * pace.calls))
                self._paces[key] = _Pace(calls, now)
                stock = self._stocks.get(key)
                left = Amount()
                if stock is not None and stock.owner == owner:
                    left = self._stocks.pop(key).left
                if calls or any(left):
                    allowances[key] = Ahead(left, bound, calls, limits)
        return allowances

    def put(self, stocks: Mapping[AccountKey, Ahead], owner: str) -> None:
        """Keep what was set aside ahead."""
        until = time.monotonic() + KEPT_S
        with self._lock:
            for key, ahead in stocks.items():
                stock = self._stocks.get(key)
                left = ahead.left if stock is None else ahead.left.plus(stock.left)
                self._stocks[key] = _Stock(owner, ahead.limits, left, until)

    def unused(self, *, whole: bool = False) -> list[Settlement]:
        """Return what gives back the stocks whose time is over, or the whole of them."""
        now, settlements = time.monotonic(), []
        with self._lock:
            for key, stock in list(self._stocks.items()):
                if whole or stock.until < now:
                    del self._stocks[key]
                    if any(stock.left):
                        settlements.append(Settlement(key, stock.owner, stock.left, Amount()))
            for key, pace in list(self._paces.items()):
                if pace.is_over(now):
                    del self._paces[key]
        return settlements

    def forget(self) -> None:
        """Take note that somebody gave all of it back."""
        with self._lock:
            self._stocks.clear()

    def __bool__(self) -> bool:
        return bool(self._stocks)
