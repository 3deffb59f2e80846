"""A small seed of the histories of a shared budget, on a file and in Postgres."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.postgres import find_programs

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "options", [("--histories", "2"), ("--histories", "1", "--postgres")], ids=["file", "postgres"]
)
def test_four_processes_some_of_them_killed_spend_no_more_than_the_limit(options: tuple[str, ...]) -> None:
    if "--postgres" in options and find_programs() is None:
        pytest.skip("Postgres is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.budgets", "--seed", "4", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OVERSPENT 0, UNCOUNTED 0, FAILED 0" in done.stdout
