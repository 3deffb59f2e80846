"""Budgets: hard limits on what a run may spend, kept by reserving before a call and settling after it.

A budget with a scope is shared by all threads of a database that name it: its accounts are in
state/journal/budget_accounts.py, its ledger in state/session/shared_ledger.py.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from .cost import NOTHING, Cost
from .errors import BudgetExceeded, SettingsError
from .money import MOST_USD, shown
from .periods import PERIODS, Period

SHARED_LIMITS: Final = ("calls", "tokens", "usd")
OWN_LIMITS: Final = ("seconds", "supersteps")  # which no scope has
MAX_SCOPE: Final = 200
_ON_RECORD: Final = "A budget in the record"


@dataclass(frozen=True)
class Budget:
    """Limits of a run, or of a part of it; None is no limit.

    `tokens` counts input and output together, `usd` US dollars, `calls` attempts at model calls,
    `seconds` the time in which the thread's nodes ran, in all its invocations, not the time in which it
    waited for a person or a resume, `supersteps` LangGraph's supersteps in each (nested) graph of one
    invocation. `answer_tokens` bounds answers that set no max_tokens
    themselves, where tokens or dollars are limited: without a bound nothing could be reserved.

    With a `scope`, any text such as "user:ada" or "project:x", all threads of a database that name it share
    the limits of calls, tokens and usd, in whatever process they run; `per` hour, day, week or month (UTC, a
    week begins on Monday) they begin anew. Every limit of a run holds; of two for one scope and period, the
    tightest.
    """

    tokens: int | None = None
    usd: float | None = None
    calls: int | None = None
    seconds: float | None = None
    supersteps: int | None = None
    answer_tokens: int = 1024
    scope: str | None = None
    per: Period | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not value >= 0:
                raise ValueError(f"Budget({field.name}={value}): expected 0 or more.")
        if self.per is not None and self.per not in PERIODS:
            raise ValueError(f"Budget(per={self.per!r}): expected one of {', '.join(PERIODS)}.")
        if self.scope is not None:
            self._check_scope(self.scope)
        elif self.per is not None:
            raise ValueError(
                f'Budget(per={self.per!r}) has no scope. Name who shares it: Budget(…, scope="user:ada", '
                f"per={self.per!r})."
            )

    def _check_scope(self, scope: str) -> None:
        if not isinstance(scope, str) or not scope.strip() or scope != scope.strip():
            raise ValueError(f"Budget(scope={scope!r}): expected a text such as user:ada.")
        if len(scope) > MAX_SCOPE or not scope.isprintable():
            raise ValueError(
                f"Budget(scope={scope[:40]!r}…): expected {MAX_SCOPE} printable characters at most."
            )
        for name in OWN_LIMITS:
            if getattr(self, name) is not None:
                raise ValueError(
                    f"Budget(scope={scope!r}, {name}=…): threads share calls, tokens and usd. Give {name} "
                    "in a budget of its own, without a scope."
                )
        if self.usd is not None and self.usd > MOST_USD:
            raise ValueError(f"Budget(usd={self.usd}): a shared budget has at most {MOST_USD:,} dollars.")

    @property
    def is_shared(self) -> bool:
        """Whether it counts what all threads spend that name its scope."""
        return self.scope is not None

    @property
    def lifts(self) -> bool:
        """Whether it has no limit."""
        return all(getattr(self, name) is None for name in (*SHARED_LIMITS, *OWN_LIMITS))

    @property
    def name(self) -> str:
        """Whose budget it is, and for how long."""
        return f"{self.scope or 'the run'}{f' per {self.per}' if self.per else ''}"

    def to_json(self) -> str:
        """Return the limits as the record keeps them."""
        return json.dumps(self.values())

    def values(self) -> dict[str, Any]:
        """Return the limits by their names, and whose they are."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, text: str) -> Budget:
        return cls.read(json.loads(text), _ON_RECORD)

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


Budgets = Budget | Sequence[Budget]


@dataclass(frozen=True)
class ThreadBudgets:
    """The budgets of one thread: its own, those that it shares, and scopes that the settings limit.

    `ruled` are the scopes for which the settings had a budget, whatever its limits are by now.
    """

    own: Budget | None = None
    shared: tuple[Budget, ...] = ()
    ruled: tuple[str, ...] = ()

    @classmethod
    def of(cls, budgets: Budgets | None) -> ThreadBudgets:
        """Return what somebody gave. Raises ValueError for two budgets of the run's own."""
        all_budgets = (budgets,) if isinstance(budgets, Budget) else tuple(budgets or ())
        own = [budget for budget in all_budgets if not budget.is_shared]
        if len(own) > 1:
            raise ValueError(
                "A run has one budget of its own; these are two. Put their limits into one, or give all but "
                "one a scope."
            )
        return cls(next(iter(own), None), tuple(budget for budget in all_budgets if budget.is_shared))

    @classmethod
    def from_json(cls, text: str | None) -> ThreadBudgets:
        """Return what the record keeps."""
        values = json.loads(text) if text else {}
        shared = tuple(Budget.read(limits, _ON_RECORD) for limits in values.pop("shared", ()))
        ruled = tuple(values.pop("ruled", ()))
        return cls(Budget.read(values, _ON_RECORD) if values else None, shared, ruled)

    def to_json(self) -> str:
        values = {} if self.own is None else self.own.values()
        if self.shared:
            values["shared"] = [budget.values() for budget in self.shared]
        if self.ruled:
            values["ruled"] = list(self.ruled)
        return json.dumps(values)

    def changed(self, newer: ThreadBudgets) -> ThreadBudgets:
        """Return these, with those that were given in the place of what is for the same scope and period."""
        replaced = {(budget.scope, budget.per) for budget in newer.shared}
        kept = [budget for budget in self.shared if (budget.scope, budget.per) not in replaced]
        new = [budget for budget in newer.shared if not budget.lifts]
        return replace(self, own=newer.own or self.own, shared=(*kept, *new))


def read_budgets(value: Any, where: str) -> Budgets:
    """Return the budgets that a table of limits, or a list of them, stands for. Raises SettingsError."""
    if isinstance(value, (list, tuple)):
        return tuple(each if isinstance(each, Budget) else Budget.read(each, where) for each in value)
    return value if isinstance(value, Budget) else Budget.read(value, where)


class Ledger:
    """What one budget has left; safe to use from several threads and event loops.

    A call that does not fit waits while others hold reservations, because most of them settle for
    less than they reserved. It is refused as soon as waiting cannot help.
    """

    is_shared = False

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
            with suppress(TimeoutError):
                await asyncio.wait_for(freed, self.seconds_left())

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
        spent = {**cost.charged(), "unknown": cost.unknown}
        if cost.estimated_tokens or cost.estimated_usd:
            spent |= {"estimated_tokens": cost.estimated_tokens, "estimated_usd": cost.estimated_usd}
        if limit == "seconds":
            spent["seconds"] = round(self._seconds(), 3)
        form = shown if limit == "usd" else "{:g}".format
        used = f" {form(spent[limit])} of it is spent." if limit in spent else ""
        return BudgetExceeded(
            f"The budget of {self.scope} ended: {limit} = {form(budget[limit])}.{used} What was done is "
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


def limiting_supersteps(ledgers: Iterable[Ledger]) -> tuple[int, Ledger] | None:
    """Return the fewest supersteps that a budget allows, and its ledger; None where no budget limits them."""
    limits = [(most, ledger) for ledger in ledgers if (most := ledger.budget.supersteps) is not None]
    return min(limits, key=lambda limit: limit[0], default=None)


def _wake(freed: asyncio.Future[None]) -> None:
    if not freed.done():
        freed.set_result(None)
