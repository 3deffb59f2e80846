"""Check a text that somebody else merged, a model say: only what the snippet speaks of may have changed."""

from __future__ import annotations

from collections.abc import Iterator

from ...state.errors import ApplyRefused
from .applying import unfenced
from .blocks import has_blocks
from .diffs import has_diff
from .marked import readings_of
from .marks import doubtful, is_bare_mark, is_mark, segments_of
from .syntax import check_syntax
from .telling import shown
from .text_lines import Lines, split_lines, split_snippet

TRIES = 20_000


def check_merged(old: str, snippet: str, merged: str, path: str = "") -> None:
    """Raise `ApplyRefused` unless `merged` is `old` with the parts of `snippet`, and nothing else.

    For a snippet with marks. Each part must stand in the merged text as it was written, apart from blanks;
    what lies between the parts must be the old text's, line by line; and where a part stands, no more old
    lines may have gone than it can have replaced.
    """
    snippet = unfenced(path, snippet, old)
    if has_blocks(snippet) or has_diff(snippet):
        raise ApplyRefused(
            "blocks and diffs say exactly what they replace: another reading of them cannot be checked",
            hint="ask for a snippet with marks",
        )
    if merged == old:
        raise ApplyRefused("noop: the merged text is the old one", hint="ask for the change again")
    before, after = split_lines(old), split_lines(merged)
    if before.newline != after.newline or before.bom != after.bom:
        raise ApplyRefused(
            "line ends or byte order mark are others than before", hint="keep those of the file"
        )
    standing = frozenset(before.stripped)
    for body in after.bodies:
        if body.strip() not in standing and (is_mark(body) or (is_bare_mark(body) and body.strip() != "...")):
            raise ApplyRefused(
                f"the mark `{shown(body)}` stands in the merged text", hint="put the old lines there"
            )
        if body.strip() not in standing and doubtful(body):
            raise ApplyRefused(f"`{shown(body)}` leaves something out", hint="write it out")
    written = split_snippet(snippet)
    ways = [_parts(written, marks) for marks in readings_of(path, before, written)]
    places = (places for parts in ways for places in _placed(after, parts))
    if not any(_stands(before, after, one) for one in places):
        raise ApplyRefused(
            "the merged text differs from the old one where the snippet says nothing, or lacks a part of it",
            hint="change only the lines that the snippet gives",
        )
    check_syntax(path, old, merged)


def _parts(written: list[str], marks: set[str]) -> list[list[str]]:
    """The filled lines of each part of a snippet, stripped."""
    return [[line.strip() for line in one.lines if line.strip()] for one in segments_of(written, marks)]


def _placed(after: Lines, parts: list[list[str]]) -> Iterator[list[tuple[int, int]]]:
    """The ways in which the parts stand in the merged text, in order, as pairs of filled lines."""
    text = [after.stripped[number] for number in after.filled]
    where: dict[str, list[int]] = {}
    for at, line in enumerate(text):
        where.setdefault(line, []).append(at)
    tries = 0

    def rest(number: int, since: int, taken: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        nonlocal tries
        if number == len(parts):
            yield taken
            return
        part = parts[number]
        for start in where.get(part[0], ()):
            tries += 1
            if tries > TRIES:
                return
            if start >= since and text[start : start + len(part)] == part:
                yield from rest(number + 1, start + len(part), [*taken, (start, start + len(part))])

    yield from rest(0, 0, [])


def _stands(before: Lines, after: Lines, places: list[tuple[int, int]]) -> bool:
    """Tell whether all outside of the places is the old text's, and what they replaced is not too much."""
    old = [(before.bodies[number], number) for number in before.filled]
    new = [after.bodies[number] for number in after.filled]
    gaps = [
        new[a:b]
        for a, b in zip(
            [0, *(end for _, end in places)], [*(start for start, _ in places), len(new)], strict=True
        )
    ]
    head, tail = gaps[0], gaps[-1]
    lines = [body for body, _ in old]
    if (
        lines[: len(head)] != head
        or (tail and lines[-len(tail) :] != tail)
        or len(head) + len(tail) > len(lines)
    ):
        return False
    at, until = len(head), len(lines) - len(tail)
    replaced: list[list[str]] = []
    for gap in gaps[1:-1]:
        fits = [start for start in range(at, until - len(gap) + 1) if lines[start : start + len(gap)] == gap]
        if len(fits) != 1 and gap:
            return False  # nowhere, or nobody can tell where
        start = fits[0] if gap else at
        replaced.append(lines[at:start])
        at = start + len(gap)
    replaced.append(lines[at:until])
    for (start, end), gone in zip(places, replaced, strict=True):
        part = {line.strip() for line in new[start:end]}
        kept = sum(line.strip() in part for line in gone)
        if len(gone) > 3 * (end - start) + 60 or (gone and not kept and len(gone) > end - start):
            return False
    return True
