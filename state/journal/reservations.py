"""Sets aside what calls can cost in the accounts of shared budgets, for all that ask at one moment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ..errors import StoreError
from .allowances import KEPT_S, Allowances
from .budget_accounts import AccountKey, Ahead, Amount, Declined, Granted, Settlement, Wanted
from .budget_holds import LIFETIME_S, accounts_of, forget, renew, settling
from .budget_owner import BudgetOwner, moment
from .budget_reserve import Lapsed, reserve
from .dialect import Transaction
from .forking import Forked, track

if TYPE_CHECKING:
    from .journal import Journal

SLICE_S = 0.002
RENEW_S = LIFETIME_S / 3
FORGOTTEN_AT_ONCE = 100  # accounts


def pause_s(tries: int) -> float:
    """Return for how long to wait for the calls of other processes to end, after so many tries."""
    return min(1.0, 0.05 * 2.0**tries)


@dataclass(slots=True)
class _Asked:
    """A call that asks, and who waits for the answer."""

    wanted: Wanted
    outcome: asyncio.Future[Granted | Declined]


@dataclass(slots=True)
class _Line:
    """What asks in one event loop, and until when the next ones are gathered."""

    asked: list[_Asked] = field(default_factory=list)
    next_at: float = 0.0
    serving: bool = False
    task: asyncio.Task[None] | None = None


class Reservations(Forked):
    """What this process has set aside in one database; safe to use from several threads and event loops."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._ahead_s: float | None = None  # the database's clock, compared with ours
        self._begin()
        track(self)

    def _begin(self) -> None:
        self._owner = BudgetOwner()
        self._lock = threading.Lock()
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._open = 0
        self._allowances = Allowances(self._is_alive)
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None

    def after_fork(self) -> None:
        self._begin()

    # Setting aside

    def take(self, wanted: Wanted) -> Granted | None:
        """Return what a call has of what is set aside ahead, None where that is not enough for it."""
        granted = self._allowances.take(wanted)
        if granted is not None:
            self._took()
        return granted

    async def reserve(self, wanted: Wanted) -> Granted | Declined:
        """Set aside what a call can cost, or say why it does not fit."""
        granted = self.take(wanted)
        if granted is not None:
            return granted
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            line = self._lines[loop] = _Line()
        request = _Asked(wanted, loop.create_future())
        line.asked.append(request)
        if not line.serving:
            line.serving = True
            if loop.time() < line.next_at:
                loop.call_at(line.next_at, self._start, loop, line)
            else:
                loop.call_soon(self._start, loop, line)
        try:
            return await request.outcome
        except asyncio.CancelledError:
            outcome = request.outcome
            if outcome.done() and not outcome.cancelled() and outcome.exception() is None:  # just now
                self._settle_unused(outcome.result())
            raise

    def _start(self, loop: asyncio.AbstractEventLoop, line: _Line) -> None:
        line.task = loop.create_task(self._serve(loop, line))

    async def _serve(self, loop: asyncio.AbstractEventLoop, line: _Line) -> None:
        """Serve all that asks; what comes while the transaction runs is served by the next one."""
        requests, line.asked = [each for each in line.asked if not each.outcome.done()], []
        try:
            if requests:
                await self._serve_these(requests)
        except BaseException as error:
            for each in requests:
                if not each.outcome.done():
                    each.outcome.set_exception(error)
            if not isinstance(error, Exception):
                raise
        finally:
            if len(requests) > 1:  # who asks alone, as a chain's steps do, would gain nothing by waiting
                line.next_at = loop.time() + SLICE_S
            line.serving = bool(line.asked)
            if line.serving:
                loop.call_later(SLICE_S, self._start, loop, line)

    async def _serve_these(self, requests: Sequence[_Asked]) -> None:
        self._show_up()
        while True:
            owner, until = self._owner.lease()
            try:
                await self._serve_as(owner, until, requests)
            except Lapsed:
                self._begin_anew(owner)
            else:
                return

    async def _serve_as(self, owner: str, until: float | None, requests: Sequence[_Asked]) -> None:
        wanted = [each.wanted for each in requests]
        here = {
            key: (limits, call.bound)
            for call in wanted
            if call.owner is None
            for key, (_, limits) in call.accounts.items()
        }
        now = self.journal.dialect.now
        renewed = self._owner.names if until is None or self._owner.age_s() >= RENEW_S else ()
        ahead = self._allowances.ahead(here, owner)

        def work(
            db: Transaction,
        ) -> tuple[list[Granted | Declined], dict[AccountKey, Ahead], float | None]:
            done = reserve(db, wanted, owner, now, ahead, until)
            renew(db, renewed, now)
            return done

        began = moment()
        try:
            outcomes, stocks, clock = await self.journal.atransact(work, alone=False)
        except BaseException:
            self._allowances.put(ahead, owner)  # it was taken out, to go into what is set aside next
            raise
        if clock is not None:
            self._ahead_s = clock - (began[1] + time.time()) / 2
            if renewed:
                self._owner.renewed(began, clock)
        self._keep(stocks, owner)
        for each, outcome in zip(requests, outcomes, strict=True):
            if isinstance(outcome, Granted):
                self._took()
            if not each.outcome.done():
                each.outcome.set_result(outcome)
            else:  # it was cancelled meanwhile
                self._settle_unused(outcome)

    def _settle_unused(self, outcome: Granted | Declined) -> None:
        """Give back what was set aside for a call that is not made."""
        if isinstance(outcome, Granted):
            self.settle(outcome.settled(Amount()))

    def _keep(self, stocks: Mapping[AccountKey, Ahead], owner: str) -> None:
        self._allowances.put(stocks, owner)
        if owner != self._owner.name:  # another thread has just begun anew
            self._give_back(self._allowances.unused(whole=True))

    def known_now(self) -> float | None:
        """Return what time it is by the database's clock, None before anybody asked it."""
        return None if self._ahead_s is None else time.time() + self._ahead_s

    async def now(self) -> float:
        """Return what time it is by the database's clock."""
        now = self.known_now()
        if now is None:
            (row,) = await self.journal.aquery(f"SELECT {self.journal.dialect.now} AS now")
            now = float(row["now"])
            self._ahead_s = now - time.time()
        return now

    async def freed(self, tries: int) -> None:
        """Return once something may have been given back, here or elsewhere."""
        loop = asyncio.get_running_loop()
        freed: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiters.append((loop, freed))
        with suppress(TimeoutError):
            await asyncio.wait_for(freed, pause_s(tries))

    # Settling

    def settlements(self, granted: Granted, spent: Amount) -> list[Settlement]:
        """Return what a call is charged in the place of what it had set aside."""
        return granted.settled(spent)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Settle with the next commit; where a call's own commit does it, call only `ended`."""
        self.journal.add_later(*settling(settlements))
        self.ended()

    def ended(self) -> None:
        """Take note that a call which had set something aside is settled."""
        with self._lock:
            self._open -= 1
        if self._waiters:
            self._wake_all()

    def _wake_all(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, []
        for loop, freed in waiters:
            with suppress(RuntimeError):  # its loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(_wake, freed)

    # Signs of life

    def _is_alive(self) -> bool:
        """Tell whether others surely take this process for alive."""
        return self._owner.age_s() < LIFETIME_S / 2

    def _show_up(self) -> None:
        """Take note of what may have been given back meanwhile, before something is set aside."""
        owner = self._owner.name
        if self._is_alive():
            return
        if self._open:
            self._begin_anew(owner)
        else:
            self._give_back(self._allowances.unused(whole=True))
            self._owner.rest()

    def _begin_anew(self, owner: str) -> None:
        self._owner.begin_anew(owner)
        self._give_back(self._allowances.unused(whole=True))

    def _give_back(self, unused: Sequence[Settlement]) -> None:
        self.journal.add_later(*settling(unused))

    def _took(self) -> None:
        with self._lock:
            self._open += 1
            if self._renewer is None:
                self._renewer = threading.Thread(
                    target=self._renew, args=(self._stop,), name="stepgraph-reservations", daemon=True
                )
                self._renewer.start()

    def _renew(self, stop: threading.Event) -> None:
        while not stop.wait(min(RENEW_S, KEPT_S)):
            with suppress(StoreError):
                if unused := self._allowances.unused():
                    self.journal.write(settling(unused))
                    self._wake_all()
                if (self._open or self._allowances) and self._owner.age_s() >= RENEW_S:
                    self._prove_alive()

    def _prove_alive(self) -> None:
        names, sql = self._owner.names, self.journal.dialect.now

        def work(db: Transaction) -> float:
            (row,) = db.execute(f"SELECT {sql} AS now")
            renew(db, names, sql)
            return float(row["now"])

        began, (owner, until) = moment(), self._owner.lease()
        now = self.journal.transact(work, alone=False)
        if until is not None and now > until:
            self._begin_anew(owner)
        self._owner.renewed(began, now)

    def close(self) -> None:
        """End the signs of life, and leave no row behind that holds nothing."""
        self._stop.set()
        if self._renewer is not None:
            self._renewer.join(2)
            self._renewer = None
            self.journal.write(settling(self._allowances.unused(whole=True)))
            for owner in self._owner.names:
                self._forget(owner)

    def _forget(self, owner: str) -> None:
        """Leave no row behind that holds nothing; some at a time, for others wait for their accounts."""
        for_update = self.journal.dialect.for_update
        keys = sorted(accounts_of(self.journal.query, owner))
        for at in range(0, len(keys), FORGOTTEN_AT_ONCE):
            some = keys[at : at + FORGOTTEN_AT_ONCE]
            self.journal.transact(partial(forget, keys=some, owner=owner, for_update=for_update), alone=False)


def _wake(freed: asyncio.Future[None]) -> None:
    if not freed.done():
        freed.set_result(None)
