"""Who owns a claim: a process that can be told from every other one, and whether it still lives.

The sure sign of life is a lock on a file beside the database: the system frees it when the process ends,
however it ends and whatever its number is, and shows it across containers. Where a file system has no such
locks, the process is known by its number, its start and the start of its machine.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from glob import escape
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Owner:
    """One session, as the owner of the claims that it makes on a database's threads.

    Nobody sees from elsewhere whether it lives: until they end, its claims say that it does.
    """

    def __init__(self) -> None:
        self._token = secrets.token_hex(6)
        self._claims = 0
        self._process: str | None = None
        self._making = threading.Lock()

    def new_name(self) -> str:
        """Return a name for one claim; from now on others can see that its owner lives."""
        with self._making:  # two threads that make one file would wait for each other's lock on it
            if not self._claims:
                self._show()
            self._claims += 1
            return f"{self._token}.{self._claims}"

    def worker_name(self) -> str:
        """Return a name for a worker of this session, by which others know which claims are its."""
        return f"worker-{self._token}-{secrets.token_hex(4)}"

    def _show(self) -> None:
        """Make a sign of life."""

    def row(self) -> dict[str, object]:
        """Return what a claim tells of its owner, by the columns of the table."""
        if self._process is None:
            self._process = process_of()
        return {
            "host": host_name(),
            "pid": os.getpid(),
            "machine": this_machine(),
            "process": self._process,
        }

    def lives(self, claim: Mapping[str, Any]) -> bool:
        """Tell whether the owner of a claim may still live, as far as can be seen from here."""
        return True

    def can_see(self, claim: Mapping[str, Any]) -> bool:
        """Tell whether `lives` is sure of what it says."""
        return False

    def forget(self, claim: Mapping[str, Any]) -> None:
        """Delete what a dead owner left."""

    def sweep(self, owners: Iterable[str]) -> None:
        """Delete what the dead left, but for `owners`, whose claims still say that they live."""

    def close(self, *, forked: bool = False) -> None:
        """Give up the sign of life; a forked child only lets go of its copy, and is an owner of its own."""
        self._claims, self._token, self._process = 0, secrets.token_hex(6), None
        self._making = threading.Lock()  # a fork may have come while the parent held it


class FileOwner(Owner):
    """An owner of claims in a file: a lock on another file beside it shows that it lives."""

    def __init__(self, database: Path) -> None:
        super().__init__()
        self._database = database
        self._lock: int | None = None

    def _show(self) -> None:
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                self._lock = _create_locked(self._sign(self._token))

    def lives(self, claim: Mapping[str, Any]) -> bool:
        host, machine = claim["host"], claim["machine"]
        if machine != this_machine():
            # One host that is another machine was started anew. A claim of an older format has no machine.
            return host != host_name() or (machine is None and _is_alive(claim["pid"], None))
        held = self._is_held(self._sign(claim["owner"].partition(".")[0]))
        if held is not None and (machine is not None or host == host_name()):
            return held
        if host != host_name() or _space(claim["process"]) != _space(process_of()):
            return True  # in another container: it cannot be seen
        return _is_alive(claim["pid"], claim["process"])

    def can_see(self, claim: Mapping[str, Any]) -> bool:
        return bool(claim["machine"] == this_machine() or claim["host"] == host_name())

    def forget(self, claim: Mapping[str, Any]) -> None:
        with suppress(OSError):
            self._sign(claim["owner"].partition(".")[0]).unlink(missing_ok=True)

    def sweep(self, owners: Iterable[str]) -> None:
        """Delete the signs of the dead but for those of `owners`, whose claims still say that they lived."""
        alive = {self._sign(name.partition(".")[0]) for name in owners}
        for sign in self._database.parent.glob(f"{escape(self._database.name)}.owner-*"):
            if sign not in alive and fcntl is not None:
                with suppress(OSError):
                    handle = _locked(sign)
                    sign.unlink(missing_ok=True)  # while it is locked, so that nobody begins to live by it
                    os.close(handle)

    def close(self, *, forked: bool = False) -> None:
        if self._lock is not None:
            if not forked:
                with suppress(OSError):
                    self._sign(self._token).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None
        super().close(forked=forked)

    def _sign(self, token: str) -> Path:
        return self._database.with_name(f"{self._database.name}.owner-{token}")

    @staticmethod
    def _is_held(sign: Path) -> bool | None:
        """Tell whether the lock on a file is held, None if that cannot be known."""
        if fcntl is None:
            return None
        try:
            os.close(_locked(sign, shared=True))  # who looks at the same moment does not look alive
        except BlockingIOError:
            return True
        except OSError:
            return None
        return False


def session_of(worker: str) -> str | None:
    """Return how the names of the claims of a worker's session begin.

    None for a worker of an earlier version, whose name does not tell.
    """
    _, *parts = worker.split("-")
    return parts[0] if len(parts) == 2 else None


def _locked(path: Path, *, create: bool = False, shared: bool = False) -> int:
    """Open a file and lock it at once. Raises BlockingIOError if somebody else holds the lock."""
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _create_locked(path: Path) -> int:
    """Make a file and lock it. Others may look at it, or take it for a dead one's, before it is locked."""
    while True:
        try:
            handle = _locked(path, create=True)
        except BlockingIOError:
            continue
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)


@cache
def host_name() -> str:
    return socket.gethostname()


@cache
def this_machine() -> str | None:
    """Return what is another one after each start of the machine, where the system tells it."""
    return _read("/proc/sys/kernel/random/boot_id")


def process_of(pid: int | str = "self") -> str | None:
    """Return a process's number space and start, which no other process of this machine has."""
    status = _read(f"/proc/{pid}/stat")
    if status is None:
        return None
    state, *rest = status.rpartition(")")[2].split()
    if state in "ZX":  # dead, and nobody has asked how it ended
        return None
    try:
        space = Path(f"/proc/{pid}/ns/pid").stat().st_ino
    except OSError:
        space = Path("/proc/self/ns/pid").stat().st_ino  # of another user, but its number holds here
    return f"{space} {rest[18]}"


def _space(process: str | None) -> str | None:
    return None if process is None else process.partition(" ")[0]


def _is_alive(pid: int, process: str | None) -> bool:
    """Tell whether a process of this host lives; without its start, any process of that number counts."""
    if process is not None:
        return process_of(pid) == process
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
