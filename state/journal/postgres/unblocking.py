"""Ends what keeps others waiting while it stands still: a process that stopped while it sent a transaction.

What is sent arrives in pieces, and what it writes is locked. If the rest never comes, since its process is
stopped, its machine asleep or its network gone, the server waits for it, and holds these locks: nobody could
take the thread over, or charge a budget that threads share. No limit of Postgres ends that before version 17:
the one for idle transactions counts from the end of a round to the first word of the next one. So who waits
for long looks, over a connection of its own, whether such a process is in the way, and ends its connection.
Nothing of its transaction has happened then; if it lives, it connects again and sends it once more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing, suppress

import psycopg

from ...database import PostgresAddress
from ...errors import StoreError
from ...sheltered_lock import ShelteredLock
from .connecting import connect

LOOK_S = 0.4  # between looks at what is under way
STILL_S = 3.0  # so long after a statement began its process may say nothing more; see IDLE_MS, too
# In the midst of a round a backend is 'active', though it waits for its client. Other roles' are not seen,
# and what has no lock on a table of stepgraph's is somebody else's.
_END = (
    "SELECT pg_terminate_backend(still.pid) FROM pg_stat_activity AS still "
    "WHERE still.datname = current_database() AND still.usename = current_user AND still.state = 'active' "
    "AND still.wait_event_type = 'Client' AND still.wait_event IN ('ClientRead', 'ClientWrite') "
    "AND still.query_start < clock_timestamp() - make_interval(secs => $1) "
    "AND EXISTS (SELECT 1 FROM pg_locks AS has JOIN pg_class AS named ON named.oid = has.relation "
    "WHERE has.pid = still.pid AND named.relnamespace = to_regnamespace(quote_ident($2))) "
    "AND EXISTS (SELECT 1 FROM pg_stat_activity AS waits WHERE waits.datname = current_database() "
    "AND waits.wait_event_type = 'Lock' AND still.pid = ANY (pg_blocking_pids(waits.pid)))"
)


class Unblocking:
    """Looks, while something is under way, whether it stands; then it ends what stands still in its way."""

    def __init__(
        self, address: PostgresAddress, lock: ShelteredLock, is_under_way: Callable[[], bool]
    ) -> None:
        self._address = address
        self._lock = lock
        self._is_under_way = is_under_way
        self._rounds = 0
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Look after what has just been put under way; called with the lock."""
        self._rounds += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="stepgraph-unblocking", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._closed.set()

    def _round(self) -> int | None:
        """Return the number of the round that is under way, None if none is."""
        return self._rounds if self._is_under_way() else None

    def _look(self) -> None:
        before = None
        while not self._closed.wait(LOOK_S):
            with self._lock:
                now = self._round()
                if now is None and before is None:
                    self._thread = None
                    return
            if now is not None and now == before:
                with suppress(StoreError, psycopg.Error):
                    self._end_others(now)
            before = now

    def _end_others(self, stands: int) -> None:
        with closing(connect(self._address)) as connection:
            while self._round() == stands:
                connection.execute(_END, [STILL_S, self._address.schema])
                if self._closed.wait(LOOK_S):
                    return
