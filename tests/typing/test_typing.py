"""mypy --strict and pyright accept the files `passes_*.py` and reject exactly the marked lines of `fails.py`.

Both find stepgraph as a clone's reader does, through the links in its `stepgraph/` folder: the paths are
in `mypy.ini` and `pyrightconfig.json` here, relative, so the clone's own name does not matter.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".mypy_cache" / "typing"
MARK = "# expect-error"

PASSING = sorted(HERE.glob("passes_*.py"))
CASES = [*PASSING, *sorted(HERE.glob("fails*.py"))]

Errors = dict[str, dict[int, list[str]]]

pytestmark = pytest.mark.xdist_group("typing")


def run_tool(*arguments: str, tries: int = 2) -> str:
    """Run a tool of this environment here and return its output; 1 is its status for errors found.

    A checker that crashes ("INTERNAL ERROR") is asked once more.
    """
    ours = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=HERE, env=ours, capture_output=True, text=True, check=False
    )
    if "INTERNAL ERROR" in done.stdout + done.stderr and tries > 1:
        return run_tool(*arguments, tries=tries - 1)
    assert done.returncode in (0, 1), f"{arguments[0]} did not run:\n{done.stdout}{done.stderr}"
    return done.stdout


def errors_of_mypy() -> Errors:
    errors: Errors = defaultdict(lambda: defaultdict(list))
    names = [case.name for case in CASES]
    output = run_tool(
        "mypy", "--config-file", "mypy.ini", "--show-traceback", "--cache-dir", str(CACHE), *names
    )
    for name, line, problem in re.findall(r"^(\S+?):(\d+): error: (.*)$", output, re.MULTILINE):
        errors[name][int(line)].append(problem)
    return errors


def errors_of_pyright() -> Errors:
    errors: Errors = defaultdict(lambda: defaultdict(list))
    output = run_tool("pyright", "--outputjson", "--project", ".", "--pythonpath", sys.executable)
    report = json.loads(output)
    assert report["summary"]["filesAnalyzed"] >= len(CASES)
    for found in report["generalDiagnostics"]:
        if found["severity"] == "error":
            line = found["range"]["start"]["line"] + 1
            errors[Path(found["file"]).name][line].append(found["message"])
    return errors


@pytest.fixture(scope="module", params=[errors_of_mypy, errors_of_pyright], ids=["mypy", "pyright"])
def errors(request: pytest.FixtureRequest) -> Errors:
    check: Callable[[], Errors] = request.param
    return check()


def test_one_worker_has_the_whole_group(request: pytest.FixtureRequest) -> None:
    """Else each checker runs in every worker, and as many models on this machine at once."""
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("one process runs the tests, or they are not sent by groups")
    assert request.node.nodeid.endswith("@typing")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_exactly_the_marked_lines_have_errors(errors: Errors, case: Path) -> None:
    lines = case.read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith(MARK)}
    found = errors.get(case.name, {})
    accepted = [f"{case.name}:{number}: accepted: {lines[number - 1]}" for number in marked - found.keys()]
    rejected = [f"{case.name}:{number}: {found[number][0]}" for number in found.keys() - marked]
    assert not accepted + rejected, "\n".join(sorted(accepted + rejected))


@pytest.mark.slow
def test_no_other_file_has_errors(errors: Errors) -> None:
    assert set(errors) <= {case.name for case in CASES}


@pytest.mark.parametrize("case", PASSING, ids=lambda case: case.stem)
def test_what_passes_the_checkers_also_runs(case: Path) -> None:
    runpy.run_path(str(case))
