"""A small seed of the campaign: a few kills, four processes on one file, a lock held elsewhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ..warm import run_python

ROOT = Path(__file__).parents[2]


def campaign(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the campaign in a process of its own: it forks, which a process with threads should not."""
    return run_python("-m", "tests.chaos.campaign", *options, cwd=ROOT)


def test_a_killed_run_goes_on_and_pays_for_nothing_twice() -> None:
    names = [
        "refine",
        "fan-out of 50, cap 8",
        "interrupt",
        "nested, locks",
        "fallback",
        "section of patterns",
    ]
    scenarios = [option for name in names for option in ("--scenario", name)]
    done = campaign("--kills", "8", "--seed", "3", "--soak", "0", "--lock", "0", *scenarios)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all " in done.stdout


def test_processes_share_a_file_and_wait_for_its_lock() -> None:
    done = campaign("--kills", "0", "--soak", "5", "--lock", "3")
    assert done.returncode == 0, done.stdout + done.stderr
