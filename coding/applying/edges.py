"""Segments with one anchor: new code after lines that stay, or before them, and a mark where the rest stands.

Such a part can also mean that the new code takes the place of old code that it does not show. So it is only
read as an addition if nothing near looks like an older form of it, and it is whole.
"""

from __future__ import annotations

import re

from .definitions import accessor, defined
from .marks import Segment
from .nearness import similar
from .place import Place
from .places import MANY, FileIndex, Wanted

OPENING, CLOSING = "([{", ")]}"
QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|(?:#|//).*$')
ENOUGH = 4.0  # with one anchor only, the lines that stay must tell more than one rare line does
LOOK = 12  # how many old lines beside the new code are compared with it


def open_places(index: FileIndex, segment: Segment, want: Wanted) -> list[Place]:
    """The places where a segment adds code beside the lines at its beginning, or at its end, that stay."""
    if len(want.text) < 2:
        return []
    places = []
    if want.text[0] in index.where and (segment.before_mark or _at_end(index, want)):
        places += _after(index, want)
    if want.text[-1] in index.where and (
        segment.after_mark or index.text[0] == want.text[-1] or _at_start(index, want)
    ):
        places += _before(index, want)
    if len({(place.start, place.end) for place in places}) != 1:
        return []
    return [place for place in places if len(place.kept) > 1 and place.evidence >= ENOUGH]


def _at_end(index: FileIndex, want: Wanted) -> bool:
    last = index.text[-1]
    return last in want.text and len(index.where[last]) == 1


def _at_start(index: FileIndex, want: Wanted) -> bool:
    first = index.text[0]
    return first in want.text and len(index.where[first]) == 1


def _after(index: FileIndex, want: Wanted) -> list[Place]:
    text, columns, size = index.text, index.columns, len(want.text)
    runs = []
    for start in index.where[want.text[0]]:
        shift = columns[start] - want.columns[0]
        run = 0
        while run < size and start + run < len(text) and text[start + run] == want.text[run]:
            if columns[start + run] != want.columns[run] + shift:
                break
            run += 1
        index.pay(run + 1)
        runs.append((run, start, shift))
    most = max(run for run, _, _ in runs)
    best = [(start, shift) for run, start, shift in runs if run == most]
    if len(best) != 1 or most == size:
        return []
    start, shift = best[0]
    after = start + most
    beside = range(after, min(after + LOOK, len(text)))
    first = want.columns[most] + shift
    if after < len(text) and columns[after] > first:
        return []  # it would part a heading from its block
    if not _whole(index, want, range(most, size), shift, start, beside):
        return []
    return [_place(index, want, start, after, shift, [(at, start + at) for at in range(most)], "end")]


def _before(index: FileIndex, want: Wanted) -> list[Place]:
    text, columns, size = index.text, index.columns, len(want.text)
    runs = []
    for end in index.where[want.text[-1]]:
        shift = columns[end] - want.columns[-1]
        run = 0
        while run < size and run <= end and text[end - run] == want.text[size - 1 - run]:
            if columns[end - run] != want.columns[size - 1 - run] + shift:
                break
            run += 1
        index.pay(run + 1)
        runs.append((run, end, shift))
    most = max(run for run, _, _ in runs)
    best = [(end, shift) for run, end, shift in runs if run == most]
    if len(best) != 1 or most == size:
        return []
    end, shift = best[0]
    start = end - most + 1
    beside = range(max(0, start - LOOK), start)
    if not _whole(index, want, range(size - most), shift, start, beside):
        return []
    kept = [(size - most + at, start + at) for at in range(most)]
    return [_place(index, want, start, end + 1, shift, kept, "start")]


def _whole(index: FileIndex, want: Wanted, new: range, shift: int, at: int, beside: range) -> bool:
    """Tell whether new lines are a whole addition: balanced, of new names, unlike the old lines beside."""
    depth = 0
    for number in new:
        for sign in QUOTED.sub("", want.text[number]):
            depth += (sign in OPENING) - (sign in CLOSING)
            if depth < 0:
                return False
    if depth or min(want.columns[number] for number in new) < want.columns[new[0]]:
        return False
    for number in new[:-1]:
        follows = want.text[number + 1]
        stands = index.where.get(want.text[number], [])[:MANY]
        if len(follows) > 3 and any(index.text[old + 1 : old + 2] == [follows] for old in stands):
            return False  # two lines that follow each other elsewhere
    for number in new:
        line, columns = want.text[number], want.columns[number] + shift
        if any(index.columns[old] == columns and similar(line, index.text[old]) for old in beside):
            return False
        if index.weight(line) > 2 and line in index.where:
            return False  # it stands elsewhere already: moved, or given in another order
        name = defined(line)
        if name and (name, columns) in index.definitions and not accessor(want.text, number):
            return False
    return at >= 0


def _place(
    index: FileIndex, want: Wanted, start: int, end: int, shift: int, kept: list[tuple[int, int]], edge: str
) -> Place:
    evidence = sum(index.weight(want.text[i]) for i, _ in kept)
    filled = index.lines.filled
    return Place(
        filled[start],
        filled[end - 1] + 1,
        shift,
        tuple(kept),
        evidence,
        evidence,
        solid=True,
        lead=len(kept) if edge == "end" else 0,
        trail=len(kept) if edge == "start" else 0,
        deleted=0,
        twice=False,
        defines=False,
        renames=False,
        total=len(want.text),
        edge=edge,
    )
