"""Claims on threads: one owner runs a thread at a time."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from typing import Any

from ..errors import ThreadBusy
from .journal import Journal

LIFETIME_S = 15.0
RENEW_S = 5.0
_GONE = "DELETE FROM claims WHERE thread_id = ? AND owner = ?"


class Claims:
    """The claims of one session, renewed while it is open.

    The claim of a dead process ends at once on its own host, elsewhere when it expires.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._host = socket.gethostname()
        self._held: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None

    def acquire(self, thread_id: str) -> None:
        """Claim a thread for a run. Raises ThreadBusy while another owner runs it."""
        owner = secrets.token_hex(8)
        while True:
            now = time.time()
            take = (
                "INSERT INTO claims (thread_id, owner, host, pid, expires_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (thread_id) DO UPDATE SET owner = excluded.owner, host = excluded.host, "
                "pid = excluded.pid, expires_at = excluded.expires_at WHERE claims.expires_at < ?"
            )
            mine = (thread_id, owner, self._host, os.getpid(), now + LIFETIME_S, now)
            self._journal.write([(take, mine)])
            (row,) = self._journal.query("SELECT * FROM claims WHERE thread_id = ?", (thread_id,))
            if row["owner"] == owner:
                break
            if self._lives(row):
                raise ThreadBusy(
                    f"The thread {thread_id!r} is being run by process {row['pid']} on {row['host']}. Wait "
                    "until it has ended, or stop it; then go on. A run beside it needs another thread."
                )
            self._journal.write([(_GONE, (thread_id, row["owner"]))])
        with self._lock:
            self._held[thread_id] = owner
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._renew, name="stepgraph-claims", daemon=True)
                self._renewer.start()

    def is_run(self, thread_id: str) -> bool:
        """Tell whether an owner, here or elsewhere, is running a thread."""
        sql = "SELECT * FROM claims WHERE thread_id = ? AND expires_at > ?"
        rows = self._journal.query(sql, (thread_id, time.time()))
        return any(self._lives(row) for row in rows)

    def _lives(self, row: dict[str, Any]) -> bool:
        return row["host"] != self._host or _is_alive(row["pid"])

    def release(self, thread_id: str) -> None:
        """Release a claim of this session."""
        with self._lock:
            owner = self._held.pop(thread_id, None)
        if owner is not None:
            self._journal.add_later((_GONE, (thread_id, owner)))
            self._journal.try_flush()

    def close(self) -> None:
        """Release all claims of this session."""
        self._stop.set()
        for thread_id in list(self._held):
            self.release(thread_id)
        if self._renewer is not None:
            self._renewer.join(2)

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_S):
            with self._lock:
                owners = list(self._held.values())
            for owner in owners:
                later = time.time() + LIFETIME_S
                self._journal.add_later(("UPDATE claims SET expires_at = ? WHERE owner = ?", (later, owner)))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
