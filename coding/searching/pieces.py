"""A file cut into pieces that can be ranked and shown: functions, what is around them, parts of long ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ..outlines.definitions import Definition
from .words import words_of

__all__ = ["Piece", "pieces_of"]

_LONGEST = 48  # lines of a piece; longer ones are cut, at a blank line or a shallow one where there is one
_SHORT_DOC = 3
_SHORT_HEAD = 2
_WORD = re.compile(r"[^\W\d_]\w*")


@dataclass
class Piece:
    """Lines that belong together. `spans` leaves long docstrings out; `words` counts theirs too.

    `gist` is the text that is compared by meaning.
    """

    file: str
    name: str
    kind: str
    start: int
    end: int
    spans: list[tuple[int, int]]
    words: Counter[str] = field(default_factory=Counter)
    length: int = 0
    gist: str = ""
    vector: Any = field(default=None, repr=False, compare=False)


def pieces_of(file: str, text: str, outline: Sequence[Definition]) -> list[Piece]:
    """Return the pieces of a file in the order of their lines; a line is in one of them, or blank."""
    lines = text.split("\n")
    owner: list[Definition | None] = [None] * (len(lines) + 1)
    for definition in _outer(outline):
        last = min(definition.end, len(lines))
        owner[definition.start : last + 1] = [definition] * (last + 1 - definition.start)
    pieces = []
    for one, first, last in _joined(list(_runs(owner, lines))):
        for start, end in _cut(lines, first, last):
            pieces.append(_piece(file, lines, one, start, end))
    return pieces


def _outer(outline: Sequence[Definition]) -> Iterator[Definition]:
    """Yield the definitions but those inside of functions, which belong to the function."""
    end = 0
    for one in outline:
        if one.end > end:
            yield one
            end = one.end if one.kind == "function" else end


def _runs(
    owner: Sequence[Definition | None], lines: Sequence[str]
) -> Iterator[tuple[Definition | None, int, int]]:
    first = 1
    for number in range(2, len(lines) + 2):
        if number > len(lines) or owner[number] is not owner[first]:
            start, end = first, number - 1
            while start <= end and not lines[start - 1].strip():
                start += 1
            while end >= start and not lines[end - 1].strip():
                end -= 1
            if start <= end:
                yield owner[first], start, end
            first = number


def _joined(
    runs: Sequence[tuple[Definition | None, int, int]],
) -> Iterator[tuple[Definition | None, int, int]]:
    """Give a line or two right above a function to it: `if TYPE_CHECKING:`, a mark, a comment."""
    first = 0
    for place, (one, start, end) in enumerate(runs):
        following, next_start, _ = runs[place + 1] if place + 1 < len(runs) else (None, 0, 0)
        is_small = (one is None or one.kind != "function") and end - start < _SHORT_HEAD
        if is_small and following and following.kind == "function" and next_start - end <= _SHORT_HEAD:
            first = first or start
            continue
        yield one, first or start, end
        first = 0


def _cut(lines: Sequence[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut what is too long near every `_LONGEST` lines, where it hurts least."""
    while end - start + 1 > _LONGEST * 1.3:
        parts = -(-(end - start + 1) // _LONGEST)
        aim = start + (end - start + 1) // parts
        best = min(
            range(aim - _LONGEST // 4, aim + _LONGEST // 4), key=lambda k: (_cost(lines, k), abs(k - aim))
        )
        yield start, best - 1
        start = best
        while start < end and not lines[start - 1].strip():
            start += 1
    yield start, end


def _cost(lines: Sequence[str], number: int) -> int:
    """Return how bad it is to begin a piece at a line: best after a blank line, at little indentation."""
    line, before = lines[number - 1], lines[number - 2]
    return (0 if not before.strip() else 6) + len(line) - len(line.lstrip())


def _piece(file: str, lines: Sequence[str], one: Definition | None, start: int, end: int) -> Piece:
    spans = [(start, end)]
    if one and one.doc and one.doc[1] - one.doc[0] >= _SHORT_DOC:
        spans = _without(spans, one.doc[0] + 1, one.doc[1])
    name = one.name if one else ""
    kind = one.kind if one else "module"
    text = "\n".join(lines[start - 1 : end])
    words = Counter(words_of(text))
    gist = (
        f"{PurePosixPath(file).with_suffix('')} {name} ".replace("/", " ")
        + " ".join(_WORD.findall(text))[:900]
    )
    return Piece(file, name, kind, start, end, spans, words, sum(words.values()), gist)


def _without(spans: Iterable[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    rest = []
    for first, last in spans:
        if last < start or first > end:
            rest.append((first, last))
            continue
        if first < start:
            rest.append((first, start - 1))
        if last > end:
            rest.append((end + 1, last))
    return rest
