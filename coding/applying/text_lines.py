"""A text as lines whose bytes survive: each line keeps its own line end, tabs and trailing blanks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Lines:
    """A file's lines. `bodies` and `ends` have one entry per line; the last end may be empty."""

    bodies: list[str]
    ends: list[str]
    bom: str = ""
    stripped: list[str] = field(default_factory=list)
    filled: list[int] = field(default_factory=list)  # the numbers, from 0, of the lines that are not blank

    @property
    def newline(self) -> str:
        """The line end that most lines have."""
        counted = Counter(self.ends)
        del counted[""]
        return max(counted, key=counted.__getitem__) if counted else "\n"

    @property
    def tabbed(self) -> bool:
        """Whether the file indents with tabs."""
        tabs = sum(body.startswith("\t") for body in self.bodies)
        return tabs > 0 and tabs >= sum(body.startswith("  ") for body in self.bodies)

    def newline_at(self, number: int) -> str:
        """The line end that a new line above line `number` gets: that of its neighbours, if they agree."""
        if len({end for end in self.ends if end}) > 1:  # mixed: what stands next to it decides
            for near in (number - 1, number):
                if 0 <= near < len(self.ends) and self.ends[near]:
                    return self.ends[near]
        return self.newline

    def text(self) -> str:
        return self.bom + "".join(map(str.__add__, self.bodies, self.ends))


def split_lines(text: str) -> Lines:
    """Split a text at \\n and \\r\\n only: form feeds and Unicode separators are part of a line."""
    bom = BOM if text.startswith(BOM) else ""
    bodies, ends = [], []
    parts = text[len(bom) :].split("\n")
    last = parts.pop()
    for part in parts:
        carriage = part.endswith("\r")
        bodies.append(part[:-1] if carriage else part)
        ends.append("\r\n" if carriage else "\n")
    if last:
        bodies.append(last)
        ends.append("")
    stripped = [body.strip() for body in bodies]
    return Lines(bodies, ends, bom, stripped, [number for number, line in enumerate(stripped) if line])


def split_snippet(text: str) -> list[str]:
    """The lines of what a model wrote, without line ends and byte order mark."""
    return [line.removesuffix("\r") for line in text.removeprefix(BOM).split("\n")]


def column(line: str, tab: int) -> int:
    """How far a line is indented, a tab counted as `tab` columns."""
    blank = line[: len(line) - len(line.lstrip(" \t"))]
    return len(blank) + blank.count("\t") * (tab - 1)


def indented(line: str, columns: int, *, tab: int, tabbed: bool) -> str:
    """The line, indented by so many columns, with tabs if the file has them."""
    body = line.lstrip(" \t")
    if not tabbed:
        return " " * columns + body
    return "\t" * (columns // tab) + " " * (columns % tab) + body


def tab_width(lines: list[str]) -> int:
    """By how many blanks a text indents, for those who must turn its blanks into tabs."""
    steps: Counter[int] = Counter()
    before = 0
    for line in lines:
        if line.strip() and not line.startswith("\t"):
            here = column(line, 4)
            if here > before:
                steps[here - before] += 1
            before = here
    return next((step for step, _ in steps.most_common() if step in (2, 3, 4, 8)), 4)
