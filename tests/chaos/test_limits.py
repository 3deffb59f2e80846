"""Four processes under one limit of an endpoint, counted there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_four_processes_keep_to_the_limits_of_an_endpoint_together() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.limits", "--calls", "48", "--per-minute", "720", "--late", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rate, slots = map(json.loads, done.stdout.splitlines())
    assert rate["calls"] == 48
    assert slots["most"] <= 8
