"""`stepgraph run` with the input that a thread was given already, and `--restart`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Command

ONCE = """
from pathlib import Path
from memo import Memo, shorten
from stepgraph import chain

def fails_once(memo: Memo) -> dict[str, int]:
    if not Path("failed").exists():
        Path("failed").touch()
        raise ValueError("once")
    return {"count": 1}

graph = chain(shorten, fails_once, name="once")
"""


@pytest.mark.parametrize("restart", [False, True])
def test_the_command_goes_on_or_restarts(
    command: Command,
    memo: Any,
    tmp_path: Path,
    restart: bool,
) -> None:
    (tmp_path / "once.py").write_text(ONCE)
    words = ("run", "once.py:graph", "-i", "text=x", "--thread", "t")
    assert command(*words).code == 1
    assert command(*words, *["--restart"] * restart, "--json").rows[0]["status"] == "done"
    assert memo.calls == 1 + restart
    assert command(*words, "--restart").code == 2  # it has ended
    assert command("run", "once.py:graph", "-i", "text=y", "--thread", "t", "--restart").code == 2
    assert memo.calls == 1 + restart
