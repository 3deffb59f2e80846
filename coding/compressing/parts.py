"""The pieces of what was read: lines, the parts that are kept or left out as one, and their blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..ranges import Read
from ..tokens import count_tokens
from .kinds import Kind
from .words import identifiers

__all__ = ["Block", "Line", "Part", "lines_of"]


@dataclass(slots=True, eq=False)
class Line:
    """One line that was read, the first time that it was."""

    read: int
    file: str
    number: int
    text: str
    tokens: int
    names: list[str]
    kind: Kind = Kind.CODE
    indent: int = 0

    @property
    def carries(self) -> bool:
        """Whether it is kept where room is short."""
        return self.kind is not Kind.BLANK and self.kind is not Kind.DOCUMENTATION


@dataclass(slots=True, eq=False)
class Part:
    """Lines that are kept or left out as one."""

    block: Block
    lines: list[Line]
    heads: list[Line] = field(default_factory=list)  # what it stands under within the block


@dataclass(slots=True, eq=False)
class Block:
    """A function, a class without its methods, a section, or what stands between such.

    `heads` are the lines that tell where it stands: its own signature or heading.
    """

    lines: list[Line]
    name: str = ""
    heads: list[Line] = field(default_factory=list)
    parent: Block | None = None
    parts: list[Part] = field(default_factory=list)

    @property
    def file(self) -> str:
        return self.lines[0].file

    @property
    def indent(self) -> int:
        return self.heads[0].indent if self.heads else 0

    def enclosing(self) -> Iterator[Block]:
        """Yield the blocks around it, the innermost first."""
        block = self.parent
        while block is not None:
            yield block
            block = block.parent


def lines_of(reads: Sequence[Read]) -> list[list[Line]]:
    """Return the lines of each read, without those that an earlier one had."""
    seen: set[tuple[str, int]] = set()
    result: list[list[Line]] = []
    for place, read in enumerate(reads):
        texts = read.text.split("\n")
        if texts[-1] == "":
            texts.pop()
        lines = []
        for number, text in enumerate(texts, read.start):
            if (read.file, number) not in seen:
                seen.add((read.file, number))
                size = count_tokens("\n" + text) if text.strip() else 0
                lines.append(Line(place, read.file, number, text, size, identifiers(text)))
        result.append(lines)
    return result
