"""Search/replace blocks, as models write them: <<<<<<< SEARCH, =======, >>>>>>> REPLACE."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher

from ...state.errors import ApplyRefused
from .hunks import KEEP, NEW, OLD, Hunk, merge_hunks
from .text_lines import split_lines, split_snippet
from .writing import Merged

MOST = 1_000_000  # comparisons of lines
BEGIN = re.compile(r"^\s*(?:<{5,9}|-{5,9}) ?(?:SEARCH|ORIGINAL|OLD|BEFORE)\b.*$", re.IGNORECASE)
DIVIDE = re.compile(r"^\s*={5,9}\s*$")
END = re.compile(r"^\s*(?:>{5,9}|\+{5,9}) ?(?:REPLACE|UPDATED|NEW|AFTER)\b.*$", re.IGNORECASE)


def has_blocks(snippet: str) -> bool:
    return any(BEGIN.match(line) for line in split_snippet(snippet))


def merge_blocks(path: str, text: str, snippet: str) -> Merged:
    """Replace each SEARCH part, which must stand once in the file. All of them, or none."""
    lines = split_lines(text)
    readings = [*_readings(_blocks(split_snippet(snippet)))]
    results: list[Merged] = []
    refusals: list[ApplyRefused] = []
    for reading in readings:
        if len(reading) == 1 and not any(line.strip() for line in reading[0][0]) and not text.strip():
            written = "\n".join(reading[0][1])
            return Merged(written + "\n" if written else "", tuple(reading[0][1]))
        try:
            results.append(merge_hunks(path, lines, [_hunk(*block) for block in reading], ordered=False))
        except ApplyRefused as refused:
            refusals.append(refused)
    if not results:
        raise refusals[0]
    if len({result.text for result in results}) > 1:
        raise ApplyRefused(
            "a block has more than one line of =======, and either can divide it",
            hint="write the edit as a unified diff",
        )
    return results[0]


def _blocks(lines: list[str]) -> list[list[str]]:
    """The lines between each begin and end."""
    blocks: list[list[str]] = []
    inside: list[str] | None = None
    for number, line in enumerate(lines, 1):
        if inside is None:
            if BEGIN.match(line):
                inside = []
        elif END.match(line):
            blocks.append(inside)
            inside = None
        elif BEGIN.match(line):
            raise ApplyRefused(f"a block begins at the snippet's line {number} before the last one ended")
        else:
            inside.append(line)
    if inside is not None:
        raise ApplyRefused(
            "the last block has no end: the answer was cut off", hint="end each block with >>>>>>> REPLACE"
        )
    return blocks


def _readings(blocks: list[list[str]]) -> Iterable[list[tuple[list[str], list[str]]]]:
    """The ways to divide the blocks: more than one only where a text has a line of ======= itself."""
    ways: list[list[tuple[list[str], list[str]]]] = [[]]
    for block in blocks:
        dividers = [number for number, line in enumerate(block) if DIVIDE.match(line)]
        if not dividers:
            raise ApplyRefused(
                "a block has no line of ======= between the old lines and the new ones",
                hint="write <<<<<<< SEARCH, the old lines, =======, the new lines, >>>>>>> REPLACE",
            )
        ways = [[*way, (block[:at], block[at + 1 :])] for way in ways for at in dividers][:64]
    return ways


def _hunk(old: list[str], new: list[str]) -> Hunk:
    """What stays, goes and comes in a block. Where lines repeat endlessly, all of them are replaced."""
    plain_old, plain_new = [line.rstrip() for line in old], [line.rstrip() for line in new]
    counted = Counter(plain_old)
    if sum(counted[line] for line in plain_new) > MOST:
        return Hunk(tuple([(OLD, line) for line in old] + [(NEW, line) for line in new]))
    lines: list[tuple[str, str]] = []
    for tag, a, b, c, d in SequenceMatcher(None, plain_old, plain_new, autojunk=False).get_opcodes():
        if tag == "equal":
            lines += [(KEEP, line) for line in old[a:b]]
        else:
            lines += [(OLD, line) for line in old[a:b]] + [(NEW, line) for line in new[c:d]]
    return Hunk(tuple(lines))
