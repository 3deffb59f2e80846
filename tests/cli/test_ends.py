"""What `stepgraph run` says of a run that ended before its last part, and of answers that were cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..servers import Answer
from .conftest import Command

ENDING = """
from memo import Memo, shorten
from stepgraph import chain, end, gate

def worth_it(memo: Memo) -> bool | str:
    return len(memo.text) > 3 or "too short."

def whole(memo: Memo) -> dict[str, int]:
    return {"count": 1}

graph = chain(shorten, gate(worth_it, otherwise=end()), whole, name="ending")
"""


def test_it_says_why_a_run_ended_early_and_what_was_cut(command: Command, memo: Any, tmp_path: Path) -> None:
    (tmp_path / "ending.py").write_text(ENDING)
    memo.will(*[Answer("Shor", finish_reason="length")] * 2, "Short.")
    told = command("run", "ending.py:graph", "-i", "text=x", "--thread", "shown")
    assert (told.code, "done" in told.out) == (0, True)
    assert ": ended early, too short." in told.out

    row = command("run", "ending.py:graph", "-i", "text=x", "--thread", "json", "--json").rows[0]
    assert (row["status"], row["ended_early"], row["cut"]) == ("done", "too short.", ["shorten"])
    assert row["output"]["count"] == 0

    row = command("run", "ending.py:graph", "-i", "text=long", "--thread", "whole", "--json").rows[0]
    assert (row["status"], row["output"]["count"]) == ("done", 1)
    assert not {"ended_early", "cut"} & set(row)
