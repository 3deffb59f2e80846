"""The search itself: files first, then their pieces, as many as a number of tokens holds."""

from __future__ import annotations

import os
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from ...state.errors import InputError
from ..files.kinds import FILE_KINDS
from ..files.walking import folder_of, read_text
from ..ranges import LineRange
from ..tokens import count_tokens
from .code_index import CodeIndex
from .pieces import Piece
from .ranking import Ranked, question_words, rank

__all__ = ["RANGE_TOKENS", "SearchResult", "index_of", "rank_folder", "search"]

RANGE_TOKENS = 6  # what naming a range costs, beside its path
_KEPT = 4  # folders whose index stays in memory
_LEAST = 0.58
"""What scores below this part of the best piece is not shown: reading it costs more than it finds."""
_SMALL, _LEAST_OF_SMALL = 12_000, 0.65
"""In a file of fewer characters more is asked of a piece: it is soon read whole if one is missed."""

_indexes: OrderedDict[Path, CodeIndex] = OrderedDict()
_lock = Lock()


@dataclass(frozen=True)
class SearchResult:
    """Line ranges and files, best first; `tokens` is about what a model reads if it is given all ranges."""

    ranges: list[LineRange]
    files: list[str]
    tokens: int
    text: str = field(default="", repr=False)
    """The ranges with their lines, as a model is shown them."""


def search(
    query: str,
    folder: str | os.PathLike[str],
    *,
    tokens: int = 4000,
    index: CodeIndex | None = None,
    kinds: Sequence[str] = ("source",),
) -> SearchResult:
    """Return the lines of a folder that a question or an issue is about, without a model.

    `tokens` bounds what is returned. `kinds` says which files count: "source", "config", "test", "doc",
    "generated"; where there are none of these, all do. `index` keeps what was read between searches: one is
    kept for the last few folders in any case. Raises InputError for a folder that cannot be read, or an empty
    question."""
    if tokens < 1:
        raise InputError(f"A search needs a number of tokens above 0, not {tokens}.")
    if index is not None and index.root != folder_of(folder):
        raise InputError(
            f"The index is of {index.root}, not of {str(folder)!r}; make one with CodeIndex(folder)."
        )
    index = index or index_of(folder)
    ranked = rank_folder(query, index, kinds=kinds)
    return _cut(query, ranked, index.root, tokens)


def rank_folder(query: str, index: CodeIndex, *, kinds: Sequence[str] = ("source",)) -> Ranked:
    """Return all pieces and files that may answer a question, best first."""
    query = query.encode("utf-8", "replace").decode()
    if not query.strip():
        raise InputError("The question of a search is empty; say what is looked for.")
    unknown = [kind for kind in kinds if kind not in FILE_KINDS]
    if unknown:
        raise InputError(
            f"There is no kind of files {unknown[0]!r}; these are known: {', '.join(FILE_KINDS)}."
        )
    index.refresh()
    candidates = index.candidates(query, kinds)
    if not candidates.pieces:
        candidates = index.candidates(query, FILE_KINDS)
    tests = index.candidates(query, ("test",), 40).pieces if "test" not in kinds else []
    return rank(query, candidates.pieces, tests=tests, imports=candidates.imports)


def index_of(folder: str | os.PathLike[str]) -> CodeIndex:
    """Return the index of a folder: one of the last few is used again."""
    fresh = CodeIndex(folder)
    with _lock:
        index = _indexes.pop(fresh.root, fresh)
        _indexes[fresh.root] = index
        while len(_indexes) > _KEPT:
            _indexes.popitem(last=False)
    return index


class _Chosen:
    """The spans of one file that were taken: near ones become one, where that costs less than two."""

    def __init__(self, path: str, lines: Sequence[str], *, is_small: bool) -> None:
        self.lines = lines
        self.is_small = is_small
        self.head = count_tokens(path) + RANGE_TOKENS
        self.spans: list[tuple[int, int]] = []

    def cost(self, start: int, end: int) -> int:
        return count_tokens("\n".join(self.lines[start - 1 : end])) + 1

    def with_spans(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        merged: list[tuple[int, int]] = []
        for start, end in sorted([*self.spans, *spans]):
            if merged and start <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            elif (
                merged and start - merged[-1][1] < 12 and self.cost(merged[-1][1] + 1, start - 1) <= self.head
            ):
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((start, end))
        return merged

    def total(self, spans: Iterable[tuple[int, int]]) -> int:
        return sum(self.head + self.cost(start, end) for start, end in spans)


def _cut(query: str, ranked: Ranked, root: Path, tokens: int) -> SearchResult:
    chosen: dict[str, _Chosen] = {}
    by_file: dict[str, list[tuple[Piece, float]]] = defaultdict(list)
    gone: set[str] = set()
    used = misses = 0
    least = _LEAST * ranked.pieces[0][1] if ranked.pieces else 0.0
    for piece, score in ranked.pieces:
        if misses >= 12 or used >= tokens or score < least:
            break
        if piece.file in gone:
            continue
        if piece.file not in chosen:
            text = read_text(root / piece.file)
            if text is None:
                gone.add(piece.file)
                continue
            chosen[piece.file] = _Chosen(piece.file, text.split("\n"), is_small=len(text) < _SMALL)
        file = chosen[piece.file]
        if file.is_small and score < _LEAST_OF_SMALL / _LEAST * least:
            continue
        spans = file.with_spans((a, min(b, len(file.lines))) for a, b in piece.spans if a <= len(file.lines))
        more = file.total(spans) - file.total(file.spans)
        if used + more > tokens:
            misses += 1  # a smaller piece further down may still fit
            continue
        used += more
        file.spans = spans
        by_file[piece.file].append((piece, score))
    query_words = question_words(query)
    ranges = [
        _range(path, span, by_file[path], query_words) for path, file in chosen.items() for span in file.spans
    ]
    ranges.sort(key=lambda one: (-one.score, one.file, one.start))
    text = "\n".join(
        f"{one}\n" + "\n".join(chosen[one.file].lines[one.start - 1 : one.end]) for one in ranges
    )
    return SearchResult(ranges, [path for path, _ in ranked.files if path not in gone], used, text)


def _range(
    path: str, span: tuple[int, int], pieces: Iterable[tuple[Piece, float]], query_words: Iterable[str]
) -> LineRange:
    here = [
        (score, piece)
        for piece, score in pieces
        if any(start <= span[1] and span[0] <= end for start, end in piece.spans)
    ]
    score, best = max(here, key=lambda one: one[0])
    words = [word for word in query_words if any(word in piece.words for _, piece in here)]
    what = f"{best.kind} {best.name}" if best.name else "module level"
    return LineRange(path, *span, f"{what}: {', '.join(words[:8])}" if words else what, round(score, 4))
