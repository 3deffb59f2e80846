"""The prompts of two runs side by side, whole, with the words marked in which they differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Final

from ..tracing.record.diff import paired
from ..tracing.record.run import Run
from ..tracing.record.spans import Span
from .steps import CallView, step_view

MOST_WORDS: Final = 2000  # of a text; longer ones are compared line by line
MOST_LINES: Final = 2000  # beyond that, all of it is marked
MOST_WORK: Final = 40_000_000  # words times words, of a page; what comes after is marked whole
_WORDS: Final = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass
class Work:
    """How much may still be compared: texts that models wrote can be slow to compare."""

    left: int = MOST_WORK

    def allows(self, mine: int, theirs: int) -> bool:
        """Tell whether two texts of so many parts may be compared, and count it."""
        if max(mine, theirs) > MOST_LINES or mine * theirs > self.left:
            return False
        self.left -= mine * theirs
        return True


@dataclass(frozen=True)
class Piece:
    """A part of a text that the other one has, too, or `differs`."""

    text: str
    differs: bool


@dataclass(frozen=True)
class PromptPair:
    """One message of a call of each of two runs; None where a run does not have it."""

    path: str
    role: str
    call: int
    a: Sequence[Piece] | None
    b: Sequence[Piece] | None

    @property
    def is_same(self) -> bool:
        return self.a is not None and self.b is not None and not any(p.differs for p in (*self.a, *self.b))


def prompts_of(a: Run, b: Run) -> Iterator[PromptPair]:
    """Yield the messages of both runs' calls in pairs, step by step."""
    work = Work()
    for pair in paired(a.spans, b.spans):
        calls = zip_longest(_calls(a, pair.a), _calls(b, pair.b))
        for number, (one, other) in enumerate(calls, 1):
            messages = zip_longest(one.messages if one else (), other.messages if other else ())
            for mine, theirs in messages:
                role = next(each.role for each in (mine, theirs) if each is not None)
                texts = (mine.text.whole if mine else None, theirs.text.whole if theirs else None)
                yield PromptPair(pair.path, role, number, *contrasted(*texts, work))


def contrasted(a: str | None, b: str | None, work: Work) -> tuple[list[Piece] | None, list[Piece] | None]:
    """Return two texts in pieces; of one alone, all of it differs."""
    if a is None or b is None:
        return a if a is None else [Piece(a, True)], b if b is None else [Piece(b, True)]
    if a == b:
        return [Piece(a, False)], [Piece(b, False)]
    mine, theirs = _parts(a), _parts(b)
    if len(mine) > MOST_WORDS or len(theirs) > MOST_WORDS:
        mine, theirs = a.splitlines(keepends=True), b.splitlines(keepends=True)
    if not work.allows(len(mine), len(theirs)):
        return [Piece(a, True)], [Piece(b, True)]
    left: list[Piece] = []
    right: list[Piece] = []
    for kind, i, j, k, m in SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
        for pieces, text in ((left, "".join(mine[i:j])), (right, "".join(theirs[k:m]))):
            if text:
                pieces.append(Piece(text, kind != "equal"))
    return left, right


def _parts(text: str) -> list[str]:
    return _WORDS.findall(text)


def _calls(run: Run, span: Span | None) -> Sequence[CallView]:
    view = None if span is None else step_view(run, span.id)
    return () if view is None else view.answers
