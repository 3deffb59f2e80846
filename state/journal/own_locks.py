"""Notices that this process lost SQLite's lock on a database that it has open, and takes it again.

On POSIX systems a process loses all its locks on a file when it closes any handle of that file: reading its
own database with open() is enough, or copying it. Then another process that closes the database takes itself
for the last one, and deletes the log. Linux tells which locks a process holds on the file of an open handle.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import StoreError
from .forking import WAIT_S
from .sqlite import put_down

LOOK_S = 1.0
TRIES = 5  # for it may be opened once more in between
_SHARED = "1073741826"  # where SQLite's shared lock begins, in every database
_healing = threading.Lock()


class OwnLocks:
    """The lock of this process on one database file; `use` opens the connection, where it is not open."""

    def __init__(self, path: Path, use: Callable[[], object]) -> None:
        self._path = path
        self._use = use
        self._handle = -1  # one of SQLite's: to open and close another would itself drop the lock
        self._is_told = self._is_held()  # else the system, or the file's, does not tell
        self._looked_at = time.monotonic()

    def check(self) -> None:
        """Take the lock again if it was lost. Raises StoreError where another connection is in the way."""
        if not self._is_told or time.monotonic() < self._looked_at + LOOK_S:
            return
        if not _healing.acquire(timeout=WAIT_S):
            return  # another thread is at it
        try:
            tries = 0
            while not self._is_surely_held():
                if tries == TRIES:
                    raise StoreError(
                        f"This process opened and closed {self._path} by itself, as open() or a copy of it "
                        "does, and so dropped SQLite's lock: others may delete the log of the database now. "
                        "Do that no more, close every other connection of this process to it, and begin a "
                        "new session. Copy a database with sqlite3's backup()."
                    )
                put_down(self._path)
                tries += 1
        finally:
            _healing.release()
        self._looked_at = time.monotonic()

    def _is_surely_held(self) -> bool:
        """Look more than once: what changes while it is read may hide another line."""
        return any(self._is_held() for _ in range(3))

    def _is_held(self) -> bool:
        self._use()
        try:
            identity = _identity(self._path.stat())
            if not _is_of(self._handle, identity):
                handles = (int(each.name) for each in Path("/proc/self/fd").iterdir())
                self._handle = next(each for each in handles if _is_of(each, identity))
            # Not /proc/locks, for which the kernel may take 10 ms after a pause.
            info = Path(f"/proc/self/fdinfo/{self._handle}").read_text(encoding="ascii", errors="replace")
        except (OSError, StopIteration):
            return False
        return any(line.startswith("lock:") and _SHARED in line.split() for line in info.splitlines())


def _is_of(handle: int, identity: tuple[int, int]) -> bool:
    try:
        return _identity(os.fstat(handle)) == identity
    except OSError:  # closed
        return False


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino
