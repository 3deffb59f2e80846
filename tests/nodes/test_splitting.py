"""Splitting: sizes, places, headings, and that nothing is lost."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from stepgraph.nodes.splitting import Piece, estimate_tokens, split_text
from stepgraph.state.errors import InputError

ALICE = (Path(__file__).parents[2] / "examples" / "alice.txt").read_text(encoding="utf-8")
MANUAL = """Preface.

# Tea

About tea.

## Making *tea* ##

Boil water.

```
# no heading
```

# Coffee

Grind.
"""


def words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize("by", ["tokens", "headings", "paragraphs"])
def test_pieces_fit_and_are_where_they_say(by: Any) -> None:
    pieces = split_text(ALICE, 300, by=by)
    assert [piece.number for piece in pieces] == list(range(1, len(pieces) + 1))
    for piece in pieces:
        assert estimate_tokens(piece.text) <= 300
        assert ALICE[piece.start : piece.end] == piece.text


@given(st.text(alphabet="ab .\n#é漢", max_size=300), st.integers(1, 40), st.integers(0, 39))
@settings(deadline=None)
def test_nothing_but_blanks_is_lost(text: str, tokens: int, overlap: int) -> None:
    pieces = split_text(text, tokens, by="headings", overlap=min(overlap, tokens - 1))
    covered = {place for piece in pieces for place in range(piece.start, piece.end)}
    assert all(text[place].isspace() for place in range(len(text)) if place not in covered)
    assert all(text[piece.start : piece.end] == piece.text for piece in pieces)
    assert all(estimate_tokens(piece.text) <= tokens for piece in pieces)


def test_chapters_are_headings_with_the_title_below() -> None:
    paths = dict.fromkeys(piece.headings for piece in split_text(ALICE, by="headings"))
    assert list(paths) == [
        (),
        ("CHAPTER I. Down the Rabbit-Hole",),
        ("CHAPTER II. The Pool of Tears",),
        ("CHAPTER III. A Caucus-Race and a Long Tale",),
        ("CHAPTER IV. The Rabbit Sends in a Little Bill",),
    ]


def test_markdown_headings_make_a_path_and_those_in_a_fence_are_text() -> None:
    pieces = split_text(MANUAL, by="headings")
    assert [piece.headings for piece in pieces] == [(), ("Tea",), ("Tea", "Making *tea*"), ("Coffee",)]
    assert "# no heading" in pieces[2].text
    assert pieces[1].place == f"Tea, characters {MANUAL.index('# Tea')}-{MANUAL.index('About tea.') + 10}"


def test_parts_of_a_book_stand_above_its_chapters() -> None:
    text = (
        "PART ONE\n\nx\n\nPart 1\n\nChapter 1\n\nIt began.\n\nChapter 2\n\nIt went on.\n\nPart 2\n\nThe rest."
    )
    assert [piece.headings for piece in split_text(text, by="headings")] == [
        (),
        ("Part 1",),
        ("Part 1", "Chapter 1. It began."),
        ("Part 1", "Chapter 2. It went on."),
        ("Part 2. The rest.",),
    ]


def test_a_cut_falls_between_paragraphs_then_sentences_then_words() -> None:
    def texts(text: str, tokens: int) -> list[str]:
        return [piece.text for piece in split_text(text, tokens, count=words)]

    assert texts("a b c\n\nd e f", 4) == ["a b c", "d e f"]
    assert texts("One two. Three four. Five six.", 3) == ["One two.", "Three four.", "Five six."]
    assert texts("a b c d", 2) == ["a b", "c d"]


def test_pieces_of_a_section_are_of_about_one_size() -> None:
    sizes = [words(piece.text) for piece in split_text("x " * 101, 50, count=words)]
    assert sum(sizes) == 101
    assert min(sizes) > 20


def test_an_overlap_repeats_whole_words_of_the_piece_before() -> None:
    pieces = split_text("a b c d e f g h", 4, overlap=1, count=words)
    for before, after in pairwise(pieces):
        assert after.start < before.end
        assert before.text.split()[-1] == after.text.split()[0]
    assert all(words(piece.text) <= 4 for piece in pieces)


def test_a_small_text_is_one_piece_and_an_empty_one_none() -> None:
    assert split_text("  Hello. ", 10) == [Piece("Hello.", 1, 2, 8)]
    assert split_text(" \n ", 10) == []


def test_estimates_are_by_bytes() -> None:
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "漢字")] == [0, 1, 2, 2]


def test_a_character_that_does_not_fit_is_told() -> None:
    with pytest.raises(InputError, match="characters 0-1 cannot be cut to 1 tokens"):
        split_text("xy", 1, count=lambda text: 2 * len(text))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "needs tokens"),
        ({"tokens": 0}, "at least 1"),
        ({"tokens": 5, "overlap": 5}, "less than tokens=5"),
        ({"tokens": 5, "overlap": -1}, "0 or more"),
        ({"by": "pages"}, "expected 'tokens', 'headings' or 'paragraphs'"),
    ],
)
def test_bad_options(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        split_text("text", **options)
