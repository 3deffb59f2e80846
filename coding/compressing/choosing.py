"""Which lines are kept: the parts that are worth most for their length, with the heads they stand under."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import pairwise
from typing import Final

from ..tokens import count_tokens
from .kinds import Kind
from .parts import Line, Part
from .words import words

__all__ = ["BEST", "DEFINITIONS", "MARK", "USUAL", "chosen", "heading"]

USUAL: Final = 30  # tokens of a part that counts half
MARK: Final = 6  # tokens of the mark before a piece
BEST: Final = 3  # parts that are cut down where they do not fit
DEFINITIONS: Final = 0.05  # of the room, for the definitions that the kept lines use
_ASSIGNED: Final = re.compile(r"([^\W\d]\w*)\s*(?::[^=]{1,200})?=(?!=)")


def chosen(
    worth: Mapping[Part, float],
    room: int,
    *,
    query_words: Set[str],
    length: float,
    first: Sequence[Mapping[Line, Part]],
) -> dict[Line, Part]:
    """Return the lines to keep within so many tokens, each with the part that it is kept for.

    `query_words` are those of the question: the best parts are cut down to their lines if they do not fit.
    `first` are lines that come before all others, one mapping for those that belong together.
    """
    taken = _Room()
    least = min(worth.values(), default=0.0)
    carrying = {part: _carrying(part.lines) for part in worth}

    def rank(part: Part) -> float:
        share: float = (USUAL / (USUAL + _tokens(carrying[part]))) ** length
        return (least - worth[part]) * share

    ranked = sorted(worth, key=rank)
    most = int(room * (1 - DEFINITIONS))
    for chosen_lines in first:
        part = next(iter(chosen_lines.values()))
        around = [*_heads(part), *chosen_lines]
        if not taken.take(part, around, most) and not taken.take(part, chosen_lines, most):
            for line, own in chosen_lines.items():
                taken.take(own, [line], most)
    for place, part in enumerate(ranked):
        if not taken.take(part, [*_heads(part), *carrying[part]], most) and place < BEST:
            for line in _best_first(carrying[part], query_words):
                if not taken.take(part, [*_heads(part), line], most):
                    taken.take(part, [line], most)
    for part, lines in _definitions(taken.kept, ranked):
        taken.take(part, lines, room)
    for part in ranked:  # what carries little, where there is room left
        taken.take(part, [*_heads(part), *part.lines], room)
    return taken.kept


def heading(file: str) -> str:
    """Return the line that says which file the lines below it are of."""
    return f"## {file}"


class _Room:
    """The lines that are kept, and how many tokens they have with their headings and marks."""

    def __init__(self) -> None:
        self.kept: dict[Line, Part] = {}
        self.used = 0
        self._reads: set[int] = set()

    def take(self, part: Part, lines: Iterable[Line], room: int) -> bool:
        """Keep lines for a part, all of them or none. Returns whether they are kept."""
        new = [line for line in dict.fromkeys(lines) if line not in self.kept]
        if not new:
            return True
        pieces = 1 + sum(after.number != line.number + 1 for line, after in pairwise(new))
        cost = _tokens(new) + MARK * pieces
        if new[0].read not in self._reads:
            cost += count_tokens(heading(new[0].file)) + 1
        if self.used + cost > room:
            return False
        self.used += cost
        self._reads.add(new[0].read)
        self.kept.update(dict.fromkeys(new, part))
        return True


def _best_first(lines: Sequence[Line], query_words: Set[str]) -> list[Line]:
    """Return the lines by how many rare words of the question they and those beside them have."""
    hits = [query_words & set(words(line.names)) for line in lines]
    having = Counter(word for each in hits for word in each)
    own = [sum(1 / having[word] for word in each) for each in hits]
    beside = [max(own[max(0, place - 1) : place + 2]) for place in range(len(own))]
    order = sorted(range(len(lines)), key=lambda place: -own[place] - beside[place] / 2)
    return [lines[place] for place in order]


def _definitions(kept: Mapping[Line, Part], ranked: Sequence[Part]) -> Iterator[tuple[Part, list[Line]]]:
    """Yield what defines the names that the kept lines use: signatures, imports, values of the module."""
    defined: dict[str, tuple[Part, list[Line]]] = {}
    for part in ranked:
        if part.block.name and part.block.heads[0] not in kept:
            defined.setdefault(part.block.name, (part, _heads(part)))
        for line in part.lines:
            if line in kept:
                continue
            if line.kind is Kind.IMPORT:
                for name in line.names:
                    defined.setdefault(name, (part, [line]))
            elif line.kind is Kind.CODE and not line.indent and (match := _ASSIGNED.match(line.text)):
                defined.setdefault(match[1], (part, [line]))
    for line in list(kept):
        if line.kind is not Kind.IMPORT:
            for name in line.names:
                if name in defined:
                    yield defined.pop(name)


def _heads(part: Part) -> list[Line]:
    around = [line for block in part.block.enclosing() for line in block.heads[:1]]
    return [*around, *part.block.heads, *part.heads]


def _carrying(lines: Sequence[Line]) -> list[Line]:
    """Return the lines that carry something, and the blank ones between two of them: a mark is longer."""
    kept: list[Line] = []
    blank: list[Line] = []
    for line in lines:
        if line.kind is Kind.BLANK:
            blank.append(line)
            continue
        if line.carries:
            kept += [*blank, line] if kept and kept[-1].number == line.number - len(blank) - 1 else [line]
        blank = []
    return kept


def _tokens(lines: Iterable[Line]) -> int:
    return sum(line.tokens for line in lines)
