"""The recipe for pull requests in docs/evals.md works as written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PAGE = (Path(__file__).parents[2] / "docs" / "evals.md").read_text(encoding="utf-8")
CASES = 12


def fence(title: str) -> str:
    found = re.search(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found.group(1)


def recipe() -> list[str]:
    """Return the commands of the recipe that are ours."""
    steps = yaml.safe_load(fence("evals.yml"))["jobs"]["evals"]["steps"]
    return [step["run"] for step in steps if step.get("run", "").startswith("stepgraph ")]


def run(line: str, folder: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", *shlex.split(line)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The page's workflow with a suite that compares with the main branch, and that branch's results."""
    (tmp_path / "desk.py").write_text(fence("desk.py"))
    suite = yaml.safe_load(fence("desk.eval.yaml"))
    suite["gates"] = [{"metric": "route", "not_worse": True}]
    suite["cases"] = [
        {"id": f"t{n}", "input": {"body": f"I was charged {n} times."}, "expect": {"route": "billing"}}
        for n in range(CASES)
    ]
    (tmp_path / "desk.eval.yaml").write_text(yaml.safe_dump(suite))
    code, told = run("stepgraph eval run desk.eval.yaml --run main --no-baseline", tmp_path)
    assert code == 0, told
    return tmp_path


@pytest.mark.slow
def test_a_pull_request_that_makes_routing_worse_fails_and_says_so(repository: Path) -> None:
    (line,) = recipe()
    desk = repository / "desk.py"
    desk.write_text(desk.read_text().replace('"charged"', '"paid"'))
    code, told = run(line, repository)
    assert code == 1, told
    report = (repository / "report.md").read_text()
    assert "| failed | route not worse than the baseline |" in report
    assert "it got worse, by more than chance explains" in report
    assert "expected billing, took technical" in report
    assert "<failure" in (repository / "report.xml").read_text()


@pytest.mark.slow
def test_a_pull_request_that_changes_nothing_passes(repository: Path) -> None:
    (line,) = recipe()
    code, told = run(line, repository)
    assert code == 0, told
