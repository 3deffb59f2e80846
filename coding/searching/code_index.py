"""A folder as searches know it: its files, their words and pieces, read again only where they changed."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...state.errors import InputError
from ..files.kinds import kind_of
from ..files.walking import SourceFile, folder_of, read_text, walk
from ..outlines.outline import outline
from .bm25 import bm25, to_one
from .imports import ImportPaths, imported_names
from .pieces import Piece, pieces_of
from .ranking import question_words
from .term_index import TermIndex
from .words import words_of

__all__ = ["SMALL", "Candidates", "CodeIndex"]

SMALL = 450
"""So many files of a kind are read whole; of more, those that have the question's words."""

_CHOSEN = 150
_MOST_PIECES = 60_000  # kept in memory between searches


@dataclass(frozen=True)
class _Parsed:
    size: int
    modified: int
    pieces: list[Piece]
    imports: list[str]


@dataclass(frozen=True)
class Candidates:
    """What a question is compared with: pieces of files, and the imports between these files."""

    pieces: list[Piece]
    imports: dict[str, set[str]]


class CodeIndex:
    """The files of one folder, for many searches.

    A large folder's words are kept in a file in the folder `store`, so that the next program need not read
    all files again; it may not lie in the searched folder. Without it they stay in memory. Files that change
    are noticed by size and time, at each search."""

    def __init__(self, folder: str | os.PathLike[str], store: str | os.PathLike[str] | None = None) -> None:
        self.root = folder_of(folder)
        self._file: Path | None = None
        if store is not None:
            place = Path(store).expanduser().resolve()
            if place.is_relative_to(self.root):
                raise InputError(
                    f"The index would lie in the searched folder ({place}): name one outside of {self.root}."
                )
            digest = hashlib.sha256(str(self.root).encode("utf-8", "surrogateescape")).hexdigest()[:16]
            self._file = place / f"{digest}.code-index"
        self._terms: dict[str, TermIndex] = {}
        self._parsed: OrderedDict[str, _Parsed] = OrderedDict()
        self._kept = 0
        self._lock = threading.Lock()
        self.files: list[SourceFile] = []
        self._kinds: dict[str, str] = {}

    def refresh(self) -> None:
        """Look at the folder again: which files there are, and which changed."""
        files = list(walk(self.root))
        paths = {one.path for one in files}
        known = self._kinds if paths == self._kinds.keys() else {path: kind_of(path, paths) for path in paths}
        self.files, self._kinds = files, known

    def files_of(self, kinds: Iterable[str]) -> list[SourceFile]:
        """Return the files of these kinds, in the order of their paths."""
        wanted = set(kinds)
        return [one for one in self.files if self._kinds[one.path] in wanted]

    def candidates(self, question: str, kinds: Sequence[str], chosen: int = _CHOSEN) -> Candidates:
        """Return the pieces of the files that may answer a question."""
        with self._lock:
            files = self.files_of(kinds)
            if len(files) > SMALL:
                files = self._likely(question, files, chosen, "-".join(sorted(kinds)))
            parsed = {one.path: self._parse(one) for one in files}
        names = {path: one.imports for path, one in parsed.items()}
        graph = ImportPaths(list(parsed)).graph(names)
        return Candidates([piece for one in parsed.values() for piece in one.pieces], graph)

    def _likely(self, question: str, files: Sequence[SourceFile], chosen: int, name: str) -> list[SourceFile]:
        """Return the files of a large folder whose words and paths fit the question best."""
        terms = self._terms.get(name)
        file = self._file.with_suffix(f".{name}.code-index") if self._file else None
        if terms is None:
            terms = self._terms[name] = TermIndex.load(file) if file else TermIndex()
        if terms.update(self.root, files) and file:
            with suppress(OSError):  # a disk that is full costs the next program some seconds, no more
                terms.save(file)
        query_words = question_words(question)
        lengths = [row[4] for row in terms.files.values()]
        by_words = to_one(bm25(query_words, terms.counts_of(query_words), lengths, b=0.4))
        paths = [
            dict.fromkeys(words_of(path.replace("/", " ").rpartition(".")[0]), 1) for path in terms.files
        ]
        by_path = to_one(bm25(query_words, paths, [5] * len(paths), b=0))
        scores = {
            path: words + 0.25 * other
            for path, words, other in zip(terms.files, by_words, by_path, strict=True)
        }
        best = sorted(files, key=lambda one: -scores[one.path])[:chosen]
        return sorted((one for one in best if scores[one.path] > 0), key=lambda one: one.path)

    def _parse(self, one: SourceFile) -> _Parsed:
        known = self._parsed.pop(one.path, None)
        if known is None or (known.size, known.modified) != (one.size, one.modified):
            self._kept -= len(known.pieces) if known else 0
            text = read_text(self.root / one.path) or ""
            known = _Parsed(
                one.size,
                one.modified,
                pieces_of(one.path, text, outline(one.path, text)) if text else [],
                imported_names(one.path, text),
            )
            self._kept += len(known.pieces)
        self._parsed[one.path] = known
        while self._kept > _MOST_PIECES and len(self._parsed) > 1:
            _, oldest = self._parsed.popitem(last=False)
            self._kept -= len(oldest.pieces)
        return known
