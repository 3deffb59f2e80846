"""A few seeds of the campaign over random compositions; `make chaos` runs 300."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.chaos.compositions.building import Composition

from ..warm import run_python

ROOT = Path(__file__).parents[2]


def test_random_compositions_pay_nothing_twice_and_lose_nothing() -> None:
    words = ["--graphs", "5", "--seed", "1330"]
    done = run_python("-m", "tests.chaos.compositions", *words, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("5 graphs") == 1


def test_a_seed_gives_the_same_composition_in_every_process(tmp_path: Path) -> None:
    described = "from tests.chaos.compositions.building import Composition; from pathlib import Path; "
    described += "print(*Composition(7, Path('effects')).verbs)"
    other = subprocess.run(
        [sys.executable, "-c", described],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.split() == Composition(7, tmp_path / "effects").verbs
