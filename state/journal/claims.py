"""Claims on threads: one owner runs a thread at a time, and an owner that lost its claim stops.

A claim is a lease: a row with its owner and an epoch, which grows with every claim of the thread and never
falls. It ends by the database's clock, unless it is renewed. A process can stand still for longer than that:
under Ctrl-Z or a debugger, with its machine suspended, or with its network away. Then another takes the
thread over. So owner and epoch are compared inside each transaction that writes for a run, where another
could hold the lease by now. Before each paid call it is held against this machine's clocks, and renewed on
the spot where it could have lapsed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ..errors import ClaimLost, InputError, StoreError, ThreadBusy
from .claim import Claim, busy
from .dialect import Rows, Transaction
from .fencing import Problems, threads_of
from .forking import Forked, track
from .journal import Journal
from .owners import FileOwner, Owner, session_of
from .records import Statement, ThreadStatement
from .taking import Wish, ending_of_session, take_all, take_aside, taking, worker_of
from .together import Together

LIFETIME_S = 6.0
RENEW_S = 2.0
SHORTEST_S, LONGEST_S = 0.3, 3600.0
TAKEN_OVER = "it stood still for too long, and another process has taken it over"
LOOK_S = 0.2
AT_ONCE = 400  # leases that are renewed in one statement


class Claims(Forked):
    """The claims of one session, renewed while it is open.

    A claim ends `heartbeat_s` after its owner was last heard of. Beside a file, locks show who is dead, too:
    there it ends at once on the dead process's own machine.
    """

    def __init__(self, journal: Journal, heartbeat_s: float | None = None) -> None:
        if heartbeat_s is not None and not SHORTEST_S <= heartbeat_s <= LONGEST_S:
            raise InputError(
                f"heartbeat_s is {heartbeat_s!r}: it is how many seconds a process may be silent before "
                f"another one takes its threads over, from {SHORTEST_S} to {LONGEST_S:.0f}."
            )
        self._journal = journal
        self._dialect = journal.dialect
        self._heartbeat_s = heartbeat_s
        self._is_file = journal.store.has_file
        self.may_be_ended = not self._is_file  # by somebody else, though its time has not come
        self.owner = FileOwner(journal.store.file) if self._is_file else Owner()
        self._begin()
        journal.store.guard = self
        track(self)

    def _begin(self) -> None:
        self._held: dict[str, Claim] = {}
        self._lost: dict[str, str] = {}
        self._released: dict[str, tuple[Claim, ThreadStatement | None]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None
        self.renewals = 0
        self.ahead: dict[str, str] = {}  # new threads that are held for a run of this worker's turn
        self._taking = Together(self._take_all)

    @property
    def lifetime_s(self) -> float:
        """How long a claim lives after it was renewed."""
        return self._heartbeat_s or LIFETIME_S

    @property
    def renew_s(self) -> float:
        """How often claims are renewed."""
        return RENEW_S if self._heartbeat_s is None else self._heartbeat_s * RENEW_S / LIFETIME_S

    # Taking, and giving back

    def acquire(self, thread_id: str, turn: str | None = None) -> bool:
        """Claim a thread for a run, and tell whether nothing is on record of it yet.

        Raises ThreadBusy while another owner runs it, and ClaimLost where it was to be run for a `turn` of
        its job that is over: whoever began that stood still, and another turn may have run it to its end.
        """
        if self._takes_over(thread_id, turn):
            return True
        name = self.owner.new_name()
        if self._is_file:
            if thread_id in self._released:  # its end would be held against the new claim in one transaction
                self._journal.flush()
            result = self._journal.transact(lambda transaction: self._take(transaction, thread_id, name))
        else:
            result = self._take(self._journal.store, thread_id, name)  # in one statement
        return self._hold(thread_id, *result, turn)

    async def aacquire(self, thread_id: str, turn: str | None = None) -> bool:
        """Like `acquire`, from an event loop: all that begin in one pass of it are claimed together."""
        if self._takes_over(thread_id, turn):
            return True
        if self._is_file:
            return await take_aside(partial(self.acquire, thread_id, turn), partial(self.release, thread_id))
        claim = Claim(self.owner.new_name())
        row = await self._taking(Wish(thread_id, claim.owner))
        if row is None:
            raise busy(next(iter(await self._journal.aquery(*self._rows_of([thread_id]))), None))
        claim.epoch = row["epoch"]
        return self._hold(thread_id, claim, row, turn)

    def is_ahead(self, thread_id: str, turn: str | None) -> bool:
        """Tell whether a new thread is claimed for a turn whose run is about to begin: see TurnClaims."""
        if turn is None or self.ahead.get(thread_id) != worker_of(turn):
            return False
        if (claim := self._held.get(thread_id)) is not None and self._is_sure(claim):
            return True
        self.release(thread_id, at_once=False)  # this process stood still: look at the record again
        return False

    def _takes_over(self, thread_id: str, turn: str | None) -> bool:
        """Tell whether a run takes over such a claim."""
        return self.is_ahead(thread_id, turn) and self.ahead.pop(thread_id, None) is not None

    def hold(self, thread_id: str, claim: Claim) -> None:
        """Renew a claim that is on record, until it is released."""
        with self._lock:
            self._held[thread_id] = claim
            self._lost.pop(thread_id, None)
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._renew, name="stepgraph-claims", daemon=True)
                self._renewer.start()

    def _hold(self, thread_id: str, claim: Claim, row: Mapping[str, Any], turn: str | None) -> bool:
        self.hold(thread_id, claim)
        if turn not in (None, row["turn"]):
            self.release(thread_id)
            raise ClaimLost(
                f"The thread {thread_id!r} is not begun: the turn of its job is another worker's by now, or "
                "is over. Nothing was paid for or written here. Read its result to see how it stands."
            )
        return bool(row["is_new"])

    def _take(self, transaction: Transaction, thread_id: str, name: str) -> tuple[Claim, Mapping[str, Any]]:
        claim = Claim(name)
        dead = self._dead(transaction, thread_id) if self._is_file else ""
        if self._is_file and name.endswith(".1"):  # the first one of this session
            held = "SELECT owner FROM claims WHERE expires_at > 0"
            self.owner.sweep(row["owner"] for row in transaction.execute(held))
        statement = taking(
            [Wish(thread_id, name)], self.owner.row(), self.lifetime_s, self._dialect.now, dead
        )
        row = next(iter(transaction.execute(*statement)), None)
        if row is None:
            raise busy(self._row(transaction, thread_id))
        claim.epoch = row["epoch"]
        return claim, row

    async def _take_all(self, wishes: Sequence[Wish]) -> list[dict[str, Any] | None]:
        return await take_all(self._journal, wishes, self.owner.row(), self.lifetime_s)

    def _dead(self, transaction: Transaction, thread_id: str) -> str:
        """Return the owner of a claim whose process is dead, though the claim has not ended; else nobody."""
        row = self._row(transaction, thread_id)
        if row is None or row["expires_at"] == 0:
            return ""
        if row["left_s"] > 0 and self.owner.lives(row):
            raise busy(row)
        self.owner.forget(row)
        return str(row["owner"])

    def _row(self, transaction: Transaction, thread_id: str) -> dict[str, Any] | None:
        return next(iter(transaction.execute(*self._rows_of([thread_id]))), None)

    def _rows_of(self, threads: Sequence[str], lock: str = "") -> Statement:
        marks = ", ".join("?" * len(threads))
        sql = f"SELECT *, expires_at - {self._dialect.now} AS left_s FROM claims WHERE thread_id IN ({marks})"
        return f"{sql} ORDER BY thread_id{lock}", threads

    def release(self, thread_id: str, *, at_once: bool = True) -> None:
        """Release a claim of this session; not `at_once`, it goes with what is read next."""
        self._journal.new_threads.end(thread_id)
        self.ahead.pop(thread_id, None)
        with self._lock:
            claim = self._held.pop(thread_id, None)
        if claim is not None:
            ended = "UPDATE claims SET expires_at = 0 WHERE thread_id = ? AND owner = ? AND epoch = ?"
            released = ThreadStatement((ended, (thread_id, claim.owner, claim.epoch)), thread_id)
            self._released.pop(thread_id, None)
            self._released[thread_id] = claim, None  # what waits in front of it is still fenced
            self._journal.add_later(released)
            self._released[thread_id] = claim, released
            if at_once:
                self._journal.try_flush()
            self._forget_released()

    def _forget_released(self) -> None:
        """Forget the claims that were given back and committed: they are in the order of their commits."""
        for thread_id, entry in list(self._released.items()):
            if entry[1] is None or self._journal.store.is_waiting(entry[1]):
                return
            with self._lock:
                if self._released.get(thread_id) is entry:
                    del self._released[thread_id]

    def _claim_of(self, thread_id: str) -> Claim | None:
        """Return the claim under which what waits to be written for a run was made."""
        held = self._held.get(thread_id)
        return held or self._released.get(thread_id, (None,))[0]

    def worker_name(self) -> str:
        """Return a name for a worker of this session, for `end`."""
        return self.owner.worker_name()

    def end(self, thread_id: str, workers: Iterable[str], turn: str | None = None) -> None:
        """End the claim of workers on a thread: they are dead, or else they have lost it at once.

        With the name of a `turn`, nothing is done once the thread's job has another one. Anybody else's claim
        stays, as that of a worker of an earlier version does: it ends by itself.
        """
        sessions = {token for worker in workers if (token := session_of(worker))}
        self._journal.write([ending_of_session(thread_id, token, turn) for token in sorted(sessions)])

    def is_run(self, thread_id: str) -> bool:
        """Tell whether an owner, here or elsewhere, is running a thread."""
        rows = self._journal.query(*self._rows_of([thread_id]))
        return any(self._is_live(row) for row in rows)

    async def until_known(self, thread_id: str) -> None:
        """Return once it is known whether the owner of a thread lives: it renews its claim, or that ends.

        Where nothing else shows that it is dead, this takes as long as its claim still lives.
        """
        first = None
        while thread_id not in self._held:
            row = next(iter(await self._journal.aquery(*self._rows_of([thread_id]))), None)
            if row is None or not self._is_live(row) or self.owner.can_see(row):
                return
            state = row["owner"], row["epoch"], row["expires_at"]
            if state != (first or state):
                return
            first = state
            await asyncio.sleep(LOOK_S)

    def _is_live(self, row: Mapping[str, Any]) -> bool:
        return row["left_s"] > 0 and self.owner.lives(row)

    def epoch_of(self, thread_id: str) -> int | None:
        """Return the epoch of this session's claim on a thread, None if it has none."""
        claim = self._held.get(thread_id)
        return None if claim is None else claim.epoch

    # Before a call is paid for

    def check(self, thread_id: str) -> None:
        """Raise ClaimLost if the run of a thread here is not ours any more; call it before you pay.

        A thread that is not run here, as one of calls outside of any graph, passes.
        """
        if not self._is_sure(self._held.get(thread_id)):
            self._renew_all()
        self._refuse_lost(thread_id)

    async def acheck(self, thread_id: str) -> None:
        """Like `check`, and no event loop stands still while the database is away."""
        if not self._is_sure(self._held.get(thread_id)):
            await asyncio.to_thread(self._renew_all)
        self._refuse_lost(thread_id)

    def _is_sure(self, claim: Claim | None) -> bool:
        """Tell whether nobody can have taken the thread over, unless this process stands still now."""
        return claim is None or claim.age_s < self.lifetime_s - self.renew_s

    def _refuse_lost(self, thread_id: str) -> None:
        why = self._lost.get(thread_id)
        if why is not None:
            raise ClaimLost(
                f"The thread {thread_id!r} is no longer run by this process: {why}. Nothing more is paid for "
                "or written here. What was paid for is on record."
            )

    # In each transaction: see fencing.Guard

    def question(self, statements: Sequence[Statement]) -> Statement | None:
        """Ask for the leases on which it depends whether these statements may be written.

        A file's lock keeps others from taking a thread over until the transaction is committed: so a claim
        that is sure stays so, unless it may be ended. Elsewhere the lease's row is locked for that.
        """
        of_run, of_others = threads_of(statements)
        doubtful = [
            thread
            for thread in of_run
            if (claim := self._claim_of(thread)) and (self.may_be_ended or not self._is_sure(claim))
        ]
        threads = sorted({*doubtful, *of_others})
        return self._rows_of(threads, self._dialect.for_share) if threads else None

    def fence(self, statements: Sequence[Statement]) -> Statement | None:
        """Return a statement that fails unless all these runs hold their leases; None where none can tell."""
        of_run, of_others = threads_of(statements)
        claims = [(thread, claim) for thread in sorted(of_run) if (claim := self._claim_of(thread))]
        if of_others or not claims or not self._lost.keys().isdisjoint(of_run):
            return None
        held = " OR ".join(["thread_id = ? AND owner = ? AND epoch = ?"] * len(claims))
        locked = f"SELECT 1 FROM claims WHERE {held} ORDER BY thread_id{self._dialect.for_share}"
        values = [value for thread, claim in claims for value in (thread, claim.owner, claim.epoch)]
        all_held = "CASE WHEN count(*) = ? THEN 1 ELSE 0 END"
        return f"SELECT 1 / {all_held} FROM ({locked}) AS held", (len(claims), *values)

    def refused(self, statements: Sequence[Statement], rows: Rows) -> Problems:
        """Return why threads may not be written to."""
        if not rows and not self._lost and not self.may_be_ended:
            return {}  # so at nearly every commit: nothing is looked at for it
        of_run, of_others = threads_of(statements)
        problems: dict[tuple[str, bool], ThreadBusy] = {}
        by_thread = {row["thread_id"]: row for row in rows}
        for thread in of_run:
            claim, row = self._claim_of(thread), by_thread.get(thread)
            unasked = row is None and not self.may_be_ended
            if claim is not None and not unasked and (row is None or not claim.is_in(row)):
                self._lose({thread: claim}, TAKEN_OVER)
            try:
                self._refuse_lost(thread)
            except ClaimLost as lost:
                problems[thread, True] = lost
        for thread in of_others & by_thread.keys():
            if self._is_live(by_thread[thread]):
                problems[thread, False] = busy(by_thread[thread])
        return problems

    # Renewing

    def close(self) -> None:
        """Release all claims of this session."""
        self._stop.set()
        for thread_id in list(self._held):
            self.release(thread_id)
        if self._renewer is not None:
            self._renewer.join(2)
        self.owner.close()

    def _renew(self) -> None:
        stop = self._stop
        while not stop.wait(self.renew_s):
            if self._held:
                with suppress(StoreError):  # told to whoever next asks for the claim
                    self._renew_all()

    def _renew_all(self) -> None:
        """Renew all claims; one that is not there any more is lost."""
        held = dict(self._held)
        renewed = {thread_id: claim.renewed() for thread_id, claim in held.items()}
        rows = self._journal.transact(lambda transaction: self._prolong(transaction, held))
        alive = {row["thread_id"] for row in rows if held[row["thread_id"]].is_in(row)}
        self.renewals += len(alive)
        with self._lock:
            for thread_id in alive:
                if self._held.get(thread_id) is held[thread_id]:
                    self._held[thread_id] = renewed[thread_id]
        self._lose(
            {thread_id: claim for thread_id, claim in held.items() if thread_id not in alive}, TAKEN_OVER
        )

    def _prolong(self, transaction: Transaction, held: Mapping[str, Claim]) -> Rows:
        rows: Rows = []
        claims = sorted(held.items())
        for start in range(0, len(claims), AT_ONCE):
            some = claims[start : start + AT_ONCE]
            marks = ", ".join("?" * len(some))
            # Each claim has an owner of its own. One that was ended is not begun again.
            mine = f"thread_id IN ({marks}) AND owner IN ({marks}) AND expires_at > 0"
            locked = f"SELECT thread_id FROM claims WHERE {mine} ORDER BY thread_id{self._dialect.for_update}"
            which = [*(thread_id for thread_id, _ in some), *(claim.owner for _, claim in some)]
            rows += transaction.execute(
                f"UPDATE claims SET expires_at = {self._dialect.now} + ? WHERE thread_id IN ({locked}) "
                "RETURNING thread_id, owner, epoch",
                (self.lifetime_s, *which),
            )
        return rows

    def _lose(self, claims: Mapping[str, Claim], why: str) -> None:
        with self._lock:
            for thread_id, claim in claims.items():
                now = self._claim_of(thread_id)
                if now is not None and now.owner == claim.owner:
                    self._journal.new_threads.end(thread_id)
                    self._held.pop(thread_id, None)
                    self._released.pop(thread_id, None)
                    self._lost[thread_id] = why

    def after_fork(self) -> None:
        """Begin anew in a forked child: the runs that were under way are its parent's."""
        mine = list(self._held)
        self._begin()
        self._lost = dict.fromkeys(mine, "it was forked from the one that runs it")
        self.owner.close(forked=True)
