"""A small seed of the kill matrix: a few kills in each store; `make chaos-cluster` runs 500."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.postgres import find_programs

ROOT = Path(__file__).parents[2]


@pytest.mark.xdist_group("cluster")
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_a_run_survives_what_ends_its_process(store: str) -> None:
    if store == "postgres" and find_programs() is None and not os.environ.get("CI"):
        pytest.skip("there is no Postgres on this machine")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.chaos.cluster",
            "--kills",
            "5",
            "--seed",
            "5",
            "--cells",
            f"resume/{store}/*",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"resume/{store}/zombie" in done.stdout
