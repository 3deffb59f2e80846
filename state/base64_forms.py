"""Base64 in other forms than one run: in lines (RFC 2045), with the letters of addresses, without padding.

A form is written in a few letters: "u" for the letters of addresses (- and _), "p" where the padding is left
off, and the length of a line with what ends it: "76n", "76rn", or with an "e" where JSON has escaped it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_ENDS: Final = {"rn": "\r\n", "n": "\n", "ern": "\\r\\n", "en": "\\n"}
FORM: Final = rf"[up]{{0,2}}(?:\d{{1,4}}(?:{'|'.join(_ENDS)}))?"
_PARTS = re.compile(rf"(u?)(p?)(?:(\d{{1,4}})({'|'.join(_ENDS)}))?")
_LINE = re.compile(r"[A-Za-z0-9+/_-]*+={0,2}")
_ANY = re.compile(r"[A-Za-z0-9+/_-]{48}")
_ANY_IN_BYTES = re.compile(_ANY.pattern.encode())
_LONGEST_LINE: Final = 1000
_LEAST_LINE: Final = 48
_LEAST: Final = 1024
_STRIDE: Final = 512
_WINDOW: Final = 160  # two lines and their ends


@dataclass(frozen=True, slots=True)
class Found:
    """Bytes in another form of base64, and where they end in the text."""

    data: bytes
    form: str
    end: int


def encoded(data: bytes, form: str) -> str:
    """Return bytes as base64 of a form; "" is one run of standard letters."""
    text = base64.b64encode(data).decode()
    parts = _PARTS.fullmatch(form) if form else None
    if parts is None:
        return text
    if parts[1]:
        text = text.translate(_TO_ADDRESS)
    if parts[2]:
        text = text.rstrip("=")
    if parts[3]:
        width = int(parts[3])
        text = _ENDS[parts[4]].join(text[at : at + width] for at in range(0, len(text), width))
    return text


_TO_ADDRESS = str.maketrans("+/", "-_")
_FROM_ADDRESS = str.maketrans("-_", "+/")


def read_form(text: str, start: int) -> Found | None:
    """Return the bytes whose base64 begins at a place, if it has another form than the standard one."""
    sign, form, ends = _extent(text, start)
    return next((decoded for end in ends if (decoded := _decoded(text, start, end, sign, form))), None)


def _extent(text: str, start: int) -> tuple[str, str, tuple[int, ...]]:
    """Return what ends the lines that begin at a place, how that is called, and where they may end.

    The last line may be a word that follows them.
    """
    first = _line_end(text, start)
    if _LEAST_LINE <= (width := first - start) <= _LONGEST_LINE:
        for name, sign in _ENDS.items():
            if text.startswith(sign, first) and (lines := _lines(width, sign).match(text, first)):
                ends = (lines.end(), lines.end("whole"))
                return sign, f"{width}{name}", tuple(dict.fromkeys(end for end in ends if end > first))
    return "", "", (first,)


def _line_end(text: str, start: int) -> int:
    match = _LINE.match(text, start)
    return match.end() if match else start


@lru_cache(maxsize=64)
def _lines(width: int, sign: str) -> re.Pattern[str]:
    end, letters = re.escape(sign), "[A-Za-z0-9+/_-]"
    whole = rf"(?P<whole>(?:{end}{letters}{{{width}}}(?![A-Za-z0-9+/_=-]))*+)"
    return re.compile(rf"{whole}(?:{end}{letters}{{1,{width}}}+={{0,2}})?")


def _decoded(text: str, start: int, end: int, sign: str, lines: str) -> Found | None:
    run = text[start:end]
    flat = run.replace(sign, "") if sign else run
    letters = "u" if "-" in flat or "_" in flat else ""
    if not letters and not lines and len(flat) % 4 == 0:
        return None
    plain = flat.translate(_FROM_ADDRESS) if letters else flat
    missing = -len(plain) % 4
    form = letters + ("p" if missing else "") + lines
    try:
        data = base64.b64decode(plain + "=" * missing, validate=True)
    except (binascii.Error, ValueError):
        return None
    return Found(data, form, end) if form and encoded(data, form) == run else None


def long_runs(text: str) -> Iterator[tuple[int, int]]:
    """Yield where long base64 of another form may stand, in a time that grows with the text."""
    at = 0
    while at <= len(text) - _WINDOW:
        # Ordinary text has a blank at least so often.
        if text.find(" ", at, at + _WINDOW) < 0 and (match := _ANY.search(text, at, at + _WINDOW)):
            start = _first_line(text, match.start(), at)
            end = max(at, *_extent(text, start)[2])
            if end - start >= _LEAST:
                yield start, end
            at = end // _STRIDE * _STRIDE
        at += _STRIDE


def may_hold(packed: bytes) -> bool:
    """Tell whether bytes may hold long base64 of another form."""
    windows = range(0, len(packed) - _WINDOW, _STRIDE)
    return any(
        packed.find(b" ", at, at + _WINDOW) < 0 and _ANY_IN_BYTES.search(packed, at, at + _WINDOW)
        for at in windows
    )


def _first_line(text: str, inside: int, at: int) -> int:
    """Return where the lines begin that a place lies in, as far as the text was not looked at before."""
    begin = _begin_of_line(text, inside)
    width = _line_end(text, begin) - begin
    while True:
        sign = next((each for each in _ENDS.values() if text.endswith(each, 0, begin)), None)
        if sign is None:
            return begin
        before = begin - len(sign) - width
        if before < max(0, at - 2 * _STRIDE) or _line_end(text, before) != before + width or width == 0:
            return begin
        if _begin_of_line(text, before) != before:
            return begin
        begin = before


_LETTER = re.compile("[A-Za-z0-9+/_-]")


def _begin_of_line(text: str, inside: int) -> int:
    while inside and _LETTER.match(text, inside - 1):
        inside -= 1
    escaped = inside > 0 and text[inside - 1] == "\\" and text[inside] == "n"
    return inside + escaped
