"""Splitting a text into pieces that fit a model and know their place."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from langchain_text_splitters import RecursiveCharacterTextSplitter

from ..state.errors import InputError
from ..state.serde import allow

BYTES_PER_TOKEN = 3
EVENING = 3
# Where a text may be cut, the best place first: paragraphs, lines, sentences, words, anywhere.
CUTS = [r"\n\s*\n", r"\n", r"[.!?]['\")\]]*\s", r"\s", ""]
PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
HEADING = re.compile(
    r"^[ \t]*(?:(?P<hashes>\#{1,6})[ \t]+(?P<title>\S.*?)[ \t]*\#*"
    r"|(?P<part>(?:BOOK|PART|VOLUME|Book|Part|Volume)[ \t]+(?:[IVXLC]+|\d+)\b\.?[^\n]{0,80})"
    r"|(?P<chapter>(?:CHAPTER|Chapter)[ \t]+(?:[IVXLC]+|\d+)\b\.?[^\n]{0,80}))[ \t]*$",
    re.MULTILINE,
)
NAME_BELOW = re.compile(r"\s*\n[^\S\n]*\n?[^\S\n]*(\S[^\n]{0,79})(?:\Z|\n[^\S\n]*(?:\n|\Z))")
FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)

Count = Callable[[str], int]


@dataclass(frozen=True)
class Piece:
    """A part of a text: `text[start:end]` of the whole, counted from 0 in characters.

    `number` counts the pieces from 1. `headings` is the path to where the piece begins, the outermost
    heading first.
    """

    text: str
    number: int
    start: int
    end: int
    headings: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where the piece stands, in words fit for a citation."""
        return ", ".join([*self.headings, f"characters {self.start}-{self.end}"])


allow(Piece)


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has: its UTF-8 bytes / 3, rounded up.

    That is on the high side for prose (English has about 4 bytes a token), and close for Chinese or
    Japanese. Nothing is loaded or asked; for an exact count give the model's own tokenizer instead.
    """
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def split_text(
    text: str,
    tokens: int | None = None,
    *,
    by: Literal["tokens", "headings", "paragraphs"] = "tokens",
    overlap: int = 0,
    count: Count = estimate_tokens,
) -> list[Piece]:
    """Split a text into pieces of at most so many tokens, which know their place.

    A cut falls between paragraphs if it can, else between lines, sentences or words. With
    `by="headings"` none goes across a heading: Markdown's (`# Title`), or a line such as "CHAPTER IV"
    or "Part 2". With `by="paragraphs"` each paragraph is a piece. Both take no `tokens` if their parts
    may be of any size. A piece repeats up to `overlap` tokens of the one before, within its section.

    `count` counts tokens; by default they are estimated, see `estimate_tokens`.

        for piece in split_text(book, tokens=800, by="headings"):
            print(piece.place, piece.text[:40])
    """
    _check(tokens, by, overlap)
    headings = _headings(text)
    pieces: list[Piece] = []
    for first, last in _sections(text, by, headings):
        for start, end in _cuts(text, first, last, tokens, overlap, count):
            while start < end and text[start].isspace():
                start += 1
            while end > start and text[end - 1].isspace():
                end -= 1
            if start < end:
                path = _path(headings, start)
                pieces.append(Piece(text[start:end], len(pieces) + 1, start, end, path))
    return pieces


def _check(tokens: int | None, by: str, overlap: int) -> None:
    if by not in ("tokens", "headings", "paragraphs"):
        raise InputError(f"split_text(by={by!r}): expected 'tokens', 'headings' or 'paragraphs'.")
    if tokens is None and by == "tokens":
        raise InputError('split_text needs tokens=…, or by="headings" or "paragraphs".')
    if tokens is not None and (not isinstance(tokens, int) or tokens < 1):
        raise InputError(f"split_text(tokens={tokens!r}): expected a whole number, at least 1.")
    if not isinstance(overlap, int) or overlap < 0 or overlap >= (tokens or overlap + 1):
        raise InputError(
            f"split_text(overlap={overlap!r}): expected 0 or more, and less than tokens={tokens}."
        )


def _sections(text: str, by: str, headings: list[tuple[int, int, str]]) -> Iterator[tuple[int, int]]:
    if by == "headings":
        places = sorted({0, *(start for start, _, _ in headings)})
    elif by == "paragraphs":
        places = [0, *(match.end() for match in PARAGRAPH.finditer(text))]
    else:
        places = [0]
    yield from zip(places, [*places[1:], len(text)], strict=True)


def _cuts(
    text: str, first: int, last: int, tokens: int | None, overlap: int, count: Count
) -> Iterator[tuple[int, int]]:
    section = text[first:last]
    if tokens is None or count(section.strip()) <= tokens:
        yield first, last
        return
    start = first
    for part in _parts(section, tokens - overlap, count):
        end = start + len(part)
        if count(part.strip()) > tokens:
            raise InputError(
                f"The characters {start}-{end} cannot be cut to {tokens} tokens: a single character has "
                "more. Raise tokens."
            )
        yield _reach_back(text, first, start, end, overlap, tokens, count), end
        start = end


def _parts(section: str, tokens: int, count: Count) -> list[str]:
    """Cut a section into parts of about one size, which together are the section again."""
    whole = count(section)
    fewest = -(-whole // tokens)
    parts: list[str] = []
    for number in range(fewest, fewest + EVENING):
        splitter = RecursiveCharacterTextSplitter(
            CUTS,
            is_separator_regex=True,
            keep_separator="end",
            strip_whitespace=False,
            chunk_size=min(tokens, -(-whole * 11 // (number * 10))),
            chunk_overlap=0,
            length_function=count,
        )
        parts = splitter.split_text(section)
        if len(parts) <= number:
            break
    return parts


def _reach_back(text: str, first: int, start: int, end: int, overlap: int, tokens: int, count: Count) -> int:
    """Return where a piece begins that repeats whole words of what stands before `start`."""
    if not overlap:
        return start
    words = [match.start() for match in re.finditer(r"(?<!\S)\S", text[first:start])]
    best = start
    for word in reversed(words):
        place = first + word
        if count(text[place:start]) > overlap or count(text[place:end].strip()) > tokens:
            break
        best = place
    return best


def _headings(text: str) -> list[tuple[int, int, str]]:
    """Return place, level and title of each heading; what stands in a Markdown fence is none."""
    fences = [(match.start(), match.end()) for match in FENCE.finditer(text)]
    headings = []
    for match in HEADING.finditer(text):
        if any(start <= match.start() < end for start, end in fences):
            continue
        if match["hashes"]:
            level, title = len(match["hashes"]), match["title"]
        else:
            level, title = (1, match["part"]) if match["part"] else (2, match["chapter"])
            below = NAME_BELOW.match(text, match.end())
            if below and len(title.split()) == 2 and not HEADING.match(below[1]):
                title = f"{title.rstrip('.')}. {below[1]}"
        headings.append((match.start(), level, " ".join(title.split())))
    return headings


def _path(headings: list[tuple[int, int, str]], place: int) -> tuple[str, ...]:
    path: list[tuple[int, str]] = []
    for _, level, title in headings[: bisect_right([start for start, _, _ in headings], place)]:
        path = [(above, name) for above, name in path if above < level]
        path.append((level, title))
    return tuple(title for _, title in path)
