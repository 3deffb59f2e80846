"""The estimate of tokens stays near a real tokenizer, on code and prose."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepgraph.coding import LineRange, Read, count_tokens

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("pattern", ["graphs/patterns/*.py", "docs/*.md", "tests/state/journal/*.py"])
def test_it_is_near_the_tokenizer(pattern: str) -> None:
    encoding = pytest.importorskip("bpe_openai").get_encoding("o200k_base")
    text = "".join(file.read_text("utf-8") for file in sorted(ROOT.glob(pattern))[:12])
    assert len(text) > 10_000
    assert count_tokens(text) == pytest.approx(len(encoding.encode(text)), rel=0.1)


@pytest.mark.parametrize("text", ["", "x", "a b", "日本語", "\n\n\n", "_" * 40, "\t" * 9, "é" * 7, "\ud800"])
def test_every_text_has_a_count(text: str) -> None:
    assert 0 <= count_tokens(text) <= len(text)
    assert bool(count_tokens(text)) == bool(text)


def test_ranges_are_plain_values() -> None:
    assert str(LineRange("a.py", 3, 9)) == "a.py:3-9"
    assert Read("a.py", 1, "x") == Read(file="a.py", start=1, text="x")
