"""What goes over a process's connection to Postgres: one flight of statements at a time, for everybody.

A flight takes all that waits: what is to be written as one transaction, each SELECT as one of its own. While
it is under way, the next one fills. Whoever waits for it looks after it: an event loop when the socket can be
read, a thread by blocking; so nobody waits for another one's event loop. What needs an answer before it goes
on (a lock, a lease in doubt, a lost connection) is done by a thread that holds the connection meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

import psycopg

from ...database import PostgresAddress
from ...errors import StoreError
from ...event_loops import running_loop
from ...sheltered_lock import ShelteredLock
from ..dialect import Transaction
from ..fencing import Guard, Refused
from ..records import Statement
from .batching import Batching
from .commits import Commits, Unsure
from .connecting import Connection, explained, is_deadlock, is_lost
from .flights import Flight, Queue, Read, Work, Write
from .reconnecting import Reconnecting
from .sql import translator
from .tables import names
from .transactions import Looking, PostgresTransaction, in_transaction
from .unblocking import Unblocking
from .waking import Waking
from .wire import Wire

R = TypeVar("R")
LOSSES = 3  # in a row; then it is not the connection


class Traffic:
    """The connection, and who waits for what. `waiting` are the statements that nobody waits for, too."""

    def __init__(
        self,
        address: PostgresAddress,
        connection: Connection,
        waiting: list[Statement],
        lock: ShelteredLock,
        guard: Callable[[], Guard],
    ) -> None:
        self._address = address
        self._translated = translator(address.schema, names())
        self._batching = Batching(self._translated, names())
        self._waiting = waiting
        self._guard = guard
        self._wire: Wire | None = Wire(connection)
        self._begin(lock)

    def _begin(self, lock: ShelteredLock) -> None:
        self._lock = lock
        self._queue = Queue(self._waiting)
        self._commits = Commits()
        self._flight: Flight | None = None
        self._is_held = self._is_closed = False
        self._is_stuck = False  # all that is left is what was refused: it is tried again with what comes
        self._apart: list[Flight] = []  # what is committed while the connection is held
        self._losses = 0
        self._waking = Waking()
        self._unblocking = Unblocking(self._address, lock, lambda: self.is_busy and self._wire is not None)
        self._called: set[asyncio.AbstractEventLoop] = set()
        self.trouble: StoreError | None = None

    def after_fork(self, lock: ShelteredLock) -> None:
        """Begin anew in a forked child, which may not use its parent's connection."""
        if self._wire is not None:
            self._wire.leave()
            self._wire = None
        closed = self._is_closed
        self._begin(lock)
        self._is_closed = closed

    @property
    def is_busy(self) -> bool:
        return self._flight is not None or self._is_held

    @property
    def is_away(self) -> bool:
        """Whether the database has been away for so long that nobody waits for it any more."""
        return self._wire is None and self.trouble is not None

    def is_under_way(self, statement: Statement) -> bool:
        under_way = self._apart if self._flight is None else [self._flight]
        return any(flight.has(statement) for flight in list(under_way))

    # Waiting for it

    async def until(self, *works: Read | Write, starts: bool = True) -> None:
        """Return once all is done, in its order; somebody else may start it. Raises the first error."""
        futures: list[asyncio.Future[None]] = []
        for work in works:
            work.future = asyncio.get_running_loop().create_future()
            futures.append(work.future)
            (self.begin if starts else self._add)(work)
        await (futures[0] if len(futures) == 1 else asyncio.gather(*futures))

    def begin(self, work: Read | Write) -> None:
        self._add(work)
        self.start()

    def start(self) -> None:
        """Have what waits sent at the end of this pass of the event loop, if there is one."""
        self._is_stuck = False
        loop = running_loop()
        if loop is not None and loop not in self._called:
            self._called.add(loop)
            loop.call_soon(self._look_after, loop)

    def wait(self, work: Read | Write) -> None:
        """Block until the work is done. Raises its error."""
        self._add(work)
        self._block(lambda: work.is_done)
        if work.error is not None:
            raise work.error

    def _block(self, is_over: Callable[[], bool]) -> None:
        while True:
            with self._lock:
                self._pump()
            with self._lock:  # a signal may end it in between, while it holds nothing
                if is_over():
                    return
                self._waking.begin()
                wire = None if self._is_held else self._wire
            self._waking.sleep(wire)

    def _add(self, work: Read | Write) -> None:
        if isinstance(work, Read):
            work.query = self._batching.query(work.sql, work.values)  # what cannot be sent is told at once
        with self._lock:
            self._check_open()
            self._is_stuck = False
            self._queue.add(work)

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreError(f"The session of {self._address} is closed. Open a new one.")

    def _look_after(self, loop: asyncio.AbstractEventLoop) -> None:
        self._called.discard(loop)
        with self._lock:
            self._pump()
            self._waking.watch(loop, None if self._is_held else self._wire, self._look_after)

    def _finish(self, work: Work, error: Exception | None = None) -> None:
        if not work.finish(error):
            self._waking.rouse()

    # Flights

    def _pump(self) -> None:
        """Take what has come, and send what waits, if nothing is under way; called with the lock."""
        if self._is_held:
            return
        flight = self._flight
        try:
            if self._wire is not None:
                self._wire.pump()
            if flight is not None and all(segment.is_done for segment in flight.segments):
                self._flight = None
                self._land(flight)
            if self._flight is None and not self._is_held:
                self._launch()
        except psycopg.Error as error:
            self._lose(error)

    def _launch(self) -> None:
        if not self._queue or (self._is_stuck and not self._queue.has_waiters):
            return
        wire = self._wire
        if wire is None:
            self._hold(self._connect)
            return
        flight = self._queue.take()
        fence, is_sure = flight.fence(self._guard(), self._finish)
        if not is_sure:
            self._hold(self._commit_apart, flight)
            return
        if flight.statements:
            flight.reads += self._commits.forgetting()
        try:
            flight.load(self._batching, fence, self._commits.mark)
        except Exception:
            flight.leave_out_unsendable(self._batching, self._finish)
            flight.load(self._batching, fence and self._guard().fence(flight.statements), self._commits.mark)
        if flight.segments:
            self._flight = flight
            self._unblocking.begin()
            wire.send(flight.segments)
            if wire.has_unsent:  # loops watch for that, too, whoever sends here
                self._waking.call(self._look_after)
        else:
            self._arrive(flight)

    def _arrive(self, flight: Flight) -> None:
        for write in flight.writes:
            self._finish(write)

    def _land(self, flight: Flight) -> None:
        if lost := flight.lost():
            self._flight = flight
            raise lost
        self._commits.settle()
        self._losses, self.trouble = 0, None
        again = flight.land(self._finish, self._address)
        if again:
            self._hold(self._commit_apart, *again)
        else:
            self._arrive(flight)

    def _lose(self, error: psycopg.Error) -> None:
        """Have what was under way done once more over another connection."""
        if self._wire is not None:
            self._waking.part(self._wire)
            self._wire = None
        self._losses += 1
        flight, self._flight = self._flight, None
        if flight is not None:
            self._queue.put_back(flight)
        if self._losses > LOSSES:
            self._fail(explained(error, self._address))
        if not self._is_held:
            self._hold(self._connect)

    def _fail(self, error: StoreError) -> None:
        """Tell everybody who waits; what they wanted to write is theirs again."""
        for work in self._queue.give_up():
            self._finish(work, error)
        self._losses, self.trouble = 0, error

    # Holding the connection

    def _hold(self, work: Callable[[], None], *apart: Flight) -> None:
        """Have a thread do something with the connection, alone; called with the lock."""
        self._is_held, self._apart = True, [*apart]
        self._unblocking.begin()

        def held() -> None:
            try:
                work()
            except psycopg.Error as error:
                with self._lock:
                    self._lose(error)
            except StoreError as error:
                self._give_up(error)
            except (TypeError, ValueError, OverflowError):
                pass  # told to whoever waits for what could not be sent
            finally:
                self._let_go()

        threading.Thread(target=held, name="stepgraph-postgres", daemon=True).start()

    def _let_go(self) -> None:
        with self._lock:
            self._is_held, self._apart = False, []
            self._waking.call(self._look_after)

    def _give_up(self, error: StoreError) -> None:
        with self._lock:
            self._fail(error)

    def _connect(self) -> None:
        connecting = Reconnecting(self._address, lambda: self._is_closed)
        connection = connecting.connection(self._give_up, lambda: self.trouble is not None)
        if connection is None:
            return
        done = self._commits.done(connection, self._address.schema)
        with self._lock:
            self._queue.drop(done)
            self._commits.settle()
            self._wire, self.trouble = Wire(connection), None

    def _commit_apart(self) -> None:
        """Commit each as a transaction of its own, asking the guard; called by the thread that holds it."""
        left = self._apart
        try:
            while left:
                flight = left[0]
                error = self._committed(flight)
                if error is not None and len(apart := flight.apart()) > 1:
                    left[0:1] = apart
                    continue
                with self._lock:
                    left.pop(0)
                    if error is not None and not any(write.statements for write in flight.writes):
                        self.trouble, self._is_stuck = error, True
                        self._waiting[:0] = flight.statements  # nobody's: it goes on waiting
                    for write in flight.writes:
                        self._finish(write, error)
                    for read in flight.reads:
                        read.is_query = False  # it has waited long enough for what cannot be written
                    self._queue.reads[:0] = [read for read in flight.reads if not read.is_done]
        except BaseException as error:
            with self._lock:
                for flight in reversed(left):
                    if isinstance(error, TypeError | ValueError | OverflowError):
                        flight.leave_out_unsendable(self._batching, self._finish)
                    self._queue.put_back(flight)
                left.clear()
            raise

    def _committed(self, flight: Flight) -> StoreError | None:
        """Commit a flight, and return why that cannot be done."""
        while True:
            try:
                in_transaction(self._opened(), flight, self._guard())
                self._commits.settle()
            except Refused as refused:
                with self._lock:
                    flight.take_out(refused, self._finish)
            except psycopg.Error as error:
                if is_lost(error):
                    raise
                if not is_deadlock(error):
                    return explained(error, self._address)
            else:
                return None

    def _opened(self) -> PostgresTransaction:
        if self._wire is None:
            raise StoreError(f"{self._address}: the connection was lost.")
        return PostgresTransaction(self._wire, self._batching, self._waking.handle, self._commits.mark)

    def transact(self, work: Callable[[Transaction], R], *, alone: bool = True) -> R:
        """Do work in one transaction, behind all that waits."""
        done: list[R] = []
        unsure: Unsure | None = None
        while not done or unsure is not None:
            self._block(self._can_hold)
            if unsure is not None and unsure.has_happened:
                self._let_go()
                break
            unsure = None
            done.clear()
            with self._lock:
                flight = self._queue.take_writes()
                self._apart = [flight]
            try:
                looking = Looking(lambda each: done.append(work(each)), alone)
                in_transaction(self._opened(), flight, self._guard(), looking)
            except Refused as refused:
                done.clear()
                with self._lock:
                    flight.take_out(refused, self._finish)
                    self._queue.put_back(flight)
            except psycopg.Error as error:
                with self._lock:
                    self._queue.put_back(flight)
                    if is_lost(error):
                        unsure, goes_on = self._commits.unsure, self._losses < LOSSES
                        self._lose(error)
                        if goes_on:
                            continue
                done.clear()
                if not is_deadlock(error):
                    raise explained(error, self._address) from None
            except BaseException:
                with self._lock:
                    self._queue.put_back(flight)
                raise
            else:
                with self._lock:
                    self._commits.settle()
                    self._losses = 0
                    self._arrive(flight)
            finally:
                self._let_go()
        return done[-1]

    def _can_hold(self) -> bool:
        self._check_open()
        if self.is_away and self.trouble is not None:
            raise self.trouble
        if self._is_held or self._flight is not None:
            return False
        if self._wire is None:
            self._hold(self._connect)
            return False
        self._is_held = True
        self._unblocking.begin()
        return True

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._unblocking.close()
            wire, self._wire = self._wire, None
            if wire is not None:
                self._waking.part(wire)
            self._waking.close()
