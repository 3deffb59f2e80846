"""The words of a text, as a question and code have them in common: identifiers in their parts, and stems."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

__all__ = ["MOST_CHARS", "identifiers", "words"]

MOST_CHARS: Final = 2_000  # of a line: what follows in a longer one is data
_IDENTIFIER: Final = re.compile(r"[^\W\d]\w*|\d+")
_PART: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_A-Za-z]+")
_LONGEST: Final = 80  # letters of a word: longer ones are data
_ENDINGS: Final = (
    *("ingly", "edly", "ations", "ation", "ings", "ing", "ies", "ied"),
    *("ers", "er", "ed", "es", "s", "ly"),
)
_STEM: Final = 3  # letters that a stem keeps
_COMMON: Final = frozenset(
    """a about after again all also although always an and any are as at be because been before both
    but by can cannot could did do does doesn don down each either even every few for from get
    gets give given gives got had has have how however if in instead into is isn it its just
    like make makes more most much my never no nor not now of on once one only or other our out
    over own please rather same should since so some still such than that the their them then
    there these they thing things this those though to too two under until up use used uses
    using very want was way we were what when where whether which while who whose why will with
    within without would yes you your""".split()
)


def words(names: Iterable[str]) -> list[str]:
    """Return the stems of some names' parts, in order; of a name with several parts, itself as well."""
    return [part for name in names for part in _parts(name)]


def identifiers(text: str) -> list[str]:
    """Return the names and words of a text as they are written."""
    return _IDENTIFIER.findall(text[:MOST_CHARS])


@lru_cache(100_000)
def _parts(word: str) -> tuple[str, ...]:
    if len(word) > _LONGEST:
        return ()
    parts = [part.casefold() for part in _PART.findall(word)]
    whole = (word.casefold().strip("_"),) if len(parts) > 1 else ()
    return (*whole, *(_stem(part) for part in parts if len(part) > 1 and part not in _COMMON))


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM:
            return word[: -len(ending)]
    return word
