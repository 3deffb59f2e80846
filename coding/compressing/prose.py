"""Documents, logs, tables and data without definitions, cut into blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from .kinds import Family, Kind, indent_of
from .parts import Block, Line, Part

__all__ = ["LINES", "MOST_CHARS", "SAMPLE", "prose_blocks", "shape_of"]

MOST_CHARS: Final = 400  # of a line that tell what it is
SAMPLE: Final = 400  # lines that tell what a text is
LINES: Final = 12  # of a paragraph, a list or a fence that are kept or left out as one
_HEADING: Final = re.compile(r"(#{1,6})\s+(\S.*)")
_UNDERLINE: Final = re.compile(r"([=\-~^\"'*+#`:.])\1{2,}\s*$")
_FENCE: Final = re.compile(r"\s*(?:```|~~~)")
_LOG: Final = re.compile(
    r"\s*(?:\[?\d{4}-\d\d-\d\d|\[?\d\d:\d\d:\d\d|\d\d/\w{3}/\d{4}|[A-Z][a-z]{2} +\d+ \d\d:\d\d|\S+ - - \[|"
    r"\[?(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL)\b)"
)
_PYTHON: Final = re.compile(
    r"\s*(?:def|class|async def)\s+\w+.*:\s*(?:#.*)?$|\s*(?:import \w|from \S+ import )"
)
_BRACES: Final = re.compile(r".*[{};]\s*$")
_ROW: Final = re.compile(r"\s*\|.*\|\s*$|[^,]+(?:,[^,]*){2,}$|[^\t]*(?:\t[^\t]*)+$")
_RULE: Final = re.compile(r"[\s|:+\-=]+$")


def shape_of(lines: Sequence[Line], family: Family) -> Family:
    """Return how a text is read whose name does not tell: as code, as data, or as prose."""
    sample = [line.text[:MOST_CHARS] for line in lines[:SAMPLE] if line.text.strip()]
    if family is Family.PROSE or not sample:
        return Family.PROSE
    most = len(sample)
    if sum(bool(_LOG.match(text)) for text in sample) * 3 > most:
        return Family.PROSE
    if sample[0].lstrip()[:1] in ("{", "["):
        return Family.DATA
    if sum(bool(_PYTHON.match(text)) for text in sample) * 20 > most:
        return Family.PYTHON
    if sum(bool(_BRACES.match(text)) for text in sample) * 3 > most:
        return Family.BRACES
    return Family.PROSE


def prose_blocks(lines: list[Line]) -> list[Block]:
    """Return the sections of a text, each cut into paragraphs, records or rows, under their headings."""
    for line in lines:
        line.kind = Kind.CODE if line.text.strip() else Kind.BLANK
        line.indent = indent_of(line.text[:MOST_CHARS])
    sections = _sections(lines)
    for block in sections:
        block.parts = _parts(block, block.lines[len(block.heads) :]) or [Part(block, block.lines)]
    return sections


def _sections(lines: list[Line]) -> list[Block]:
    blocks: list[Block] = []
    open_: list[tuple[int, Block]] = []
    block = Block([])
    fenced = False
    place = 0
    while place < len(lines):
        fenced ^= bool(_FENCE.match(lines[place].text[:MOST_CHARS]))
        heading = None if fenced else _heading(lines, place)
        if heading is None:
            block.lines.append(lines[place])
            place += 1
            continue
        level, name, count = heading
        if block.lines:
            blocks.append(block)
        heads = lines[place : place + count]
        for head in heads:
            head.kind = Kind.HEAD
        while open_ and open_[-1][0] >= level:
            open_.pop()
        block = Block(list(heads), name, list(heads), open_[-1][1] if open_ else None)
        open_.append((level, block))
        place += count
    if block.lines:
        blocks.append(block)
    return blocks


def _heading(lines: Sequence[Line], place: int) -> tuple[int, str, int] | None:
    """Return the level of a heading, its words, and how many lines it takes."""
    text = lines[place].text[:MOST_CHARS]
    match = _HEADING.match(text)
    if match:
        return len(match[1]), match[2], 1
    if place + 1 < len(lines) and text[:1].strip() and len(text) < 120:
        under = _UNDERLINE.match(lines[place + 1].text[:MOST_CHARS])
        is_alone = place == 0 or not lines[place - 1].text.strip()
        if under and is_alone and len(lines[place + 1].text.rstrip()) >= min(4, len(text.rstrip())):
            return "=-~^\"'*+#`:.".index(under[1]) + 1, text.strip(), 2
    return None


def _parts(block: Block, body: Sequence[Line]) -> list[Part]:
    logged = sum(bool(_LOG.match(line.text[:MOST_CHARS])) for line in body[:SAMPLE])
    if logged * 3 > len(body[:SAMPLE]):
        return [Part(block, record) for record in _records(body)]
    parts: list[list[Line]] = []
    part: list[Line] = []
    fenced = False
    for line in body:
        fence = bool(_FENCE.match(line.text[:MOST_CHARS]))
        is_table = len(part) > 1 and not fenced and bool(_ROW.match(line.text[:MOST_CHARS]))
        ends = line.kind is Kind.BLANK and not fenced
        if part and (ends or (len(part) >= (3 * LINES if fenced else LINES) and not is_table)):
            parts.append(part)
            part = []
        if not ends:
            part.append(line)
        fenced ^= fence
    if part:
        parts.append(part)
    return [row for part in parts for row in _rows(block, part)]


def _records(body: Sequence[Line]) -> list[list[Line]]:
    """Return the entries of a log: a line with a time or a level, and what follows without one."""
    parts: list[list[Line]] = []
    for line in body:
        if parts and len(parts[-1]) < 3 * LINES and not _LOG.match(line.text[:MOST_CHARS]):
            parts[-1].append(line)
        else:
            parts.append([line])
    return parts


def _rows(block: Block, part: list[Line]) -> list[Part]:
    """Return the rows of a table one by one, each under the table's head; any other part as it is."""
    if len(part) < 4 or not all(_ROW.match(line.text[:MOST_CHARS]) for line in part[:8]):
        return [Part(block, part)]
    heads = part[: 2 if _RULE.match(part[1].text[:MOST_CHARS]) else 1]
    return [Part(block, heads), *(Part(block, [line], heads) for line in part[len(heads) :])]
