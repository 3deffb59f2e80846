"""Write the merged text: old lines as they are, new ones in the file's indentation and line ends."""

from __future__ import annotations

from dataclasses import dataclass

from .place import Place
from .places import Wanted
from .text_lines import Lines, indented


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged text, with the lines that are new in it."""

    text: str
    new: tuple[str, ...]


class Shifted(Exception):
    """A new line would stand left of the margin."""


def merged_text(lines: Lines, edits: list[tuple[Place, Wanted]]) -> Merged:
    """The file with the edits made, and the new lines."""
    out: list[tuple[str, str]] = []
    new: list[str] = []
    done = 0
    for place, wanted in edits:
        out += zip(lines.bodies[done : place.start], lines.ends[done : place.start], strict=True)
        out += _segment(lines, place, wanted, new)
        done = place.end
    out += zip(lines.bodies[done:], lines.ends[done:], strict=True)
    return Merged(joined(lines, out), tuple(new))


def joined(lines: Lines, out: list[tuple[str, str]]) -> str:
    """Join lines with their ends; the file keeps its state of having, or not having, a newline at its end."""
    unended = bool(lines.ends) and not lines.ends[-1]
    text = [body + (end or lines.newline) for body, end in out]
    if text and unended:
        body, _ = out[-1]
        text[-1] = body
    return lines.bom + "".join(text)


def _segment(lines: Lines, place: Place, wanted: Wanted, new: list[str]) -> list[tuple[str, str]]:
    kept = dict(place.kept)
    filled, tabbed = lines.filled, lines.tabbed
    as_written = place.shift == 0 and all(
        lines.bodies[filled[o]].rstrip() == wanted.lines[wanted.numbers[i]].rstrip() for i, o in place.kept
    )
    if as_written and not any(body[:1] in " \t" for body in (lines.bodies[filled[o]] for _, o in place.kept)):
        # No line that stays shows how the file is indented.
        as_written = not any(line.startswith(" " if tabbed else "\t") for line in wanted.lines)
    # A snippet that keeps the blanks of some blank line means the others as it writes them.
    exact = as_written and any(line and not line.strip() for line in wanted.lines)
    newline = lines.newline_at(place.start + 1)
    out: list[tuple[str, str]] = []
    before = -1  # the filled line of the file that was kept just before, or -1
    for at, number in enumerate(wanted.numbers):
        here = kept.get(at, -1)
        if at:
            raw = wanted.lines[wanted.numbers[at - 1] + 1 : number]
            out += _blanks(lines, before, here, raw if as_written else [""] * len(raw), newline, exact=exact)
        if here >= 0:
            out.append((lines.bodies[filled[here]], lines.ends[filled[here]]))
        else:
            line = wanted.lines[number]
            if not as_written:
                if wanted.columns[at] + place.shift < 0:
                    raise Shifted
                line = indented(line, wanted.columns[at] + place.shift, tab=wanted.tab, tabbed=tabbed)
            new.append(line)
            out.append((line, out[-1][1] or newline if out else newline))
        before = here
    return out


def _blanks(
    lines: Lines, before: int, here: int, raw: list[str], newline: str, *, exact: bool
) -> list[tuple[str, str]]:
    """The blank lines between two lines. Between two that stay, a snippet may add some, not lose any."""
    filled = lines.filled
    old: list[tuple[str, str]] = []
    if before >= 0:
        last = filled[before + 1] if before + 1 < len(filled) else len(lines.bodies)
        span = range(filled[before] + 1, last)
        old = [(lines.bodies[number], lines.ends[number]) for number in span]
        if here == before + 1:
            return old + [("", newline)] * (len(raw) - len(old))
    elif here >= 0:
        first = filled[here - 1] + 1 if here else 0
        old = [(lines.bodies[number], lines.ends[number]) for number in range(first, filled[here])]
    out = []
    for number, body in enumerate(raw):
        stands, end = old[number] if number < len(old) else ("", newline)
        out.append((body if exact else body or stands, end))
    return out
