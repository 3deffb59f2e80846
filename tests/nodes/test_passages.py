"""Passages in a prompt, and what makes a citation hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st
from langchain_core.documents import Document

from stepgraph import Citation, Passage, check_citations, cited_passages, render_passages
from stepgraph.nodes.passages import select_passages

TEXTS = (
    "Refunds take five days — or, for cards, “up to ten” days.",
    'Use <code>a &amp;&amp; b</code>.\nIt says "stop".',
    "Nothing here.",
)
PASSAGES = [Passage(id=str(n), text=text) for n, text in enumerate(TEXTS)]


@pytest.mark.parametrize(
    "answer",
    [
        "Five days [1].",
        "Five days[1][3].",
        "Five days [1, 3].",
        "All of it [1-3].",
        "Five days 【2】 or [Passage 1] or [^2].",
        '"Refunds take  FIVE days" [1]',
        "It is “up to ten” [1].",
        "Cards: \"five days - or, for cards, 'up to ten' days.\" [1]".replace("'", "”"),
        '"Refunds … days" [1]',
        '"Refunds [...] cards" (see [1]).',
        '"a && b" [2]',
        'What is written, "Refunds take five days", is true [1].',
        "„Nothing here“ [3]",
        'The "best" choice is five days [1].',
    ],
)
def test_what_stands_there_may_be_cited(answer: str) -> None:
    assert check_citations(answer, PASSAGES) is True


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("Five days.", "cites no passage. Cite from [1] to [3]"),
        ("", "cites no passage"),
        ("Five days [0].", "no passage [0]"),
        ("Five days [1] and [4].", "no passage [4]"),
        ("All [2-4].", "no passage [4]"),
        ('"Refunds take six days" [1]', "do not stand in passage [1]"),
        ('"Refunds take five days" [3]', "do not stand in passage [3]"),
        ('"days … Refunds" [1]', "do not stand"),
        ('"no" [1]', "do not stand"),
        ('"…" [1]', "do not stand"),
        ('Some say "you never get it back", though [1].', "no passage that the answer cites"),
        ('Some say "Refunds take five days", though [3].', "no passage that the answer cites"),
        ("«take six days», [1]", "do not stand"),
        ("[99999999999-1]", "no passage"),
        ("[1-99999999999]", "no passage [99999999999]"),
    ],
)
def test_what_does_not_is_told(answer: str, told: str) -> None:
    problem = check_citations(answer, PASSAGES)
    assert isinstance(problem, str)
    assert told in problem


@pytest.mark.parametrize(
    ("citations", "told"),
    [
        ([Citation(passage=1, quote="take five days")], True),
        ([Citation(passage=1, quote="take six days")], "stand in passage [1]"),
        ([Citation(passage=4, quote="take five days")], "no passage [4]"),
        ([Citation(passage=-1, quote="Nothing here.")], "no passage [-1]"),
        ([Citation(passage=2, quote=" ")], "quotes no words"),
        ([], "cites no passage"),
    ],
)
def test_a_list_of_citations_is_checked_alike(citations: list[Citation], told: Any) -> None:
    problem = check_citations(citations, PASSAGES)
    assert problem is True if told is True else told in str(problem)


def test_without_passages_nothing_can_be_cited() -> None:
    for answer in ("Five days.", "Five days [1]."):
        assert "nothing can be cited" in str(check_citations(answer, []))
    assert render_passages([]) == "(No passages were found.)"


def test_what_is_cited_is_told() -> None:
    assert [p.id for p in cited_passages("So [3], and [1] and [9].", PASSAGES)] == ["0", "2"]
    assert [p.id for p in cited_passages([Citation(passage=2, quote="x")], PASSAGES)] == ["1"]


@given(st.lists(st.text(alphabet="</passage > \n\"'[]1a", max_size=40), max_size=4), st.text(max_size=10))
def test_no_text_ends_its_own_passage(texts: list[str], source: str) -> None:
    passages = [Passage(id="x", text=text, source=source) for text in texts]
    shown = render_passages(passages)
    assert shown.count("<passage number=") == len(texts)
    assert shown.count("</passage>") == len(texts)
    assert shown.casefold().replace(" ", "").count("</passage") == len(texts)


@given(st.text(min_size=1, max_size=80), st.data())
def test_any_piece_of_a_passage_may_be_quoted(text: str, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(text) - 1))
    quote = text[begin : data.draw(st.integers(begin + 1, len(text)))]
    has_letters = any(c.isalnum() for c in quote)
    if has_letters and "…" not in quote and "..." not in quote and "&" not in text and text.isascii():
        assert check_citations([Citation(passage=1, quote=quote)], [Passage(id="x", text=text)]) is True


def test_the_limits_say_what_they_leave_out() -> None:
    selection = select_passages(["a" * 6, "a" * 6, " ", "b" * 5, "c"], 2, 10)
    assert [p.text for p in selection.passages] == ["a" * 6]
    assert (selection.total, selection.left_out) == (
        5,
        "2 empty or the same as another, 1 over max_chars=10, 1 over k=2",
    )
    selection = select_passages(["abcdef"], 5, 3)
    assert [p.text for p in selection.passages] == ["abc"]
    assert selection.left_out == "the first cut from 6 characters"
    assert select_passages(["a", "b"], 2, 2).left_out is None


def test_each_kind_of_find_becomes_a_passage_that_can_be_kept() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    document = Document("one", metadata={"source": "a.md", "at": at, "n": float("nan"), 1: {2}})
    found: list[Any] = [
        (document, 0.5),
        Document("two", id="own"),
        "half \ud800",
        Passage(id="", text="four"),
    ]
    passages = select_passages(found, 9, 999).passages
    assert [p.text for p in passages] == ["one", "two", "half ?", "four"]
    assert (passages[0].source, passages[0].score, passages[1].id) == ("a.md", 0.5, "own")
    assert [Passage.model_validate_json(p.model_dump_json()) for p in passages] == passages
    assert len({p.id for p in passages}) == 4
    assert select_passages([document], 1, 9).passages[0].id == passages[0].id
    with pytest.raises(TypeError, match="dict; expected LangChain Documents"):
        select_passages([{"text": "x"}], 1, 9)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("number", "told"), [(0, "nothing can be cited"), (1, "Cite [1]."), (2, "Cite from [1] to [2].")]
)
def test_who_cites_what_is_not_there_is_told_what_there_is(number: int, told: str) -> None:
    assert told in str(check_citations("So it is [7].", PASSAGES[:number]))
