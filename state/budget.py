"""Budgets: hard limits on what a run may spend, kept by reserving before a call and settling after it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .cost import NOTHING, Cost
from .errors import BudgetExceeded, SettingsError
from .money import shown


@dataclass(frozen=True)
class Budget:
    """Limits of a run, or of a part of it; None is no limit.

    `tokens` counts input and output together, `usd` US dollars, `calls` attempts at model calls,
    `seconds` the time in which the thread's nodes ran, in all its invocations, not the time in which it
    waited for a person or a resume, `supersteps` LangGraph's supersteps in each (nested) graph of one
    invocation. `answer_tokens` bounds answers that set no max_tokens
    themselves, where tokens or dollars are limited: without a bound nothing could be reserved.
    """

    tokens: int | None = None
    usd: float | None = None
    calls: int | None = None
    seconds: float | None = None
    supersteps: int | None = None
    answer_tokens: int = 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value < 0:
                raise ValueError(f"Budget({field.name}={value}): expected 0 or more.")

    def to_json(self) -> str:
        """Return the limits as the record keeps them."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None})

    @classmethod
    def from_json(cls, text: str) -> Budget:
        return cls(**json.loads(text))

    @classmethod
    def read(cls, limits: Any, where: str) -> Budget:
        """Return the budget that a table of limits stands for. Raises SettingsError that names `where`."""
        known = [field.name for field in fields(cls)]
        if not isinstance(limits, Mapping) or not {*limits} <= {*known}:
            raise SettingsError(f"{where}: expected a table of limits: {', '.join(known)}.")
        try:
            return cls(**limits)
        except (ValueError, TypeError) as error:
            raise SettingsError(f"{where}: {error}") from None


class Ledger:
    """What one budget has left; safe to use from several threads and event loops.

    A call that does not fit waits while others hold reservations, because most of them settle for
    less than they reserved. It is refused as soon as waiting cannot help.
    """

    def __init__(
        self, budget: Budget, spent: Cost = NOTHING, *, scope: str = "the run", ran_s: float = 0.0
    ) -> None:
        self.budget = budget
        self.scope = scope
        self.spent = spent
        self.reserved = NOTHING
        self._lock = threading.Lock()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._ran_s = ran_s
        self._started: float | None = None

    @property
    def limits_tokens(self) -> bool:
        """Whether a call's tokens must be bounded before it is made."""
        return self.budget.tokens is not None or self.budget.usd is not None

    def begin(self, spent: Cost, ran_s: float) -> None:
        """Start the clock of an invocation, given what was spent and how many seconds were run before."""
        with self._lock:
            self.spent = self.spent.at_least(spent)
            self._ran_s, self._started = ran_s, time.monotonic()

    def seconds_left(self) -> float | None:
        """Return the seconds left, None without such a limit. The clock starts now, unless it runs."""
        if self.budget.seconds is None:
            return None
        return self.budget.seconds - self._seconds()

    def _seconds(self) -> float:
        now = time.monotonic()
        self._started = now if self._started is None else self._started
        return self._ran_s + now - self._started

    async def reserve(self, bound: Cost) -> None:
        """Reserve the most that a call can cost. Raises BudgetExceeded once that can never fit."""
        while True:
            with self._lock:
                self._check(self.spent + bound)
                if self._over(self.spent + self.reserved + bound) is None:
                    self.reserved += bound
                    return
                loop = asyncio.get_running_loop()
                freed: asyncio.Future[None] = loop.create_future()
                self._waiters.append((loop, freed))
            try:
                await asyncio.wait_for(freed, self.seconds_left())
            except TimeoutError:
                continue

    def settle(self, bound: Cost, spent: Cost) -> None:
        """Give a reservation back and note what was spent in its place."""
        with self._lock:
            self.reserved -= bound
            self.spent += spent
            waiters, self._waiters = self._waiters, []
        for loop, freed in waiters:
            loop.call_soon_threadsafe(_wake, freed)

    def end(self, limit: str) -> BudgetExceeded:
        """Return the error that says which limit ended what, and what was spent."""
        budget, cost = asdict(self.budget), self.spent
        spent = {
            "calls": cost.calls,
            "tokens": cost.charged_tokens,
            "usd": cost.charged_usd,
            "unknown": cost.unknown,
        }
        if cost.estimated_tokens or cost.estimated_usd:
            spent |= {"estimated_tokens": cost.estimated_tokens, "estimated_usd": cost.estimated_usd}
        if limit == "seconds":
            spent["seconds"] = round(self._seconds(), 3)
        said = shown if limit == "usd" else "{:g}".format
        used = f" {said(spent[limit])} of it is spent." if limit in spent else ""
        return BudgetExceeded(
            f"The budget of {self.scope} ended: {limit} = {said(budget[limit])}.{used} What was done is "
            "kept; go on with a larger budget.",
            limit=limit,
            scope=self.scope,
            budget={name: value for name, value in budget.items() if value is not None},
            spent=spent,
        )

    def _check(self, least: Cost) -> None:
        left = self.seconds_left()
        limit = "seconds" if left is not None and left <= 0 else self._over(least)
        if limit is not None:
            raise self.end(limit)

    def _over(self, total: Cost) -> str | None:
        budget = self.budget
        if budget.calls is not None and total.calls > budget.calls:
            return "calls"
        if budget.tokens is not None and total.charged_tokens > budget.tokens:
            return "tokens"
        if budget.usd is not None and total.charged_usd > budget.usd:
            return "usd"
        return None


def _wake(freed: asyncio.Future[None]) -> None:
    if not freed.done():
        freed.set_result(None)
