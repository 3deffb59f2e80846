"""Edits that name the old lines: search/replace blocks and the hunks of diffs, each found once or refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from ...state.errors import ApplyRefused
from .nearness import near
from .ordering import heading_end
from .places import FileIndex
from .telling import places_of, shown
from .text_lines import Lines, column, indented, tab_width
from .writing import Merged, joined

KEEP, OLD, NEW = " ", "-", "+"


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that stay, go (`-`) and come (`+`). `line`: where it says that it begins, from 1, or 0."""

    lines: tuple[tuple[str, str], ...]
    line: int = 0
    heading: str = ""
    ends_bare: bool | None = None  # what it says of the newline at the file's end: True: there is none

    @property
    def old(self) -> list[str]:
        return [text for kind, text in self.lines if kind != NEW]

    def trimmed(self) -> Hunk:
        """Without blank lines that stay, at both ends."""
        first, last = 0, len(self.lines)
        while first < last and self.lines[first][0] == KEEP and not self.lines[first][1].strip():
            first += 1
        while last > first and self.lines[last - 1][0] == KEEP and not self.lines[last - 1][1].strip():
            last -= 1
        return replace(self, lines=self.lines[first:last])


@dataclass(frozen=True, slots=True)
class Fit:
    """A place for a hunk. `numbers` has the file's line for each old line that is matched, -1 for others."""

    start: int
    end: int
    shift: int
    numbers: tuple[int, ...]


def merge_hunks(path: str, lines: Lines, hunks: list[Hunk], *, ordered: bool) -> Merged:
    """Make all edits, or refuse. `ordered`: the hunks stand in the file's order, as those of a diff do."""
    written = [text for hunk in hunks for _, text in hunk.lines]
    tab = tab_width(written) if lines.tabbed and not any(text.startswith("\t") for text in written) else 4
    index = FileIndex(lines, tab)
    choices = []
    for hunk in hunks:
        if not any(text.strip() for text in hunk.old):
            raise ApplyRefused("an edit has no old line", hint="give the lines before it, unchanged")
        fits = _fits(index, hunk)
        if not fits:
            raise _missing(index, hunk)
        choices.append(fits)
    if ordered:
        choices = _in_order(choices)
    chosen = _single(path, index, hunks, choices)
    pairs = sorted(zip(chosen, hunks, strict=True), key=lambda pair: pair[0].start)
    for (one, _), (other, hunk) in pairwise(pairs):
        if other.start < one.end:
            raise ApplyRefused(
                f"two edits change line {other.start + 1}: `{shown(hunk.old[0])}`",
                hint="make one edit of them",
            )
    out: list[tuple[str, str]] = []
    new: list[str] = []
    done = 0
    for fit, hunk in pairs:
        out += zip(lines.bodies[done : fit.start], lines.ends[done : fit.start], strict=True)
        out += _written(index, hunk, fit, new)
        done = fit.end
    out += zip(lines.bodies[done:], lines.ends[done:], strict=True)
    text = joined(lines, out)
    bare = next(
        (
            hunk.ends_bare
            for fit, hunk in pairs
            if hunk.ends_bare is not None and fit.end == len(lines.bodies)
        ),
        None,
    )
    if bare is not None:
        text = text.removesuffix("\n").removesuffix("\r") if bare else text
        text += lines.newline if not bare and not text.endswith("\n") else ""
    return Merged(text, tuple(new))


def _fits(index: FileIndex, hunk: Hunk) -> list[Fit]:
    """The places of the strictest level with any: exact, by filled lines, one name misremembered."""
    fits = _exact(index, hunk)
    if not fits:
        fits = _exact(index, hunk.trimmed()) if hunk.trimmed() != hunk else []
    return fits or _loose(index, hunk, slips=0) or _loose(index, hunk, slips=1)


def _exact(index: FileIndex, hunk: Hunk) -> list[Fit]:
    lines = index.lines
    old = [text.rstrip() for text in hunk.old]
    anchor = max(range(len(old)), key=lambda at: (bool(old[at]), -len(index.where.get(old[at].strip(), ()))))
    fits = []
    for ordinal in index.where.get(old[anchor].strip(), ()):
        start = lines.filled[ordinal] - anchor
        if start < 0 or start + len(old) > len(lines.bodies):
            continue
        index.pay(1)
        if all(lines.bodies[start + at].rstrip() == text for at, text in enumerate(old)):
            index.pay(len(old))
            fits.append(Fit(start, start + len(old), 0, tuple(range(start, start + len(old)))))
    return fits


def _loose(index: FileIndex, hunk: Hunk, *, slips: int) -> list[Fit]:
    """Places by the filled lines alone, all indented by the same number of columns more or less."""
    old = [(at, text.strip(), column(text, index.tab)) for at, text in enumerate(hunk.old) if text.strip()]
    if not old or (slips and len(old) < 3):
        return []
    ranked = sorted(range(len(old)), key=lambda at: len(index.where.get(old[at][1], ())))
    anchors = [at for at in ranked if old[at][1] in index.where][: 1 + slips]
    by_start: dict[int, Fit] = {}
    for anchor in anchors:
        for ordinal in index.where[old[anchor][1]]:
            first = ordinal - anchor
            if first < 0 or first + len(old) > len(index.text) or first in by_start:
                continue
            shift = index.columns[ordinal] - old[anchor][2]
            left = slips
            for at, (_, text, columns) in enumerate(old):
                index.pay(1)
                same = index.columns[first + at] == columns + shift
                if same and index.text[first + at] == text:
                    continue
                left -= 1
                if left < 0 or not same or not near(index.text[first + at], text):
                    left = -1
                    break
            if left >= 0:
                numbers = [-1] * len(hunk.old)
                for at, (number, _, _) in enumerate(old):
                    numbers[number] = index.lines.filled[first + at]
                end = index.lines.filled[first + len(old) - 1] + 1
                by_start[first] = Fit(index.lines.filled[first], end, shift, tuple(numbers))
    return list(by_start.values())


def _in_order(choices: list[list[Fit]]) -> list[list[Fit]]:
    """Without the places that would put the hunks in another order than they are given in."""
    least, kept = 0, []
    for fits in choices:
        fits = [fit for fit in fits if fit.start >= least]
        if not fits:
            raise ApplyRefused(
                "the hunks stand in another order in the file", hint="give them from top to end"
            )
        least = min(fit.end for fit in fits)
        kept.append(fits)
    most = max(fit.end for fit in kept[-1])
    for at in range(len(kept) - 1, -1, -1):
        kept[at] = [fit for fit in kept[at] if fit.end <= most]
        most = max((fit.start for fit in kept[at]), default=0)
        if not kept[at]:
            raise ApplyRefused(
                "the hunks stand in another order in the file", hint="give them from top to end"
            )
    return kept


def _single(path: str, index: FileIndex, hunks: list[Hunk], choices: list[list[Fit]]) -> list[Fit]:
    """One place for each hunk; of several, that which the heading or proved line numbers tell."""
    suffix = path.rpartition(".")[2].lower()
    moved, proved = 0, 0
    for hunk, fits in zip(hunks, choices, strict=True):
        if len(fits) == 1 and hunk.line:
            proved += fits[0].start + 1 == hunk.line
            moved += fits[0].start + 1 != hunk.line
    chosen = []
    for hunk, fits in zip(hunks, choices, strict=True):
        left = fits
        if len(left) > 1 and hunk.heading:
            under = [fit for fit in left if _under(index, suffix, hunk.heading, fit)]
            left = under or left
        if len(left) > 1 and proved and not moved:
            left = [fit for fit in left if fit.start + 1 == hunk.line] or left
        if len(left) > 1:
            raise ApplyRefused(
                f"`{shown(next(text for text in hunk.old if text.strip()))}` and the lines with it stand at "
                f"{places_of([fit.start + 1 for fit in left])}",
                hint="add the line before it, so that the old lines stand once in the file",
            )
        chosen.append(left[0])
    return chosen


def _under(index: FileIndex, suffix: str, heading: str, fit: Fit) -> bool:
    """Tell whether a place lies in the def, class or section that a hunk's heading names."""
    named = [number for number in index.where.get(heading, ()) if index.lines.filled[number] < fit.start]
    if len(index.where.get(heading, ())) != 1 or not named:
        return False
    return fit.end <= heading_end(index, suffix, index.lines.filled[named[0]])


def _missing(index: FileIndex, hunk: Hunk) -> ApplyRefused:
    missing = [text for text in hunk.old if text.strip() and text.strip() not in index.where]
    if missing:
        return ApplyRefused(
            f"the old line `{shown(missing[0])}` does not stand in the file",
            hint="read the file again, and copy the old lines exactly",
        )
    first = next(text for text in hunk.old if text.strip())
    return ApplyRefused(
        f"the old lines from `{shown(first)}` stand in the file, but not together or not indented alike",
        hint="copy the old lines exactly as they stand in the file, without leaving any out",
    )


def _written(index: FileIndex, hunk: Hunk, fit: Fit, new: list[str]) -> list[tuple[str, str]]:
    lines = index.lines
    if len(fit.numbers) != len(hunk.old):
        hunk = hunk.trimmed()
    newline = lines.newline_at(fit.start + 1)
    as_written = fit.shift == 0 and all(
        number < 0
        or kind != KEEP
        or lines.bodies[number][: len(lines.bodies[number]) - len(lines.bodies[number].lstrip())]
        == text[: len(text) - len(text.lstrip())]
        for number, (kind, text) in zip(
            fit.numbers, [line for line in hunk.lines if line[0] != NEW], strict=True
        )
    )
    out: list[tuple[str, str]] = []
    at, done = 0, fit.start
    dropped = 0  # blank lines that the hunk takes away, not placed yet
    for kind, text in hunk.lines:
        if kind == NEW:
            if text.strip() and not as_written:
                columns = column(text, index.tab) + fit.shift
                if columns < 0:
                    raise ApplyRefused(
                        "a new line would stand left of the margin", hint="indent as the file does"
                    )
                text = indented(text, columns, tab=index.tab, tabbed=lines.tabbed)
            if text.strip():
                new.append(text)
            out.append((text, newline))
            continue
        number = fit.numbers[at] if at < len(fit.numbers) else -1
        at += 1
        if number < 0:  # a blank line that was not matched one by one
            dropped += kind == OLD
            if kind == KEEP:
                while done < len(lines.bodies) and not lines.stripped[done]:
                    out.append((lines.bodies[done], lines.ends[done]))
                    done += 1
            continue
        blanks = range(done + dropped, number) if done + dropped <= number else range(0)
        out += [(lines.bodies[blank], lines.ends[blank]) for blank in blanks]
        dropped, done = 0, number + 1
        if kind == KEEP:
            out.append((lines.bodies[number], lines.ends[number]))
    return out
