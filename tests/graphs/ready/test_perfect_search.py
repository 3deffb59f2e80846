"""The bound of the search worker on a small scale: who knows the answer gets it through, for few tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.coding.perfect_search import searched

ROOT = Path(__file__).parents[3]


def test_what_a_perfect_model_reaches() -> None:
    pytest.importorskip("bpe_openai")
    gold = [
        {"file": "stack/retry.py", "start": 60, "end": 62},
        {"file": "testing/scripted.py", "start": 20, "end": 21},  # no word of the question leads there
    ]
    ranges, usage = searched("A failed request is tried again too early.", str(ROOT / "providers"), gold)
    assert {one["file"] for one in ranges} == {"stack/retry.py", "testing/scripted.py"}
    for wanted in gold:
        assert any(
            one["file"] == wanted["file"] and one["start"] <= wanted["start"] and wanted["end"] <= one["end"]
            for one in ranges
        )
    assert usage["turns"] <= 4
    assert usage["search_tokens_in"] + usage["search_tokens_out"] <= 9000
