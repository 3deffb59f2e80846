"""Words of questions and of code, in one form: identifiers split, endings off."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["STOP_WORDS", "split_word", "stem", "words_of"]

_WORD = re.compile(r"[^\W\d_][\w]*|_+[^\W_]\w*|\d+")
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_A-Za-z]+")
_ENDINGS = (
    *("izations", "ization", "ations", "ation", "ingly", "edly", "ments", "ment", "ables", "able", "ings"),
    *("ing", "ions", "ion", "ies", "ied", "ers", "er", "ed", "es", "ly", "s", "e", "y"),
)
STOP_WORDS = frozenset(
    """a about after again all also although always am an and any anyone are as at be because been before
    being both but by came can cannot come comes could d did do does doesn doing don done down during each
    either else even ever every few for from gave get gets getting give given gives go goes going got had has
    have having he her here his how i if in into is isn it its itself just know last let like ll longer lot m
    made make makes many may me might mine more most much must my neither never new newest no nor not nothing
    now of off often on once one only onto or other others our out over own please put really right s same say
    says see seems she should since so some somebody something still such sure take taken takes tell tells
    than that the their them then there these they thing things this those though through till to too two
    until up upon us use used uses using ve very want wanted wants was way we well went were what when where
    whether which while who whole whose why will with within without won would wrong yet you your expect
    expected expects instead happen happens version release releases broke broken works work
    working""".split()
)


@lru_cache(100_000)
def stem(word: str) -> str:
    """Return a lower-case word without its ending, so that `encodings` and `encode` meet."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] in "eiy":  # retry, retries, retrying
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] in "bdgmnprt" else word


@lru_cache(400_000)
def split_word(word: str) -> tuple[str, ...]:
    """Return the stems of an identifier's parts; of one with several parts also the whole in lower case."""
    parts = [part.lower() for part in _PART.findall(word)]
    stems = [stem(part) for part in parts if len(part) > 1 and part not in STOP_WORDS]
    return (word.lower().strip("_"), *stems) if len(parts) > 1 else tuple(stems)


def words_of(text: str) -> list[str]:
    """Return the terms of a text in their order."""
    return [part for word in _WORD.findall(text) for part in split_word(word)]
