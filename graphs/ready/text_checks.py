"""Checks of what a model wrote, in code: quotes, numbers, words, translations. Ready graphs share them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Language = Literal["German", "French", "Spanish", "Italian"]

# Frequent short words that tell the languages apart.
FUNCTION_WORDS: dict[Language, frozenset[str]] = {
    "German": frozenset(
        "der die das und ist nicht ein eine mit für von auf den dem des im zu sie ihr wir".split()
    ),
    "French": frozenset(
        "le la les et est une des du pour dans avec vous nous sur que qui pas au aux votre".split()
    ),
    "Spanish": frozenset("el la los las y es una por para con que del en su se no al lo más usted".split()),
    "Italian": frozenset("il lo gli e è una per con che del della di non nel si più al alla vostra".split()),
}
ENGLISH = frozenset("the and is of with for to a an you your it that this are from by in on at".split())
# A translation is rarely shorter or longer than these shares of its source.
SHORTEST, LONGEST = 0.6, 2.2

_LIKE = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "\u00a0": " "})
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"\d+")
_MONEY = re.compile(
    r"[€$£]\s?(\d+(?:[.,]\d+)*)|(\d+(?:[.,]\d+)*)\s?(?:€|(?:euros?|EUR|dollars?|USD|pounds?)\b)"
)
_SHARE = re.compile(r"(\d+(?:[.,]\d+)*)\s?(?:%|percent\b)")
_PLACEHOLDER = re.compile(r"\[[^\]]{2,}\]|\{[^}]{2,}\}|<[^>]{2,}>")


def is_quoted(quote: str, text: str, words: int = 1) -> bool:
    """Tell whether a text has a quote word for word; case, spacing and kind of quotation marks do not count.

    Words such as "the" or "of" alone are no quote, nor are fewer words than `words`.
    """
    wanted = plain(quote).strip(" .,;:\"'")
    quote_words = re.findall(r"\w+", wanted)
    if len(quote_words) < words or set(quote_words) <= ENGLISH:
        return False
    return re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", plain(text)) is not None


def plain(text: str) -> str:
    """Return a text in lower case, with single spaces and simple quotation marks."""
    return " ".join(text.translate(_LIKE).casefold().split())


def none(problems: list[str]) -> bool | str:
    """Pass if there are no problems; else they are the reason."""
    return not problems or " ".join(problems)


def strange_numbers(text: str, *sources: str) -> list[str]:
    """Return the numbers in a text that none of its sources has, nor has as an amount or a share."""
    known = {number for source in sources for number in _NUMBER.findall(source)}
    strange = [number for number in _NUMBER.findall(text) if number not in known]
    amounts = {amount for source in sources for amount in _amounts(source)}
    strange += [amount for amount in _amounts(text) if amount not in amounts]
    return list(dict.fromkeys(strange))


def _amounts(text: str) -> list[str]:
    money = [f"{before or after} as money" for before, after in _MONEY.findall(text)]
    return [*money, *(f"{share} percent" for share in _SHARE.findall(text))]


def said_twice(text: str) -> bool:
    """Tell whether a sentence stands in a text twice."""
    sentences = [plain(sentence) for sentence in re.split(r"(?<=[.!?])\s+", text.strip())]
    return len(set(sentences)) < len(sentences)


def has_placeholder(text: str) -> bool:
    """Tell whether something in brackets is left to fill in."""
    return _PLACEHOLDER.search(text) is not None


def found_words(words: Iterable[str], text: str) -> list[str]:
    """Return which of some words or phrases a text has."""
    return [word for word in words if is_quoted(word, text)]


def translation_flaws(
    translation: str, source: str, language: Language, keep: Iterable[str] = ()
) -> list[str]:
    """Say what is wrong with a translation, as far as code can see: not whether it means the same."""
    problems = []
    words = _WORD.findall(translation.casefold())
    theirs, ours = (sum(word in known for word in words) for known in (FUNCTION_WORDS[language], ENGLISH))
    if not theirs or theirs <= ours:
        problems.append(f"Write {language}.")
    if lost := [word for word in keep if word.casefold() not in translation.casefold()]:
        problems.append(f"Keep {', '.join(lost)} as it is.")
    if sorted(_NUMBER.findall(translation)) != sorted(_NUMBER.findall(source)):
        problems.append("Keep all numbers, and add none.")
    if not SHORTEST * len(source) <= len(translation) <= LONGEST * len(source):
        problems.append("Translate everything, and nothing else.")
    if said_twice(translation) and not said_twice(source):
        problems.append("Do not repeat yourself.")
    return problems
