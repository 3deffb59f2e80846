"""Claims on threads: one owner runs a thread at a time, and an owner that lost its claim stops.

A process can stand still for longer than its claim lives: under Ctrl-Z or a debugger, with its machine
suspended. Then another takes the thread over. So before each paid call, and inside each transaction that
writes for a run, the claim is held against the clock, and renewed on the spot where it could have lapsed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..errors import ClaimLost, StoreError, ThreadBusy
from .dialect import Rows, Transaction
from .forking import Forked, track
from .journal import Journal
from .owners import Owner
from .records import Statement, ThreadStatement

LIFETIME_S = 15.0
RENEW_S = 5.0
TAKEN_OVER = "it stood still for too long, and another process has taken it over"


@dataclass
class _Claim:
    """One claim of this session, and when it was surely held, by both clocks.

    One clock stands still while the machine sleeps, the other may be set.
    """

    owner: str
    on_clock: float = field(default_factory=time.time)
    ticking: float = field(default_factory=time.monotonic)

    def is_sure(self) -> bool:
        """Tell whether nobody can have taken the thread over since."""
        passed = max(time.monotonic() - self.ticking, time.time() - self.on_clock)
        return passed < LIFETIME_S - RENEW_S


class Claims(Forked):
    """The claims of one session, renewed while it is open.

    The claim of a dead process ends at once on its own machine, elsewhere when it expires.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._owner = Owner(journal.store.file)
        self._begin()
        journal.store.guard = self.refused
        track(self)

    def _begin(self) -> None:
        self._held: dict[str, _Claim] = {}
        self._lost: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None

    def acquire(self, thread_id: str) -> None:
        """Claim a thread for a run. Raises ThreadBusy while another owner runs it."""
        name = self._owner.new_name()
        claim = self._journal.transact(lambda transaction: self._take(transaction, thread_id, name))
        with self._lock:
            self._held[thread_id] = claim
            self._lost.pop(thread_id, None)
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._renew, name="stepgraph-claims", daemon=True)
                self._renewer.start()

    def _take(self, transaction: Transaction, thread_id: str, name: str) -> _Claim:
        claim = _Claim(name)
        transaction.execute(
            "DELETE FROM claims WHERE thread_id = ? AND expires_at < ?", (thread_id, time.time())
        )
        for row in _rows(transaction, thread_id):
            if self._owner.lives(row):
                raise _busy(row)
            transaction.execute("DELETE FROM claims WHERE thread_id = ?", (thread_id,))
            self._owner.forget(row)
        if name.endswith(".1"):  # the first one of this session
            self._owner.sweep(row["owner"] for row in transaction.execute("SELECT owner FROM claims"))
        names = "thread_id, owner, host, pid, expires_at, machine, process"
        mine = self._owner.row(thread_id, name, claim.on_clock + LIFETIME_S)
        transaction.execute(f"INSERT INTO claims ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", mine)
        return claim

    def check(self, thread_id: str) -> None:
        """Raise ClaimLost if the run of a thread here is not ours any more; call it before you pay.

        A thread that is not run here, as one of calls outside of any graph, passes.
        """
        if not self._is_sure(thread_id):
            self._renew_all()
        self._refuse_lost(thread_id)

    async def acheck(self, thread_id: str) -> None:
        """Like `check`, and no event loop stands still while the file is locked."""
        if not self._is_sure(thread_id):
            await asyncio.to_thread(self._renew_all)
        self._refuse_lost(thread_id)

    def _is_sure(self, thread_id: str) -> bool:
        claim = self._held.get(thread_id)
        return claim is None or claim.is_sure()

    def _refuse_lost(self, thread_id: str) -> None:
        why = self._lost.get(thread_id)
        if why is not None:
            raise ClaimLost(
                f"The thread {thread_id!r} is no longer run by this process: {why}. Nothing more is paid for "
                "or written here. What was paid for is on record."
            )

    def refused(self, transaction: Transaction, statements: Iterable[Statement]) -> dict[str, ThreadBusy]:
        """Return why threads may not be written to; called with the statements' transaction still open.

        Its lock keeps everybody else from taking a thread over until it is committed.
        """
        problems: dict[str, ThreadBusy] = {}
        guarded = [statement for statement in statements if isinstance(statement, ThreadStatement)]
        of_run = {statement.thread_id for statement in guarded if statement.of_run}
        for thread in of_run:
            claim = self._held.get(thread)
            if claim is not None and not claim.is_sure() and not _is_there(transaction, thread, claim.owner):
                self._lose([thread], TAKEN_OVER)
            try:
                self._refuse_lost(thread)
            except ClaimLost as lost:
                problems[thread] = lost
        for thread in {statement.thread_id for statement in guarded if not statement.of_run}:
            for row in _rows(transaction, thread):
                if row["expires_at"] >= time.time() and self._owner.lives(row):
                    problems[thread] = _busy(row)
        return problems

    def is_run(self, thread_id: str) -> bool:
        """Tell whether an owner, here or elsewhere, is running a thread."""
        sql = "SELECT owner, host, pid, machine, process FROM claims WHERE thread_id = ? AND expires_at > ?"
        rows = self._journal.query(sql, (thread_id, time.time()))
        return any(self._owner.lives(row) for row in rows)

    def release(self, thread_id: str) -> None:
        """Release a claim of this session."""
        with self._lock:
            claim = self._held.pop(thread_id, None)
        if claim is not None:
            gone = "DELETE FROM claims WHERE thread_id = ? AND owner = ?"
            self._journal.add_later((gone, (thread_id, claim.owner)))
            self._journal.try_flush()

    def close(self) -> None:
        """Release all claims of this session."""
        self._stop.set()
        for thread_id in list(self._held):
            self.release(thread_id)
        if self._renewer is not None:
            self._renewer.join(2)
        self._owner.close()

    def _renew(self) -> None:
        stop = self._stop
        while not stop.wait(RENEW_S):
            if self._held:
                with suppress(StoreError):  # told to whoever next asks for the claim
                    self._renew_all()

    def _renew_all(self) -> None:
        """Renew all claims; one that is not there any more is lost."""
        held = dict(self._held)
        now = {thread_id: _Claim(claim.owner) for thread_id, claim in held.items()}

        def renew(transaction: Transaction) -> list[str]:
            sql = "UPDATE claims SET expires_at = ? WHERE thread_id = ? AND owner = ? RETURNING owner"
            return [
                thread_id
                for thread_id, claim in now.items()
                if not transaction.execute(sql, (claim.on_clock + LIFETIME_S, thread_id, claim.owner))
            ]

        gone = self._journal.transact(renew)
        with self._lock:
            lost = [thread_id for thread_id in gone if self._held.get(thread_id) is held[thread_id]]
            for thread_id, claim in now.items():
                if thread_id not in gone and self._held.get(thread_id) is held[thread_id]:
                    self._held[thread_id] = claim
        self._lose(lost, TAKEN_OVER)

    def _lose(self, threads: Collection[str], why: str) -> None:
        with self._lock:
            for thread_id in threads:
                if self._held.pop(thread_id, None) is not None:
                    self._lost[thread_id] = why

    def after_fork(self) -> None:
        """Begin anew in a forked child: the runs that were under way are its parent's."""
        mine = list(self._held)
        self._begin()
        self._lost = dict.fromkeys(mine, "it was forked from the one that runs it")
        self._owner.close(forked=True)


def _rows(transaction: Transaction, thread_id: str) -> Rows:
    names = "thread_id, owner, host, pid, expires_at, machine, process"
    return transaction.execute(f"SELECT {names} FROM claims WHERE thread_id = ?", (thread_id,))


def _is_there(transaction: Transaction, thread_id: str, owner: str) -> bool:
    return any(row["owner"] == owner for row in _rows(transaction, thread_id))


def _busy(row: dict[str, Any]) -> ThreadBusy:
    return ThreadBusy(
        f"The thread {row['thread_id']!r} is being run by process {row['pid']} on {row['host']}. Wait "
        "until it has ended, or stop it; then go on. A run beside it needs another thread."
    )
