"""The keys that this process uses, taken out of whatever is kept, shown or handed on, in whatever form.

A server can echo the key that it was sent: plain, quoted for JSON or a URL, in base64 or hex, with blanks
in between, cut over the chunks of a stream. Each form is a row of characters, each of which has a few
spellings, so one pass over the text finds them all.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

from .escapes import flat, places, raw, squeezed, start_of

MARK: Final = "[key]"
SHORTEST = 8
MOST_KEYS = 1024
MOST_REMEMBERED = 16_384  # characters of a text
# What people write where a server takes any key.
_STAND_INS = {"not-needed", "not_needed", "no-key-needed", "no-key-required", "placeholder"}
_OPEN_ESCAPE = re.compile(
    r"(?:%(?:2|25)*[0-9a-f]?|\\+(?:u[0-9a-f]{0,7}|x[0-9a-f]?)?|&(?:#x?[0-9a-f]{0,7}|[a-z]{1,4})?)\Z", re.I
)
_KEY_NAME = re.compile(r"key|token|secret|passw|sig|auth|credential", re.I)

_keys: dict[str, None] = {}
generation = 0  # another one whenever a key has come: what was without keys may hold one now


def names_key(name: str) -> bool:
    """Tell whether a header, a parameter or a field has the name of a key."""
    return _KEY_NAME.search(name) is not None


def key_in_query(query: str) -> bool:
    """Tell whether the query of an address holds a key."""
    return any(names_key(name) for name, _ in parse_qsl(query, keep_blank_values=True))


def remember(key: str | None) -> None:
    """Take a key out of everything from now on. A short one, or a common stand-in for a key, is none."""
    key = (key or "").strip()
    plain_word = key.isalpha() and len(key) < 2 * SHORTEST
    if len(key) < SHORTEST or plain_word or key.lower() in _STAND_INS or key in _keys:
        return
    while len(_keys) >= MOST_KEYS:
        del _keys[next(iter(_keys))]
    global generation
    _keys[key] = None
    generation += 1
    _remembered.cache_clear()
    _rows.cache_clear()


def any_known() -> bool:
    """Tell whether this process uses a key."""
    return bool(_keys)


def without_keys(text: str, mark: str = MARK) -> str:
    """Return the text without the keys in use; the same object where it holds none."""
    if not _keys or len(text) < SHORTEST:
        return text
    return _remembered(text, mark) if len(text) <= MOST_REMEMBERED else _cleaned(text, mark)


def _cleaned(text: str, mark: str) -> str:
    for key in tuple(_keys):
        text = text.replace(key, mark)
    plain = raw(text)
    data = flat(plain)
    text = _marked(text, data, mark)
    # What looks like an escape may be the beginning of a key.
    return text if data is plain else _marked(text, raw(text), mark)


def _marked(text: str, data: bytes, mark: str) -> str:
    """Return the text with a mark for each key that is found in its raw or flat form."""
    exact = squeezed(data)
    small = exact.lower()
    found = sorted(
        (at, at + len(row) - 1)
        for key in tuple(_keys)
        for row, loose in _rows_of(key)
        for at in _each(row, small if loose else exact)
    )
    ends: list[int] = []
    for start, end in found:
        if not ends or start > ends[-1]:
            ends += (start, end)
    place = places(data, ends)
    parts: list[str] = []
    done = 0
    for start, end in zip(place, place, strict=True):
        parts += (text[done : max(done, start_of(text, data, start))], mark)
        done = end + 1
    return "".join((*parts, text[done:])) if parts else text


def _each(row: bytes, text: bytes) -> Iterator[int]:
    at = text.find(row)
    while at >= 0:
        yield at
        at = text.find(row, at + len(row))


# An answer passes here on its way to the caller, to the record and to the trace: the same text each time.
_remembered = lru_cache(maxsize=256)(_cleaned)


@lru_cache(maxsize=MOST_KEYS)
def _rows_of(key: str) -> tuple[tuple[bytes, bool], ...]:
    """Return the rows of characters that stand for one key, each with whether its case is loose."""
    data = key.encode()
    # A key can hold a blank, which may be anywhere in an echo, or what looks like an escape.
    own = {squeezed(data)}
    if key.isascii():
        own |= {squeezed(flat(each)) for each in (data, data.replace(b"\\", b""))}
    small = {row.lower() for row in own if row} | {data.hex().encode()}
    exact = {
        core
        for before in range(3)
        for encode in (base64.b64encode, base64.urlsafe_b64encode)
        if len(core := _core(encode(b"-" * before + data), before, len(data))) >= SHORTEST
    }
    return (*((row, True) for row in sorted(small)), *((core, False) for core in sorted(exact)))


def _core(text: bytes, before: int, length: int) -> bytes:
    """Return the characters of a base64 text that stand for the key alone, whatever is around it."""
    return text[(before * 8 + 5) // 6 : (before + length) * 8 // 6]


class StreamCleaner:
    """Takes the keys in use out of a text that comes in pieces; what may begin a key waits for the next."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Return what can be shown now."""
        if not _keys:
            return piece
        text = without_keys(self._held + piece)
        cut = _beginning(text)
        self._held = text[cut:]
        return text[:cut]

    def rest(self) -> str:
        """Return what was held back: the text has ended."""
        held, self._held = self._held, ""
        return held


class _Rows:
    """All rows of all keys: each with whether its case is loose, how they begin, and the longest spelling."""

    def __init__(self) -> None:
        self.all = [row for key in _keys for row in _rows_of(key)]
        begin = {chr(row[0]) for row, _ in self.all}
        self.firsts = begin | {first.upper() for first in begin} | set("%\\&")
        self.longest = max(len(row) for row, _ in self.all) * 14


@lru_cache(maxsize=1)
def _rows() -> _Rows:
    return _Rows()


def _beginning(text: str) -> int:
    """Return where the end of a text could begin a key, or the text's length."""
    rows = _rows()
    for number in range(max(0, len(text) - rows.longest), len(text)):
        rest = text[number:]
        if text[number] in rows.firsts and any(
            _begins(rows, data) for data in (raw(rest), flat(raw(_OPEN_ESCAPE.sub("", rest))))
        ):
            return number
    return len(text)


def _begins(rows: _Rows, data: bytes) -> bool:
    exact = squeezed(data)
    small = exact.lower()
    return any(row.startswith(small if loose else exact) for row, loose in rows.all)
