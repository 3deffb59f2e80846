"""Which words each file of a large folder has: read once, then only what changed; kept in one file.

The file is a line of JSON (the files and the words) and two arrays of numbers. It holds no code and runs
none: one that is damaged, or of another version, is made again."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ..files.walking import SourceFile, read_text
from .words import words_of

__all__ = ["TermIndex"]

_VERSION = 1
_MOST = 65_535


class TermIndex:
    """The words of files by their numbers: `ids` and `counts` of one file stand together."""

    def __init__(self) -> None:
        self.vocabulary: dict[str, int] = {}
        self.files: dict[str, tuple[int, int, int, int, int]] = {}  # size, time, from, to, number of words
        self.ids = array("I")
        self.counts = array("H")

    def update(self, root: Path, files: Iterable[SourceFile]) -> bool:
        """Read what is new or changed, forget what is gone; tell whether there was anything to do."""
        wanted = {one.path: one for one in files}
        same = {
            path
            for path, (size, modified, *_) in self.files.items()
            if path in wanted and (wanted[path].size, wanted[path].modified) == (size, modified)
        }
        if len(same) == len(wanted) == len(self.files):
            return False
        old, ids, counts = self.files, self.ids, self.counts
        self.files, self.ids, self.counts = {}, array("I"), array("H")
        for path, one in wanted.items():
            start = len(self.ids)
            if path in same:
                _, _, first, last, length = old[path]
                self.ids.extend(ids[first:last])
                self.counts.extend(counts[first:last])
            else:
                words = Counter(words_of(read_text(root / path) or ""))
                length = sum(words.values())
                self.ids.extend([self.vocabulary.setdefault(word, len(self.vocabulary)) for word in words])
                self.counts.extend([min(count, _MOST) for count in words.values()])
            self.files[path] = (one.size, one.modified, start, len(self.ids), length)
        return True

    def counts_of(self, words: Iterable[str]) -> list[dict[str, int]]:
        """Return how often each file has each of these words, in the order of the files."""
        wanted = {self.vocabulary[word]: word for word in words if word in self.vocabulary}
        by_file: list[dict[str, int]] = []
        ids, counts = self.ids, self.counts
        for _, _, first, last, _ in self.files.values():
            here = ids[first:last]
            by_file.append(
                {wanted[number]: counts[first + k] for k, number in enumerate(here) if number in wanted}
                if not wanted.keys().isdisjoint(here)
                else {}
            )
        return by_file

    def save(self, file: Path) -> None:
        """Write the index in one step: another process reads the old one or the new one."""
        head = json.dumps([self.files, list(self.vocabulary)], ensure_ascii=True).encode()
        body = head + b"\n" + self.ids.tobytes() + self.counts.tobytes()
        mark = f"stepgraph code index {_VERSION} {sys.byteorder} {len(self.ids)} ".encode()
        digest = hashlib.sha256(body).hexdigest().encode()
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name)
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(mark + digest + b"\n" + body)
            Path(name).replace(file)
        except OSError:
            with suppress(OSError):
                Path(name).unlink()
            raise

    @classmethod
    def load(cls, file: Path) -> TermIndex:
        """Return the index in a file, an empty one if there is none that can be used."""
        index = cls()
        try:
            first, _, body = file.read_bytes().partition(b"\n")
            mark, _, digest = first.rpartition(b" ")
            expected, _, size = mark.rpartition(b" ")
            if expected.decode() != f"stepgraph code index {_VERSION} {sys.byteorder}":
                return index
            if hashlib.sha256(body).hexdigest().encode() != digest:
                return index
            head, _, numbers = body.partition(b"\n")
            files, words = json.loads(head)
            ids, counts = array("I"), array("H")
            middle = int(size) * ids.itemsize
            ids.frombytes(numbers[:middle])
            counts.frombytes(numbers[middle:])
            if len(ids) != len(counts) or not _fits(files, len(ids)):
                return index
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return index
        index.files = {path: tuple(row) for path, row in files.items()}
        index.vocabulary = {word: number for number, word in enumerate(words)}
        index.ids, index.counts = ids, counts
        return index


def _fits(files: Mapping[str, list[int]], size: int) -> bool:
    return all(len(row) == 5 and 0 <= row[2] <= row[3] <= size for row in files.values())
