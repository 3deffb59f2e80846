"""The limits of an endpoint, shared by all workers of one database: rates, and calls at a time.

A worker takes places for the calls that stand in its line, those of a moment at once: so it leaves hardly any
unused. Slots it leases for as long as it can use them, and gives back what it cannot.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import cast
from weakref import WeakKeyDictionary

from ...state.errors import StoreError
from ...state.event_loops import forget_after_fork
from ...state.journal.dialect import Transaction
from ...state.journal.journal import Journal
from ...state.journal.rate_leases import LEASE_S, Places, lease, places, store_places
from ...state.session.session import Session
from .rate_limit import RateLimiter, TooLong

BLOCK_S = 0.25  # places are taken for so long ahead
LEAD_S = 0.05  # before the taken ones are used up, the next are taken
ASK_S = 0.1  # how often a worker asks again that wants more slots than it has
RENEW_S = 0.5  # and how often one that has enough tells what it uses
LINGER_S = 1.0  # slots are kept for calls that follow soon

Limits = tuple[float | None, float | None, int]
Endpoint = tuple[str, str]


@dataclass(slots=True)
class _Placed:
    """A call that waits for its place: its tokens, and until when it may."""

    tokens: float
    until: float
    wait: asyncio.Future[float]


@dataclass(slots=True)
class _Line:
    """What waits in one event loop."""

    waiters: deque[_Placed] = field(default_factory=deque)
    serving: asyncio.Task[None] | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Taken:
    """What a transaction took: for each of the first waiters its wait, or that it is too long."""

    waits: list[float | TooLong | None] = field(default_factory=list)
    last: float = 0.0


class SharedRate:
    """The places of one endpoint, as far as this process takes them."""

    def __init__(self, journal: Journal, endpoint: Endpoint, limits: Limits) -> None:
        self._journal, self._endpoint, self._limits = journal, " ".join(endpoint), limits
        forget_after_fork(self)
        self.forget()

    def forget(self) -> None:
        """Drop what belongs to threads and event loops."""
        self._lock = threading.Lock()
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()
        self._calls_back = self._tokens_back = self._hold_s = 0.0

    async def place(self, tokens: float, longest: float | None) -> float:
        """Take the next place and return the seconds until its turn. Raises TooLong, and takes none then."""
        loop = asyncio.get_running_loop()
        line = self._lines.setdefault(loop, _Line())
        until = math.inf if longest is None else loop.time() + longest
        waiter = _Placed(tokens, until, loop.create_future())
        line.waiters.append(waiter)
        self._serve(loop, line)
        return await waiter.wait

    def leave(self, tokens: float) -> None:
        """Give a place up that nobody will use."""
        self._give_back(1.0, tokens, 0.0)

    def settle(self, reserved: float, spent: float) -> None:
        """Correct the tokens of a call that is over."""
        if self._limits[1] is not None and reserved != spent:
            self._give_back(0.0, reserved - spent, 0.0)

    def hold(self, seconds: float) -> None:
        """Let nobody go for a while, in no process: the endpoint asked for it."""
        self._give_back(0.0, 0.0, seconds)

    def _give_back(self, calls: float, tokens: float, hold_s: float) -> None:
        with self._lock:
            self._calls_back += calls
            self._tokens_back += tokens
            self._hold_s = max(self._hold_s, hold_s)
        loop = asyncio.get_running_loop()
        self._serve(loop, self._lines.setdefault(loop, _Line()), BLOCK_S)

    def _serve(self, loop: asyncio.AbstractEventLoop, line: _Line, later_s: float = 0.0) -> None:
        if line.serving is None:
            line.serving = loop.create_task(self._serve_all(loop, line, later_s))
        elif line.waiters:
            line.wake.set()

    async def _serve_all(self, loop: asyncio.AbstractEventLoop, line: _Line, later_s: float) -> None:
        """Take places for those in line, a block at a time, until nobody waits."""
        try:
            if later_s:
                with suppress(TimeoutError):
                    await asyncio.wait_for(line.wake.wait(), later_s)
            while True:
                line.wake.clear()
                waiters = [each for each in line.waiters if not each.wait.done()]
                line.waiters = deque(waiters)
                with self._lock:
                    back = self._calls_back, self._tokens_back, self._hold_s
                take = partial(self._take, waiters, loop.time(), back)
                block = await self._journal.atransact(take, alone=False)
                with self._lock:
                    self._calls_back -= back[0]
                    self._tokens_back -= back[1]
                    self._hold_s = 0.0 if self._hold_s == back[2] else self._hold_s
                waiting = self._tell(waiters, block)
                line.waiters = deque([*waiting, *list(line.waiters)[len(waiters) :]])
                if not line.waiters:
                    return
                await asyncio.sleep(max(0.0, block.last - LEAD_S) if waiting else 0.0)
        except BaseException as error:
            while line.waiters:
                waiter = line.waiters.popleft()
                if not waiter.wait.done():
                    waiter.wait.set_exception(error)
                    waiter.wait.exception()
            if not isinstance(error, StoreError):
                raise
        finally:
            line.serving = None

    def _take(
        self, waiters: Sequence[_Placed], at: float, back: tuple[float, float, float], db: Transaction
    ) -> _Taken:
        """Take a block of places; who may not wait for one of a later block is told so now."""
        stand = places(db, self._endpoint, self._journal.dialect.now)
        calls, tokens, hold_s = back
        limiter = RateLimiter(*self._limits, clock=lambda: stand.now)
        limiter.free_at = [stand.requests_at, stand.tokens_at]
        limiter.held_until = max(stand.held_until, stand.now + hold_s if hold_s else 0.0)
        limiter.give_back(calls, tokens)
        block, ends, left = _Taken(), math.inf, None
        for waiter in waiters:
            before = list(limiter.free_at)
            wait = limiter.join(waiter.tokens)
            if at + wait > waiter.until:
                limiter.free_at = before
                block.waits.append(TooLong(wait))
            elif wait > ends:
                left = left or before
                block.waits.append(None)
            else:
                ends = min(ends, wait + BLOCK_S)
                block.waits.append(wait)
                block.last = wait
        requests_at, tokens_at = left or limiter.free_at
        now = Places(requests_at, tokens_at, limiter.held_until, stand.now)
        store_places(db, self._endpoint, now)
        return block

    def _tell(self, waiters: Sequence[_Placed], block: _Taken) -> list[_Placed]:
        """Tell each its wait, and return those that go on waiting."""
        waiting = []
        for waiter, wait in zip(waiters, block.waits, strict=True):
            if wait is None:
                waiting.append(waiter)
            elif waiter.wait.done():  # it was cancelled meanwhile
                if not isinstance(wait, TooLong):
                    with self._lock:
                        self._calls_back += 1
                        self._tokens_back += waiter.tokens
            elif isinstance(wait, TooLong):
                waiter.wait.set_exception(wait)
            else:
                waiter.wait.set_result(wait)
        return waiting


class SharedSlots:
    """The calls at a time of one endpoint, as far as this process may make them.

    A thread of its own leases as many slots as the process can use, while it has calls.
    """

    def __init__(self, journal: Journal, endpoint: Endpoint, limit: int) -> None:
        self._journal, self._endpoint, self._limit = journal, " ".join(endpoint), limit
        forget_after_fork(self)
        self.forget()

    def forget(self) -> None:
        """Drop all calls under way and in line."""
        self._owner = secrets.token_hex(6)
        self._changed = threading.Condition()
        self._line: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._running = self._usable = 0
        self._leased_at = -math.inf
        self._contested = False
        self._thread: threading.Thread | None = None

    async def enter(self) -> None:
        """Wait for a slot."""
        with self._changed:
            if not self._line and self._is_free():
                self._running += 1
                return
            loop = asyncio.get_running_loop()
            turn: asyncio.Future[None] = loop.create_future()
            self._line.append((loop, turn))
            if self._thread is None:
                self._thread = threading.Thread(target=self._lease, name="stepgraph-slots", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            await turn
        except BaseException:
            with self._changed:
                if (loop, turn) in self._line:
                    self._line.remove((loop, turn))
                else:  # it had one already
                    self._running -= 1
                    self._go_on()
            raise

    def leave(self) -> None:
        """Give the slot to who is next, here or elsewhere."""
        with self._changed:
            self._running -= 1
            self._go_on()
            if self._contested:
                self._changed.notify()

    def _is_free(self) -> bool:
        return self._running < self._usable and time.monotonic() < self._leased_at + LEASE_S

    def _go_on(self) -> None:
        while self._line and self._is_free():
            loop, turn = self._line.popleft()
            self._running += 1
            try:
                loop.call_soon_threadsafe(self._start, turn)
            except RuntimeError:  # its loop is closed: nobody waits there any more
                self._running -= 1

    def _start(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():  # else whoever was cancelled gave the slot back
            turn.set_result(None)

    def _lease(self) -> None:
        """Lease what is wanted, again and again, until nothing has been for a while."""
        idle_since: float | None = None
        while True:
            with self._changed:
                running, wanted = self._running, self._running + len(self._line)
                idle_since = None if wanted else idle_since or time.monotonic()
                leaving = idle_since is not None and time.monotonic() >= idle_since + LINGER_S
                if leaving:
                    self._usable = 0
            began = time.monotonic()
            try:
                usable, contested = self._journal.transact(
                    partial(self._leased, running, wanted), alone=False
                )
            except StoreError:  # told to the call that next finds that its answer could not be kept
                usable, contested = 0, False
            with self._changed:
                if leaving and not self._line:
                    self._thread = None
                    return
                if not leaving:
                    self._usable, self._contested, self._leased_at = usable, contested, began
                self._go_on()
                if self._running + len(self._line) <= wanted:
                    self._changed.wait(ASK_S if self._line or contested else RENEW_S)

    def _leased(self, running: int, wanted: int, db: Transaction) -> tuple[int, bool]:
        return lease(
            db,
            self._endpoint,
            self._owner,
            running=running,
            wanted=wanted,
            limit=self._limit,
            now=self._journal.dialect.now,
        )


class _OfJournal:
    """The shared limits of the endpoints that are asked with one journal."""

    def __init__(self) -> None:
        self.rates: dict[tuple[Endpoint, Limits], SharedRate] = {}
        self.slots: dict[tuple[Endpoint, int], SharedSlots] = {}


_known: WeakKeyDictionary[Journal, _OfJournal] = WeakKeyDictionary()
_knowing = threading.Lock()


@dataclass(frozen=True)
class Sharing:
    """Which limits of an endpoint are shared by all workers: those that the settings have.

    `always` says so of every database, and False of none; by default those of a database that several
    machines can use are.
    """

    endpoint: Endpoint | None
    limits: Limits = (None, None, 1)
    at_once: int | None = None
    always: bool | None = None

    def rate(self, session: Session | None) -> SharedRate | None:
        """Return the places that a session's workers share, None where each process keeps to its own."""
        if self.endpoint is None or self.limits[:2] == (None, None) or not self._is_on(session):
            return None
        journal = cast("Session", session).journal
        with _knowing:
            rates = _known.setdefault(journal, _OfJournal()).rates
            key = self.endpoint, self.limits
            return rates.get(key) or rates.setdefault(key, SharedRate(journal, *key))

    def slots(self, session: Session | None) -> SharedSlots | None:
        """Return the calls at a time that a session's workers share."""
        if self.endpoint is None or self.at_once is None or not self._is_on(session):
            return None
        journal = cast("Session", session).journal
        with _knowing:
            slots = _known.setdefault(journal, _OfJournal()).slots
            key = self.endpoint, self.at_once
            return slots.get(key) or slots.setdefault(key, SharedSlots(journal, *key))

    def _is_on(self, session: Session | None) -> bool:
        if session is None or self.always is False:
            return False
        return self.always is True or session.journal.dialect.name != "sqlite"
