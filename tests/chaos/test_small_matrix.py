"""A small seed of the kill matrix, in both stores; `make chaos-cluster` runs 500 kills on all engines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.postgres import find_programs

ROOT = Path(__file__).parents[2]


@pytest.mark.xdist_group("cluster")
def test_a_run_survives_what_ends_its_process() -> None:
    both = find_programs() is not None or "CI" in os.environ
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.chaos.cluster",
            "--kills",
            "8",
            "--seed",
            "5",
            "--cells",
            "resume/*" if both else "resume/sqlite/*",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resume/sqlite/zombie" in done.stdout
    assert "resume/postgres/call" in done.stdout or not both
