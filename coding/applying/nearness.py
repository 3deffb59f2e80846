"""Lines that are nearly the same: one name is misremembered, or blanks and quotes are written otherwise."""

from __future__ import annotations

import re

from .definitions import defined

TOKEN = re.compile(r"\w+|\S")
QUOTES = str.maketrans({"'": '"', "`": '"', "\u2018": '"', "\u2019": '"', "\u201c": '"', "\u201d": '"'})
LONGEST = 1000  # characters: longer lines are compared as they are


def near(one: str, other: str) -> bool:
    """Tell whether two stripped lines differ in one name at most, apart from blanks and quotes."""
    if len(one) > LONGEST or len(other) > LONGEST or abs(len(one) - len(other)) > 40:
        return False
    a, b = TOKEN.findall(one.translate(QUOTES)), TOKEN.findall(other.translate(QUOTES))
    if len(a) != len(b) or not a or _code_name(one) != _code_name(other):
        return False
    changed = [(x, y) for x, y in zip(a, b, strict=True) if x != y]
    return len(changed) < 2 and all(akin(x, y) for x, y in changed)


def _code_name(line: str) -> str:
    """The name that a line defines in code, not as a key."""
    name = defined(line)
    return "" if name.startswith(":") else name


def akin(one: str, other: str) -> bool:
    """Tell whether one name can be a slip for the other: they begin or end alike."""
    if not (one.isidentifier() and other.isidentifier()):
        return False
    short, long = sorted((one.casefold(), other.casefold()), key=len)
    alike = _common(short, long) + _common(short[::-1], long[::-1])
    return len(short) >= 3 and len(long) <= len(short) + 3 and 4 * min(alike, len(short)) >= 3 * len(long)


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return next((at for at, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), len(one))


def similar(one: str, other: str) -> bool:
    """Tell whether a new line looks like an edited form of an old one: most of their words are the same."""
    a, b = set(re.findall(r"\w+", one[:LONGEST])), set(re.findall(r"\w+", other[:LONGEST]))
    return bool(a and b) and 2 * len(a & b) > max(len(a), len(b))
