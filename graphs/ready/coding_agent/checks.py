"""The tests of a project: how they are run, in the sandbox, and what they say."""

from __future__ import annotations

import os
import re
import shlex
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ....nodes.code_folders import files_of
from ....nodes.sandboxes import Limits, SandboxResult, run_command
from ....state.errors import InputError
from ....state.event_loops import in_thread
from ....state.serde import allow
from .project import copy_of, is_test

LIMITS = Limits(seconds=300, memory_mb=4096, files_mb=512, processes=128, output_chars=2_000_000)
MAX_SHOWN = 4000
PYTEST = "python -m pytest -q --tb=short -p no:cacheprovider"
UNITTEST = "python -m unittest discover -v"
NODE = "node --test"

_UNITTEST = re.compile(r"^Ran (\d+) tests? in .*\n\n(OK|FAILED)(?: \((.*)\))?", re.MULTILINE)
_SUMS_UP = re.compile(r"\b(pytest|unittest|node --test|cargo test)\b")


@dataclass(frozen=True)
class TestReport:
    """How the tests of a project went: `ran` is False where it has none; `refused` counts edits not made.

    They run in the process of the code that they test: a pass tells right code from wrong code, not from code
    that cheats.
    """

    __test__ = False  # for pytest: this is no test

    ok: bool
    passed: int = 0
    failed: int = 0
    output: str = ""
    ran: bool = True
    refused: int = 0

    def __str__(self) -> str:
        if not self.ran:
            return "there are no tests"
        total = self.passed + self.failed
        counted = f"{self.passed} of {total} tests pass" if total else "no test passes"
        return counted if self.ok or total > self.passed else f"{counted}, but the test command fails"


allow(TestReport)


def command_of(root: Path, command: str) -> str:
    """Return a project's test command: the given one, or by its files. Raises InputError for none."""
    if command.strip():
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise InputError(f"test={command!r} is no command: {error}.") from None
        if not words:
            raise InputError(f"test={command!r} is no command.")
        return command.strip()
    files = files_of(root)
    tests = [file for file in files if is_test(file)]
    if any(file.endswith(".py") for file in tests):
        return PYTEST if find_spec("pytest") is not None else UNITTEST
    if any(file.endswith((".js", ".mjs", ".cjs")) for file in tests):
        return NODE
    if "Cargo.toml" in files:
        return "cargo test"
    if "go.mod" in files:
        return "go test ./..."
    return ""


async def run_tests(
    root: Path, changed: Mapping[str, str | None], command: str, packages: Sequence[str] = ()
) -> TestReport:
    """Run the tests on the project with the changes in it, in the sandbox."""
    if not command:
        return TestReport(ok=True, ran=False)
    copy = await in_thread(copy_of, root, changed)
    folders = [Path(folder) for folder in packages]
    if not folders and command.startswith("python"):
        folders = [Path(sysconfig.get_path("purelib"))]
    ran = await run_command(
        copy.files,
        shlex.split(command),
        LIMITS,
        packages=folders,
        environment={"PYTEST_ADDOPTS": "-p no:stepgraph", "CI": "1", "NO_COLOR": "1"},
        isolated=os.environ.get("STEPGRAPH_SANDBOX", "") != "limits",
    )
    report = read_report(ran, command)
    if copy.left_out and not report.ok:
        note = f"\n(Too large to be copied for the tests: {', '.join(copy.left_out[:5])})"
        report = TestReport(report.ok, report.passed, report.failed, report.output + note)
    return report


def read_report(ran: SandboxResult, command: str) -> TestReport:
    """Return what a run of the tests says. A run that ends before its tests have summed up does not pass."""
    counts = _counts(ran.output)
    output = ran.output[-MAX_SHOWN:]
    if ran.why:
        output += f"\nThe tests were stopped: {ran.why}."
    passed, failed = counts or (0, 0)
    if counts is None and ran.ok and _SUMS_UP.search(command):
        return TestReport(ok=False, output=f"{output}\nThe run ended before the tests were summed up.")
    if counts is None and ran.ok:
        passed = 1
    return TestReport(ran.ok and passed > 0 and not failed, passed, failed, output.strip())


def _counts(output: str) -> tuple[int, int] | None:
    summaries = [*_UNITTEST.finditer(output)]
    if summaries:
        bad = sum(int(number) for number in re.findall(r"(?:failures|errors)=(\d+)", summaries[-1][3] or ""))
        return max(0, int(summaries[-1][1]) - bad), bad
    tail = output[-2000:]
    last = next((line for line in reversed(tail.splitlines()) if re.search(r"\bin [\d.]+s\b", line)), None)
    if last is not None and re.search(r"\d+ (?:passed|failed|errors?|skipped)\b|no tests ran", last):
        return _sum(r"(\d+) passed", last), _sum(r"(\d+) (?:failed|errors?)\b", last)
    if re.search(r"^[#ℹ] pass \d+$", tail, re.MULTILINE):
        return _sum(r"^[#ℹ] pass (\d+)$", tail), _sum(r"^[#ℹ] (?:fail|cancelled) (\d+)$", tail)
    if re.search(r"^test result: ", output, re.MULTILINE):
        return _sum(r"^test result: .*?(\d+) passed", output), _sum(r"^test result: .*?(\d+) failed", output)
    return None


def _sum(pattern: str, text: str) -> int:
    return sum(int(number) for number in re.findall(pattern, text, re.MULTILINE))
