"""Sets aside what calls can cost in the accounts of shared budgets, for all that ask at one moment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4
from weakref import WeakKeyDictionary

from ..errors import StoreError
from .allowances import KEPT_S, Allowances
from .budget_accounts import AccountKey, Ahead, Amount, Declined, Granted, Settlement, Wanted
from .budget_holds import HOLDS, LIFETIME_S, RENEW, forget, settling
from .budget_reserve import reserve
from .dialect import Transaction
from .forking import Forked, track

if TYPE_CHECKING:
    from .journal import Journal

SLICE_S = 0.002
RENEW_S = LIFETIME_S / 3


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

    _alive_at: tuple[float, float]  # by both clocks, once it has set something aside

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._ahead_s: float | None = None  # the database's clock, compared with ours
        self._begin()
        track(self)

    def _begin(self) -> None:
        self._owner = uuid4().hex
        self._lock = threading.Lock()
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._open = 0
        self._allowances = Allowances(self._is_alive)
        self._given_back: set[str] = set()
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
        return await request.outcome

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
        wanted = [each.wanted for each in requests]
        owner = self._owner

        here = {
            key: (limits, call.bound)
            for call in wanted
            if call.owner is None
            for key, (_, limits) in call.accounts.items()
        }
        ahead = self._allowances.ahead(here, owner)

        def work(
            db: Transaction,
        ) -> tuple[list[Granted | Declined], dict[AccountKey, Ahead], float | None]:
            return reserve(db, wanted, owner, self.journal.dialect.now, ahead)

        began = time.time()
        outcomes, stocks, clock = await self.journal.atransact(work, alone=False)
        self._prolonged()
        self._allowances.put(stocks, owner)
        if clock is not None:
            self._ahead_s = clock - (began + time.time()) / 2
        for each, outcome in zip(requests, outcomes, strict=True):
            if isinstance(outcome, Granted):
                self._took()
            if not each.outcome.done():
                each.outcome.set_result(outcome)
            elif isinstance(outcome, Granted):  # it was cancelled meanwhile
                self.settle(outcome.settled(Amount()))

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
        if time.monotonic() - self._alive_at[0] > LIFETIME_S:  # it stood still, and may have lost that
            self._prove_alive()
        settled = granted.settled(spent)
        if not self._given_back:
            return settled
        return [each if self._holds(each) else each._replace(bound=Amount()) for each in settled]

    def _holds(self, settlement: Settlement) -> bool:
        return settlement.owner not in self._given_back

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
        """Tell whether others surely take this process for alive; either clock may stand still, or be set."""
        ticking, on_clock = self._alive_at
        return max(time.monotonic() - ticking, time.time() - on_clock) < LIFETIME_S / 2

    def _prolonged(self) -> None:
        self._alive_at = time.monotonic(), time.time()

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
                if (self._open or self._allowances) and time.monotonic() - self._alive_at[0] >= RENEW_S:
                    self._prove_alive()

    def _prove_alive(self) -> None:
        owner = self._owner
        # Renewed first: from then on nobody takes it for dead, and gives back what it has set aside.
        self.journal.write([(RENEW.format(now=self.journal.dialect.now), (LIFETIME_S, owner))])
        (row,) = self.journal.query(HOLDS, (owner,))
        if not row["n"]:
            with self._lock:
                self._given_back.add(owner)
                self._owner = uuid4().hex
            self._allowances.forget()
        self._prolonged()

    def close(self) -> None:
        """End the signs of life, and leave no row behind that holds nothing."""
        self._stop.set()
        if self._renewer is not None:
            self._renewer.join(2)
            self._renewer = None
            self.journal.write(settling(self._allowances.unused(whole=True)))
            owners, for_update = (self._owner, *self._given_back), self.journal.dialect.for_update
            self.journal.transact(lambda db: forget(db, owners, for_update))


def _wake(freed: asyncio.Future[None]) -> None:
    if not freed.done():
        freed.set_result(None)
