"""The order of files and pieces for a question: words, names, meaning and paths, files before pieces.

The weights were chosen by leaving one package out at a time, on issues of real releases (benchmarks/coding).
They lie on a plateau: half or twice of any of them costs at most two of 38 issues."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from .bm25 import bm25, to_one
from .pieces import Piece
from .vectors import nearness
from .words import split_word, words_of

__all__ = ["Ranked", "question_words", "rank"]

_BODY, _NAME, _MEANING = 1.5, 0.25, 0.4  # of a piece: its words, those of its name, how near it is in meaning
_PIECES, _WORDS, _PATH, _TESTS, _IMPORTS = (
    0.3,
    0.58,
    0.14,
    0.2,
    0.1,
)  # of a file, with the tests that speak of it
_POWER = 2.7  # how much the best piece of a file counts before all of them
_FILE = 0.5  # what a piece gets of its file
_MODULE, _CLASS = 0.38, 0.1  # taken off what stands around functions
_SEEDS = 5  # the best files, which speak for what they share
_SHARED = 8  # the place of the file that they share
_SIZE = 0.12  # long pieces cost more of the budget
_MOST_VECTORS = 1500

_OPERATORS = {
    "+=": "iadd", "-=": "isub", "*=": "imul", "/=": "itruediv", "|=": "ior", "&=": "iand",
    "==": "eq", "!=": "ne",     "async with": "aenter aexit", "async for": "aiter anext",
}  # fmt: skip


@dataclass(frozen=True)
class Ranked:
    """Pieces with their scores, best first, and all files, best first."""

    pieces: list[tuple[Piece, float]]
    files: list[tuple[str, float]]


def question_words(question: str) -> Counter[str]:
    """Return the words of a question, with those that code has for the operators in it."""
    words = Counter(words_of(question))
    for sign, names in _OPERATORS.items():
        if sign in question:
            words.update(part for name in names.split() for part in split_word(name))
    return words


def rank(
    question: str,
    pieces: Sequence[Piece],
    *,
    tests: Sequence[Piece] = (),
    imports: Mapping[str, Iterable[str]] | None = None,
) -> Ranked:
    """Return the pieces and their files in the order in which they answer the question.

    `tests` are pieces of tests, which point at files by their names; `imports` are the files that each file
    uses."""
    if not pieces:
        return Ranked([], [])
    query_words = question_words(question)
    body = to_one(bm25(query_words, [one.words for one in pieces], [one.length for one in pieces]))
    named = [Counter(words_of(one.name.rpartition(".")[2])) for one in pieces]
    names = to_one(bm25(query_words, named, [1 + sum(name.values()) for name in named], b=0.3))
    near = _meaning(question, pieces, [_BODY * b + _NAME * n for b, n in zip(body, names, strict=True)])
    own = to_one([_BODY * b + _NAME * n + _MEANING * m for b, n, m in zip(body, names, near, strict=True)])
    files = _files(query_words, pieces, own, tests, imports or {})
    scored = []
    for piece, score in zip(pieces, own, strict=True):
        whole = score + _FILE * files[piece.file]
        whole -= _MODULE if piece.kind == "module" else _CLASS if piece.kind == "class" else 0
        scored.append((piece, max(whole, 1e-6) * (piece.end - piece.start + 5) ** -_SIZE))
    scored.sort(key=lambda one: (-one[1], one[0].file, one[0].start))
    return Ranked(scored, _with_shared(files, imports or {}))


def _with_shared(files: Mapping[str, float], imports: Mapping[str, Iterable[str]]) -> list[tuple[str, float]]:
    """Return the files, best first, with the one that the best of them share among the first eight.

    A change to several files often reaches one that no word of the issue is about: the base of what the
    others define. It is the one that the best files import, and few others do."""
    order = sorted(files.items(), key=lambda one: (-one[1], one[0]))
    first, rest = order[: _SHARED - 1], order[_SHARED - 1 :]
    uses = {
        path: sorted(set(used) & files.keys() - {path}) for path, used in imports.items() if path in files
    }
    users = Counter(other for used in uses.values() for other in used)
    shared: dict[str, float] = defaultdict(float)
    for path, score in order[:_SEEDS]:
        for other in uses.get(path, ()):
            shared[other] += score**2 / (len(uses[path]) * users[other]) ** 0.5
    best = max(rest, key=lambda one: (shared[one[0]], one[1]), default=None)
    if best is None or not shared[best[0]]:
        return order
    return [*first, (best[0], first[-1][1]), *(one for one in rest if one is not best)]


def _meaning(question: str, pieces: Sequence[Piece], lexical: Sequence[float]) -> list[float]:
    """Return the nearness in meaning of the pieces that words speak for, 0 for the rest of a large folder."""
    chosen = sorted(range(len(pieces)), key=lambda k: -lexical[k])[:_MOST_VECTORS]
    near = nearness(question, [pieces[k] for k in chosen])
    scores = [0.0] * len(pieces)
    for place, score in zip(chosen, near, strict=True):
        scores[place] = score
    return scores


def _files(
    query_words: Mapping[str, float],
    pieces: Sequence[Piece],
    own: Sequence[float],
    tests: Sequence[Piece],
    imports: Mapping[str, Iterable[str]],
) -> dict[str, float]:
    words: dict[str, Counter[str]] = defaultdict(Counter)
    sums: dict[str, float] = defaultdict(float)
    for piece, score in zip(pieces, own, strict=True):
        words[piece.file].update({word: count for word in query_words if (count := piece.words.get(word))})
        sums[piece.file] += score**_POWER
    lengths: Counter[str] = Counter()
    for piece in pieces:
        lengths[piece.file] += piece.length
    paths = list(sums)
    parts = [_PIECES * score for score in to_one([sums[path] ** (1 / _POWER) for path in paths])]
    _add(
        parts,
        _WORDS,
        bm25(query_words, [words[path] for path in paths], [lengths[path] for path in paths], b=0.5),
    )
    _add(
        parts,
        _PATH,
        bm25(query_words, [Counter(words_of(_plain(path))) for path in paths], [5] * len(paths), b=0),
    )
    _add(parts, _TESTS, _by_tests(query_words, paths, tests))
    scores = dict(zip(paths, to_one(parts), strict=True))
    _add(parts := list(scores.values()), _IMPORTS, _by_imports(scores, imports))
    return dict(zip(paths, to_one(parts), strict=True))


def _add(sums: list[float], weight: float, scores: Sequence[float]) -> None:
    for place, score in enumerate(to_one(scores)):
        sums[place] += weight * score


def _plain(path: str) -> str:
    return re.sub(r"[/.]", " ", str(PurePosixPath(path).with_suffix("")))


def _stem_words(path: str) -> set[str]:
    return set(words_of(PurePosixPath(path).name.partition(".")[0])) - {"test", "spec", "conftest"}


def _by_tests(query_words: Mapping[str, float], paths: Sequence[str], tests: Sequence[Piece]) -> list[float]:
    """Return how much the tests that fit the question speak for each file: `test_url.py` for `url.py`."""
    support = [0.0] * len(paths)
    scores = to_one(bm25(query_words, [one.words for one in tests], [one.length for one in tests]))
    best = sorted(range(len(tests)), key=lambda k: -scores[k])[:15]
    stems = [_stem_words(path) for path in paths]
    for place in best:
        words = _stem_words(tests[place].file)
        for number, other in enumerate(stems):
            if words & other:
                support[number] += scores[place] * len(words & other) / len(words | other)
    return support


def _by_imports(scores: Mapping[str, float], imports: Mapping[str, Iterable[str]]) -> list[float]:
    """Return how much the files that use a file speak for it."""
    support = dict.fromkeys(scores, 0.0)
    for path, used in imports.items():
        known = [other for other in used if other in support and other != path]
        for other in known:
            support[other] += scores.get(path, 0.0) ** 2 / len(known) ** 0.5
    return list(support.values())
