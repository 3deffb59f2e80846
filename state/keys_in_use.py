"""The keys that this process uses, taken out of whatever is kept, shown or handed on, in whatever form.

A server can echo the key that it was sent: plain, quoted for JSON or a URL, in base64 or hex, with blanks
in between, cut over the chunks of a stream. Each form is a row of characters, each of which has a few
spellings, so one pass over the text finds them all.
"""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

from .escapes import flat, places, raw, squeezed, start_of

MARK: Final = "[key]"
SHORTEST = 8
MOST_KEYS = 1024
MOST_CHECKED = 4096  # ends of keys in one text
MOST_MARKED = 16_384  # spellings of keys with escapes or blanks in one text
MOST_REMEMBERED = 16_384  # characters of a text
# What people write where a server takes any key.
_STAND_INS = {"not-needed", "not_needed", "no-key-needed", "no-key-required", "placeholder"}
_OPEN_ESCAPE = re.compile(
    r"(?:%(?:2|25)*[0-9a-f]?|\\+(?:u[0-9a-f]{0,7}|x[0-9a-f]?)?|&(?:#x?[0-9a-f]{0,7}|[a-z]{1,4})?)\Z", re.I
)
# What half an escape takes for its own of the text after it: "%9" a digit, a backslash an "x" and two.
_DIGITS = re.compile(rb"(?:[xu]|(?=[0-9a-f]))[0-9a-f]{0,8}|", re.I)
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
    known = [_forms(key) for key in tuple(_keys)]
    hits: list[tuple[int, int, int]] = []
    for forms in known:
        for row, loose in forms.rows:
            hits += _each(row, small if loose else exact)
    if len(exact) < len(data):
        for row, digits in (half for forms in known for half in forms.halves):
            hits += _halves(text, data, small, row, digits)
    hits.sort()
    if len(exact) < len(data) and len(hits) > MOST_MARKED:  # a flood: one mark from the first to the last
        hits = [(hits[0][0], max(end for _, end, _ in hits), hits[0][2])]
    spans: list[int] = []
    lengths: list[int] = []
    last = -1
    for start, end, digits in hits:
        if start > last:
            spans += (start, end)
            lengths.append(digits)
            last = end
    as_it_stands = len(exact) == len(data)
    place = iter(spans) if as_it_stands else places(data, spans)
    parts: list[str] = []
    done = 0
    for start, end, digits in zip(place, place, lengths, strict=True):
        begin = start if as_it_stands else max(done, start_of(text, data, start) - digits)
        parts += (text[done:begin], mark)
        done = end + 1
    return "".join((*parts, text[done:])) if parts else text


def _halves(text: str, data: bytes, small: bytes, row: bytes, digits: int) -> list[tuple[int, int, int]]:
    """Return where a key stands whose first characters half an escape before it took for its own digits.

    In "%9" before the key "aZq8..." the "a" is read as the escape's second digit. The third number of each
    place is how many characters the escape took.
    """
    rest = row[digits:]
    if (count := small.count(rest)) == small.count(row):
        return []
    spans = _each(rest, small)
    if count > MOST_CHECKED:  # no innocent text says the end of a key so often
        return spans
    tries = sorted(
        (at - digits + taken, end, taken)
        for taken in range(1, digits + 1)
        for at, end, _ in spans
        if at - digits + taken >= 0 and small[at - digits + taken : at] == row[taken:digits]
    )
    starts = [start_of(text, data, place) for place in places(data, (begin for begin, _, _ in tries))]
    return [
        (begin, end, taken)
        for (begin, end, taken), start in zip(tries, starts, strict=True)
        if text[max(0, start - taken) : start].lower() == row[:taken].decode()
    ]


def _each(row: bytes, text: bytes) -> list[tuple[int, int, int]]:
    """Return where a row begins and ends, each time it is there."""
    spans, length, at = [], len(row), text.find(row)
    while at >= 0:
        spans.append((at, at + length - 1, 0))
        at = text.find(row, at + length)
    return spans


# An answer passes here on its way to the caller, to the record and to the trace: the same text each time.
_remembered = lru_cache(maxsize=256)(_cleaned)


class _Forms:
    """The rows of characters that stand for one key, each with whether its case is loose."""

    def __init__(self, key: str) -> None:
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
        digits = ((row.lower(), len(_DIGITS.match(row)[0])) for row in own)  # type: ignore[index]
        self.halves = [(row, most) for row, n in digits if (most := min(n, len(row) - SHORTEST // 2)) > 0]
        self.rows = (*((row, True) for row in sorted(small)), *((core, False) for core in sorted(exact)))


def _core(text: bytes, before: int, length: int) -> bytes:
    """Return the characters of a base64 text that stand for the key alone, whatever is around it."""
    return text[(before * 8 + 5) // 6 : (before + length) * 8 // 6]


@lru_cache(maxsize=MOST_KEYS)
def _forms(key: str) -> _Forms:
    return _Forms(key)


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
        self.all = [row for key in _keys for row in _forms(key).rows]
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
