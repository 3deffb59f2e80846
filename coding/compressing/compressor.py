"""Of what was read, the lines that a question needs: whole, word for word, with their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ...state.errors import DefinitionError
from ..ranges import LineRange, Read
from ..tokens import count_tokens
from .blocks import blocks_of
from .choosing import chosen, heading
from .parts import Line, Part, lines_of
from .ranking import Weights, worth_of
from .words import identifiers, words

__all__ = ["KEEP", "SLACK", "Compressed", "compress"]

KEEP: Final = 0.4
SLACK: Final = 0.02  # of the target, that is not worth another choice


@dataclass(frozen=True)
class Compressed:
    """The lines that were kept of what was read.

    `text` has them under a heading `## file` for each read; a mark `@120` gives the number of the line
    that follows. `ranges` are the same lines, the most useful first. `removed` is the share of the tokens
    that is gone.
    """

    ranges: tuple[LineRange, ...]
    text: str
    removed: float


_LIKE = re.compile(r"(#{2,}) "), re.compile(r"(@+)\d+\s*$")  # what looks like a mark


def compress(
    query: str,
    reads: Sequence[Read],
    *,
    keep: float = KEEP,
    tokens: int | None = None,
    first: Sequence[LineRange] = (),
) -> Compressed:
    """Return the lines of what was read that a question needs, as many as fit.

    They fit into a share of the tokens, or into a number of them, and are whole, word for word. The reads
    come best first, as a search gives them. No model is asked; the same input gives the same lines.
    Code is cut into functions and statements, documents into sections and paragraphs, logs into entries,
    tables into rows. What is kept brings the heads that it stands under, and the definitions that it uses
    as far as there is room. Docstrings and blank lines go first. `first` are ranges that come before all
    others, such as those that a model chose among the ranges of a looser compression: best first, and what
    is not among the reads is passed over.

        found = compress("why is a revoked task still pending?", [Read("worker.py", 1, text)], keep=0.3)
        print(found.text)
    """
    if tokens is None and not 0 < keep <= 1:
        raise DefinitionError(
            f"compress(keep={keep!r}): expected a share of the tokens, above 0 and at most 1."
        )
    if tokens is not None and tokens < 1:
        raise DefinitionError(f"compress(tokens={tokens!r}): expected a number of tokens, at least 1.")
    every = lines_of(reads)
    whole = sum(count_tokens(f"{heading(read.file)}\n@{read.start}\n") for read in reads)
    whole += sum(count_tokens(read.text) for read in reads)
    room = int(whole * keep) if tokens is None else tokens
    flat = [line for lines in every for line in lines]
    if whole <= room and count_tokens(_text(flat)) <= room:
        return _compressed(flat, {}, {}, whole)
    weights = Weights()
    worth = worth_of(query, [block for lines in every for block in blocks_of(lines)], weights)
    query_words = frozenset(words(identifiers(query)))
    before = _within(worth, first)
    kept = chosen(worth, room, query_words=query_words, length=weights.length, first=before)
    spare = room - count_tokens(_text([line for line in flat if line in kept]))
    if spare > room * SLACK:  # the marks are fewer than was set aside for them
        kept = chosen(worth, room + spare // 2, query_words=query_words, length=weights.length, first=before)
    ahead = {part for lines in before for part in lines.values()}
    for part in sorted(dict.fromkeys(kept.values()), key=lambda part: (part in ahead, worth[part])):
        lines = [line for line in flat if line in kept]
        if count_tokens(_text(lines)) <= room:
            break
        kept = {line: other for line, other in kept.items() if other is not part}
    return _compressed([line for line in flat if line in kept], kept, worth, whole)


def _within(parts: Iterable[Part], ranges: Sequence[LineRange]) -> list[dict[Line, Part]]:
    """Return the lines of each range that were read, in their order, with the parts that they belong to."""
    if not ranges:
        return []
    owners = {line: part for part in parts for line in (*part.block.heads, *part.heads, *part.lines)}
    every = sorted(owners, key=lambda line: (line.file, line.number))
    groups = [
        {
            line: owners[line]
            for line in every
            if line.file == one.file and one.start <= line.number <= one.end
        }
        for one in ranges
    ]
    return [lines for lines in groups if lines]


def _compressed(
    lines: Sequence[Line], kept: dict[Line, Part], worth: dict[Part, float], whole: int
) -> Compressed:
    ranges = []
    for run in _runs(lines):
        parts = dict.fromkeys(kept[line] for line in run if line in kept)
        best = max(parts, key=lambda part: worth[part], default=None)
        reason = best.block.name if best else ""
        ranges.append(
            LineRange(
                run[0].file, run[0].number, run[-1].number, reason, round(worth[best], 4) if best else 0.0
            )
        )
    text = _text(lines)
    removed = 1 - count_tokens(text) / whole if whole else 0.0
    return Compressed(tuple(sorted(ranges, key=lambda range_: -range_.score)), text, removed)


def _runs(lines: Iterable[Line]) -> list[list[Line]]:
    runs: list[list[Line]] = []
    for line in lines:
        last = runs[-1][-1] if runs else None
        if last is not None and (last.read, last.number) == (line.read, line.number - 1):
            runs[-1].append(line)
        else:
            runs.append([line])
    return runs


def _text(lines: Sequence[Line]) -> str:
    """The lines with their files and numbers. A line that looks like such a mark makes the marks longer."""
    signs, ats = (
        max((len(match[1]) for line in lines if (match := form.match(line.text))), default=0)
        for form in _LIKE
    )
    out: list[str] = []
    read = None
    for run in _runs(lines):
        if run[0].read != read:
            out.append("#" * max(0, signs - 1) + heading(run[0].file))
            read = run[0].read
        out.append("@" * (ats + 1) + str(run[0].number))
        out += [line.text for line in run]
    return "\n".join(out)
