"""A few moments of the campaign: a call under way, the end of a node, and a file's move into its place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_killed_agent_goes_on_and_writes_and_pays_for_nothing_twice() -> None:
    moments = [word for name in ("call 2", "os.rename") for word in ("--only", name)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.coding.agent_kills", *moments],
        cwd=ROOT,
        env={**os.environ, "STEPGRAPH_SANDBOX": "limits"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("2 moments")
