"""A small run of the fuzzer; `make fuzz` does thousands of cases."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .fuzzing import Fuzzer, Watch, fuzz, report

WATCH = Watch()


@pytest.mark.parametrize("seed", [11, 12])
def test_hostile_files_do_no_harm(seed: int) -> None:
    """No traceback, no foreign code, no byte sent elsewhere, no file written outside, in whatever command.

    Nor an error that does not say which file, which row and what to do.
    """
    tally = fuzz(20, seed, WATCH)
    assert not tally.harm, report(tally)
    assert not tally.unexpected, report(tally)
    assert sum(tally.commands.values()) >= 60


def test_the_fuzzer_sees_harm(tmp_path: Path) -> None:
    """What it counts is what happens: code of another place, a file outside."""
    fuzzer = Fuzzer(1, WATCH)
    with fuzzer.running():
        os.chdir(fuzzer.base)
        WATCH.allowed = (str(fuzzer.base), "/dev/", "/proc/")
        fuzzer._watched(("run", f"{fuzzer.away}/bad.py:graph", "-i", "text=x"), "named by the user")
        fuzzer._watched(("export", "--to", str(tmp_path / "out.jsonl")), "named by the user")
    assert len(fuzzer.tally.ran) == 1
    assert any("out.jsonl" in what for what in fuzzer.tally.touched)
