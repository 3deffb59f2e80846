"""A folder of texts as sources: passages that know their place, and a search among them. No network."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....nodes.splitting import split_text
from ....state.errors import InputError
from ....state.serde import allow

SUFFIXES = (".md", ".rst", ".txt")
MAX_FILES = 200
MAX_BYTES = 2_000_000
PASSAGE_TOKENS = 250
_WORD = re.compile(r"[a-z0-9]{3,}")


@dataclass(frozen=True)
class Source:
    """A passage of a file; `label` is how a text cites it."""

    label: str
    title: str
    place: str
    text: str


allow(Source)


def read_sources(where: str) -> list[Source]:
    """Return the passages of a file, or of the text files in a folder. Raises InputError."""
    root = Path(where)
    if not where or not root.exists():
        raise InputError(f"There is no file or folder {where!r} with sources: -i sources=docs")
    files = [root] if root.is_file() else sorted(_texts_in(root))
    if not files:
        raise InputError(f"{root} holds no texts ({', '.join(SUFFIXES)}).")
    if len(files) > MAX_FILES:
        raise InputError(f"{root} holds {len(files)} texts, more than {MAX_FILES}. Name a smaller folder.")
    return [source for path in files for source in _passages(path, root)]


def _texts_in(root: Path) -> list[Path]:
    """Return the texts in a folder that truly lie in it: a link that leads out is passed over."""
    inside = root.resolve()
    paths = (path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return [path for path in paths if path.resolve().is_relative_to(inside)]


def _passages(path: Path, root: Path) -> list[Source]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} has more than {MAX_BYTES // 1_000_000} MB.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}") from None
    name = path.name if path == root else path.relative_to(root).as_posix()
    return [
        Source(
            f"{name}:{piece.number}",
            piece.headings[-1] if piece.headings else path.stem,
            f"{name}, {piece.place}",
            piece.text,
        )
        for piece in split_text(text, PASSAGE_TOKENS, by="headings")
    ]


def search(question: str, sources: Sequence[Source], most: int) -> list[Source]:
    """Return the passages that share the rarest words with the question, the best first."""
    words = [set(_words(source.text)) for source in sources]
    spread = Counter(word for each in words for word in each)
    query_words = set(_words(question))

    def score(number: int) -> float:
        shared = query_words & words[number]
        return sum(math.log(1 + len(sources) / spread[word]) for word in shared)

    best = sorted(range(len(sources)), key=lambda number: (-score(number), number))
    return [sources[number] for number in best[:most] if score(number) > 0]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
