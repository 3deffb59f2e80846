"""Opens SQLite files with safe settings, and explains their errors.

WAL with synchronous=NORMAL: a commit survives the death of the process, and a loss of power can
undo only the last moments, never the file. Writers wait for each other: at first briefly in place,
because a commit takes well under a millisecond, then in a thread, so that no event loop stands still.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..errors import StoreError
from ..event_loops import aside, begin_in_thread
from ..private_files import create_private, make_folder, tell_if_open
from .forking import WAIT_S, Forked, tracked

R = TypeVar("R")

BRIEF_WAIT_S = 0.02
LOCK_WAIT_S = 30.0


class Reopened(Forked):
    """A connection that is closed before its process forks, and opened again when it is next used.

    `lock` is held by whoever uses it; `begin` is called in a forked child.
    """

    def __init__(self, path: Path, lock: Callable[[], Any], begin: Callable[[], None]) -> None:
        self.path = path
        self._lock = lock
        self._begin = begin
        self._connection: sqlite3.Connection | None = connect(path)
        self._unfit = self._closed = self._held = False

    @property
    def connection(self) -> sqlite3.Connection:
        if self._unfit:
            raise StoreError(
                f"This process was forked while {self.path} was being written. Open a new Session in it."
            )
        if self._connection is None:
            if self._closed:
                raise StoreError(f"The session of {self.path} is closed. Open a new one.")
            self._connection = connect(self.path, create=False)
        return self._connection

    def before_fork(self) -> None:
        self._held = not self._closed and self._lock().acquire(timeout=WAIT_S)
        if self._held and self._connection is not None and not self._connection.in_transaction:
            self._connection.close()
            self._connection = None

    def after_fork_in_parent(self) -> None:
        if self._held:
            self._lock().release()

    def after_fork(self) -> None:
        self._unfit = not self._closed and self._connection is not None
        self._begin()

    def close(self) -> None:
        """Close the connection for good."""
        self._closed = True
        if self._connection is not None and not self._unfit:
            self._connection.close()
            self._connection = None


def put_down(path: Path) -> None:
    """Close this process's connections to a file, for a moment: each is opened again when it is used."""
    ours = [member for member in tracked() if isinstance(member, Reopened) and member.path == path]
    for member in ours:
        member.before_fork()
    for member in ours:
        member.after_fork_in_parent()


def connect(path: Path, *, read_only: bool = False, create: bool = True) -> sqlite3.Connection:
    """Open the file, and create it unless it is only read. Raises StoreError with the reason."""
    if read_only and not path.exists():
        raise StoreError(f"There is no file {path}. Runs are kept in it once a graph has run.")
    try:
        if create and not read_only:
            make_folder(path.parent)
            create_private(path)
        tell_if_open(path)
        mode = "ro" if read_only else "rwc" if create else "rw"
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            check_same_thread=False,
            timeout=BRIEF_WAIT_S,
        )
    except (sqlite3.Error, OSError) as error:
        raise explained(error, path) from None
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not read_only:
            retrying(lambda: connection.execute("PRAGMA journal_mode=WAL").fetchone(), path)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if is_busy(error):
            return connection
        connection.close()
        raise explained(error, path) from None
    return connection


def explained(error: Exception, path: Path) -> StoreError:
    """Return the StoreError that says what is wrong with the file and what to do next."""
    text = str(error).rstrip(".")
    if "not a database" in text:
        return StoreError(f"{path} is not a SQLite database. Name another file, or move this one away.")
    if "malformed" in text or isinstance(error, UnicodeDecodeError):
        return StoreError(
            f"{path} is damaged ({text}). `sqlite3 {path} .recover` can save what is left of it."
        )
    if "readonly" in text or isinstance(error, PermissionError):
        return StoreError(f"{path} cannot be written: {text}. Name a file in a writable folder.")
    if "full" in text or "No space left" in text:
        return StoreError(f"{path}: the disk is full. Free some space, then resume the thread.")
    if "unable to open" in text or isinstance(error, OSError):
        return StoreError(f"{path} cannot be opened: {text}. Check that its folder exists and is writable.")
    if "locked" in text or "busy" in text:
        return StoreError(
            f"{path} was locked by another process for {LOCK_WAIT_S:.0f} s. Nothing was lost: "
            "close the program that holds it, then resume the thread."
        )
    return StoreError(f"{path}: {text}.")


def is_busy(error: Exception) -> bool:
    """Tell whether another connection holds the lock."""
    return isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "busy" in str(error))


def unhindered(work: Callable[[], R]) -> R:
    """Do the work in place, or in a thread where the server forbids its event loop to touch files.

    `langgraph dev` does: each such call raises a BlockingError, before anything has happened.
    """
    try:
        return work()
    except Exception as error:
        if not is_forbidden(error):
            raise
    return aside(work)


def quietly(work: Callable[[], None]) -> None:
    """Do the work where nobody hears an error: in a callback of an event loop."""
    with suppress(StoreError):
        work()


def is_forbidden(error: BaseException) -> bool:
    """Tell whether a server's watch over its event loop let a call not happen."""
    return type(error).__name__ == "BlockingError"


def retrying(work: Callable[[], R], path: Path) -> R:
    """Do the work; wait up to LOCK_WAIT_S for a lock that another connection holds."""
    return unhindered(partial(_retry, work, path))


def _retry(work: Callable[[], R], path: Path) -> R:
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return work()
        except sqlite3.Error as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise explained(error, path) from None
            time.sleep(0.05)


async def aretrying(work: Callable[[], R], path: Path) -> R:
    """Do the work in place, or in a thread if a lock delays it."""
    try:
        return work()
    except sqlite3.Error as error:
        if not is_busy(error):
            raise explained(error, path) from None
    except Exception as error:
        if not is_forbidden(error):
            raise
    return await asyncio.to_thread(retrying, work, path)


def beginning(work: Callable[[], R], path: Path) -> Future[R]:
    """Do the work in place, or begin it in a thread if a lock delays it; return what tells how it ended."""
    done: Future[R] = Future()
    try:
        done.set_result(work())
    except Exception as error:
        if is_busy(error) or is_forbidden(error):
            return begin_in_thread(lambda: retrying(work, path))
        done.set_exception(explained(error, path) if isinstance(error, sqlite3.Error) else error)
    return done
