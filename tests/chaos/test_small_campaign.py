"""A few of the campaign's kills, a short soak and a short lock, as `make chaos` runs them by the hundred."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("--kills", "6", "--soak", "0", "--lock", "0"), ("--kills", "0", "--soak", "5", "--lock", "3")]
)
def test_nothing_is_paid_twice_lost_or_damaged(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.campaign", "--seed", "5", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
