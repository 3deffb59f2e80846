"""Servers as child processes on loopback: as an ordinary user, and gone when their starter is gone."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# Runs as its own small program and then becomes the server: no code of ours runs between fork and exec.
# A changed user id clears the death signal (prctl 1), so it is set last. The parent may be gone by then.
_BECOME = """
import ctypes, os, sys
parent, user, group, death, *command = sys.argv[1:]
if user != "-":
    os.setgroups([])
    os.setgid(int(group))
    os.setuid(int(user))
if death != "0" and sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(death), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(1)
os.execv(command[0], command)
"""
_PREFIX = "stepgraph-cluster-"


class ServerFailed(RuntimeError):
    """A server did not start, or ended at once; the message has the end of its log."""


def ordinary_user() -> tuple[int, int] | None:
    """Return the user and group to run servers as; None where we are an ordinary user ourselves."""
    if os.getuid():
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise ServerFailed("Postgres refuses to run as root, and there is neither a user postgres nor nobody.")


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def own_folder() -> Path:
    """Make a folder for servers' data that their user may enter, named after this process.

    It also removes the folders of processes that were killed before they could.
    """
    base = Path(tempfile.gettempdir())
    for leftover in base.glob(f"{_PREFIX}*"):
        owner = leftover.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not is_alive(int(owner)):
            shutil.rmtree(leftover, ignore_errors=True)
    return give(Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")))


def give(path: Path) -> Path:
    """Hand a file or folder to the user that the servers run as."""
    if user := ordinary_user():
        os.chown(path, *user)
    return path


def is_alive(pid: int) -> bool:
    """Say whether the process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def running_pid(folder: Path, name: str) -> int | None:
    """Return the pid in a server's pid file, if it is still the server's: numbers are used again."""
    try:
        pid = int((folder / f"{name}.pid").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    listed = subprocess.run(  # noqa: S603 - our own list, no shell
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607 - wherever the system has it
        capture_output=True,
        text=True,
        check=False,
    )
    return pid if str(folder) in listed.stdout else None


def command_of(program: str | Path, *arguments: str, death: int = 0) -> list[str]:
    """Return the command that runs a program as the ordinary user; `death` is its signal when we die."""
    executable = shutil.which(program)
    if executable is None:
        raise ServerFailed(f"There is no program {program}.")
    user, group = ordinary_user() or ("-", "-")
    become = [str(os.getpid()), str(user), str(group), str(int(death)), executable]
    return [sys.executable, "-I", "-S", "-c", _BECOME, *become, *arguments]


class Server:
    """One server process with its log, and a pid file beside it.

    A `tied` server ends when this process ends, even by kill -9; another one lives until somebody ends it by
    the pid in its file.
    """

    def __init__(self, name: str, folder: Path, *, tied: bool = True, death: int = signal.SIGKILL) -> None:
        self.name, self.folder, self.tied, self.death = name, folder, tied, death
        self.log = folder / f"{name}.log"
        self.pid_file = folder / f"{name}.pid"
        self.process: subprocess.Popen[bytes] | None = None

    def launch(
        self,
        program: str | Path,
        arguments: Sequence[str],
        is_ready: Callable[[], bool],
        within_s: float = 60,
    ) -> None:
        """Start it and wait until it serves."""
        command = command_of(program, *arguments, death=self.death if self.tied else 0)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own list, no shell
                command,
                cwd=self.folder,
                env={**os.environ, "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid_file.write_text(f"{self.process.pid}\n", encoding="utf-8")
        ends = time.monotonic() + within_s
        while not is_ready():
            if self.process.poll() is not None or time.monotonic() > ends:
                self.signal(signal.SIGKILL)
                log_end = self.log.read_text(encoding="utf-8", errors="replace")[-1500:]
                raise ServerFailed(
                    f"The server {self.name} does not start. The end of {self.log}:\n{log_end}"
                )
            time.sleep(0.02)

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int, within_s: float = 30) -> None:
        """Send a signal that ends it, and wait for the end."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        self.pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.signal(signal.SIGKILL)


def listens(port: int) -> bool:
    """Say whether somebody answers at a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
