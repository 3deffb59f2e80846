"""A small seed of the campaign against the batch lane: four kills, and nothing is handed in twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_killed_batch_is_found_again_and_nothing_is_handed_in_twice() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.batches", "--kills", "4", "--seed", "3"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resubmitted=0, lost=0, live=0, wrong=0" in done.stdout
