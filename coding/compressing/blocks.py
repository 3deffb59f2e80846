"""What was read, cut into blocks, and these into parts that are kept or left out as one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from .kinds import Family, Kind, family_of, head_name, indent_of, line_kinds
from .parts import Block, Line, Part
from .prose import prose_blocks, shape_of

__all__ = ["LINES", "MOST_CHARS", "SIGNATURE", "blocks_of"]

LINES: Final = 14  # of code in a part of a long block
SIGNATURE: Final = 12  # lines of a signature at most
MOST_CHARS: Final = 2_000
_CLOSING: Final = re.compile(r"\s*(?:[)\]}]|end\b|else\b|elif\b|except\b|finally\b|catch\b|fi\b|done\b)")


def blocks_of(lines: list[Line]) -> list[Block]:
    """Return the blocks of one read, in order, each with its parts and the block around it."""
    if not lines:
        return []
    family = family_of(lines[0].file)
    if family in (Family.PROSE, Family.UNKNOWN):
        family = shape_of(lines, family)
    if family is Family.PROSE:
        return prose_blocks(lines)
    for line, kind in zip(lines, line_kinds([line.text for line in lines], family), strict=True):
        line.kind = kind
        line.indent = indent_of(line.text)
    blocks = [_named(group, family) for group in _groups(lines)]
    _enclose(blocks)
    for block in blocks:
        block.parts = [Part(block, part) for part in _cut(block)]
        _nest(block)
    return blocks


def _groups(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Yield the lines of each definition, with its decorators and the comment above it, and those between."""
    group: list[Line] = []
    inside: int | None = None  # the indentation of the definition
    for line in lines:
        if line.kind is Kind.HEAD and not (group and inside is None and _is_decorator(group[-1])):
            above: list[Line] = []
            while group and group[-1].kind is Kind.COMMENT:
                above.insert(0, group.pop())
            if group:
                yield group
            group, inside = above, None
        elif (
            inside is not None
            and line.carries
            and line.indent <= inside
            and not _CLOSING.match(line.text[:MOST_CHARS])
        ):
            yield group
            group, inside = [], None
        group.append(line)
        if line.kind is Kind.HEAD and not _is_decorator(line):
            inside = line.indent
    if group:
        yield group


def _is_decorator(line: Line) -> bool:
    return line.kind is Kind.HEAD and line.text.lstrip().startswith("@")


def _named(group: list[Line], family: Family) -> Block:
    for place, line in enumerate(group):
        if line.kind is Kind.HEAD and not _is_decorator(line):
            return Block(group, head_name(line.text, family) or "", _signature(group[place:]))
    return Block(group)


def _signature(lines: Sequence[Line]) -> list[Line]:
    open_ = 0
    for count, line in enumerate(lines[:SIGNATURE], 1):
        text = line.text[:MOST_CHARS]
        open_ += text.count("(") + text.count("[") - text.count(")") - text.count("]")
        if open_ <= 0:
            return list(lines[:count])
    return list(lines[:1])


def _enclose(blocks: Sequence[Block]) -> None:
    """Set what each block stands in: the last one before it that begins further left."""
    open_: list[Block] = []
    for block in blocks:
        first = next((line for line in block.lines if line.kind is not Kind.BLANK), block.lines[0])
        indent = block.heads[0].indent if block.heads else first.indent
        while open_ and open_[-1].indent >= indent:
            open_.pop()
        block.parent = open_[-1] if open_ else None
        if block.heads:
            open_.append(block)


def _cut(block: Block) -> Iterator[list[Line]]:
    """Yield the parts of a block: a long one is cut between its statements."""
    code = [line for line in block.lines if line.carries]
    if len(code) <= LINES * 8 // 5:
        yield block.lines
        return
    body = min((line.indent for line in code if line.kind is not Kind.HEAD), default=0)
    part: list[Line] = []
    count = 0
    for line in block.lines:
        if count >= LINES and line.carries:
            between = line.indent <= body + 4 and not _CLOSING.match(line.text[:MOST_CHARS])
            if between or count >= 2 * LINES:
                yield part
                part, count = [], 0
        part.append(line)
        count += line.carries
    if part:
        yield part


def _nest(block: Block) -> None:
    """Set what each part of a long block stands under: the lines before it that begin further left."""
    if len(block.parts) < 2:
        return
    open_: list[Line] = []
    for part in block.parts:
        first = next((line for line in part.lines if line.carries), part.lines[0])
        part.heads = [line for line in open_ if line.indent < first.indent]
        for line in part.lines:
            if line.carries:
                while open_ and open_[-1].indent >= line.indent:
                    open_.pop()
                open_.append(line)
