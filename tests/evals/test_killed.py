"""Kill -9 in the middle of a suite, more than once: no finished trial runs again, the report is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepgraph.evals.files.results import Results, read_results
from stepgraph.evals.report.summary import summarise

from .living import run

ROOT = Path(__file__).parents[2]
TRIALS = int(os.environ.get("STEPGRAPH_TEST_TRIALS", "60"))


def killed_after(folder: Path, trials: int) -> None:
    """Run the suite in a process, and kill it as soon as so many trials are finished."""
    command = [sys.executable, "-m", "tests.evals.living", str(folder), str(TRIALS), "0.02"]
    with subprocess.Popen(command, cwd=ROOT) as process:
        while finished(folder) < trials:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def finished(folder: Path) -> int:
    try:
        return (folder / "living.jsonl").read_text(errors="replace").count('"scores"')
    except OSError:
        return 0


def figures(results: Results) -> Any:
    """Return a report without what a clock says."""
    report = summarise(results)
    trials = [replace(trial, seconds=0.0) for trial in report.trials]
    rulings = [(ruling.status, ruling.measured) for ruling in report.gates]
    return trials, report.metrics, report.confusions, report.rounds, report.cost, rulings


@pytest.mark.slow
def test_a_killed_suite_goes_on_and_reports_the_same(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    for share in (0.2, 0.6):
        killed_after(killed, int(TRIALS * share))
        before = {trial.thread for trial in read_results(killed / "living.jsonl").trials.values()}
        asked = Counter((killed / "asked").read_text().splitlines())
        assert before
    results = run(killed, TRIALS, 0.0)
    uninterrupted = run(whole, TRIALS, 0.0)

    assert results.complete
    assert figures(results) == figures(uninterrupted)
    lines = (killed / "living.jsonl").read_text().splitlines()
    assert sum('"scores"' in line for line in lines) == TRIALS

    now = Counter((killed / "asked").read_text().splitlines())
    again = {line.split()[0] for line, count in (now - asked).items() if count}
    assert not before & again
    # Paid twice is only what was under way when it was killed: 8 trials at a time, twice.
    once = Counter((whole / "asked").read_text().splitlines())
    assert sum((now - once).values()) <= 16
