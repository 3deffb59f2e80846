"""The places in a project that matter: what the search found, what failed tests name, and their text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ....coding import LineRange, Read
from ....nodes.code_folders import NotAllowed, read_text
from .project import is_test

AROUND = 12
MOST_PLACES = 12
_PLACE = r"((?:[\w.@+-]+/)*[\w.@+-]+\.\w{1,5})(?:\", line |[:(])(\d{1,6})"
_NAMED = re.compile(rf"(?:File \"(?:/tmp/project/)?|^|[\s('/]){_PLACE}", re.MULTILINE)


def places_in(output: str, files: Iterable[str]) -> list[LineRange]:
    """Return the places of the project that the output of tests names, such as those of a traceback."""
    known = set(files)
    by_block: dict[tuple[str, int], LineRange] = {}
    for file, number in _NAMED.findall(output):
        line = int(number)
        if file in known and line > 0:
            place = LineRange(file, max(1, line - AROUND), line + AROUND, "a failed test names it")
            by_block.setdefault((file, line // AROUND), place)
    places = [*by_block.values()]
    # What is tested is to change, the tests are not; and of a traceback the end says most.
    places.reverse()
    return sorted(places, key=lambda place: is_test(place.file))[:MOST_PLACES]


def reads_of(root: Path, ranges: Iterable[LineRange], changed: Mapping[str, str | None]) -> list[Read]:
    """Return the text of the ranges, in their order; of a file that changed, all of it as it is now."""
    reads = [Read(file, 1, text) for file, text in changed.items() if text is not None]
    wanted: dict[str, set[int]] = {}
    for place in ranges:
        if place.file not in changed:
            wanted.setdefault(place.file, set()).update(range(place.start, place.end + 1))
    for file, numbers in wanted.items():
        try:
            lines = (read_text(root, file) or "").split("\n")
        except NotAllowed:
            continue
        for start, end in _runs(sorted(number for number in numbers if number <= len(lines))):
            reads.append(Read(file, start, "\n".join(lines[start - 1 : end])))
    return reads


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return the runs of numbers that follow one another."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs
