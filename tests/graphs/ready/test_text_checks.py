"""The checks that the ready graphs hold a model's words against."""

from __future__ import annotations

import pytest

from stepgraph.graphs.ready.text_checks import is_quoted, said_twice, strange_numbers, translation_flaws

TEXT = "The supplier’s fee is “fixed” –  2,400 euros\na month, or 5 percent of sales."


@pytest.mark.parametrize(
    "quote", ["the supplier's fee", '"FIXED"', "2,400 euros a month", 'fixed" - 2,400 euros.']
)
def test_quotes(quote: str) -> None:
    assert is_quoted(quote, TEXT)


@pytest.mark.parametrize(
    "quote", ["", " . ", "the", "of a", "supp", "month sales", "2,40", "the fee is fixed"]
)
def test_what_is_no_quote(quote: str) -> None:
    assert not is_quoted(quote, TEXT)


def test_a_quote_may_need_several_words() -> None:
    assert is_quoted("a month", TEXT, words=2)
    assert not is_quoted("month", TEXT, words=2)


@pytest.mark.parametrize(
    ("said", "strange"),
    [
        ("2400 or 2,400 euros", ["2400"]),
        ("5 percent", []),
        ("5 euros", ["5 as money"]),
        ("$5", ["5 as money"]),
        ("in 2031", ["2031"]),
    ],
)
def test_strange_numbers(said: str, strange: list[str]) -> None:
    assert strange_numbers(said, TEXT) == strange


def test_said_twice() -> None:
    assert said_twice("It is warm. You  will like it. It is warm.")
    assert not said_twice("It is warm. It is red.")


SOURCE = "The Golden toaster toasts 4 slices at once, and the crumb tray comes out for cleaning."
GERMAN = (
    "Der Golden toaster röstet 4 Scheiben auf einmal, und die Krümelschublade ist zum Reinigen herausnehmbar."
)


def test_a_translation_that_will_do() -> None:
    assert translation_flaws(GERMAN, SOURCE, "German", ["Golden toaster"]) == []


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (SOURCE, "Write German."),
        ("", "Write German."),
        (GERMAN.replace("Golden toaster", "Goldtoaster"), "Keep Golden toaster as it is."),
        (GERMAN.replace("4", "5"), "Keep all numbers, and add none."),
        (GERMAN[:30], "Translate everything, and nothing else."),
        ("Die Krümel. " * 2, "Do not repeat yourself."),
    ],
)
def test_flaws_of_a_translation(said: str, problem: str) -> None:
    assert problem in translation_flaws(said, SOURCE, "German", ["Golden toaster"])
