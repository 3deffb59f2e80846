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

MARK: Final = "[key]"
SHORTEST = 8
MOST_KEYS = 1024
MOST_REMEMBERED = 16_384  # characters of a text
# What people write where a server takes any key.
_STAND_INS = {"not-needed", "not_needed", "no-key-needed", "no-key-required", "placeholder"}
_BLANK = r"[\s\u00ad\u200b-\u200d\u2060\ufeff]"
_BLANKS = re.compile(_BLANK)
_ESCAPE = re.compile(
    r"%(?:25){0,3}([0-9a-f]{2})|\\{1,8}(?:u(?:0000)?00|x)([0-9a-f]{2})|&#0{0,4}(\d{2,3});|&#x0{0,4}([0-9a-f]{2});",
    re.I,
)
_OPEN_ESCAPE = re.compile(
    r"(?:%(?:2|25)*[0-9a-f]?|\\+(?:u[0-9a-f]{0,7}|x[0-9a-f]?)?|&(?:#x?[0-9a-f]{0,7}|[a-z]{1,4})?)\Z", re.I
)
_NAMED = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'"}
_SHORT_ESCAPE = re.compile(r"\\+([\"'/\\])")

_keys: dict[str, None] = {}


def remember(key: str | None) -> None:
    """Take a key out of everything from now on. A short one, or a common stand-in for a key, is none."""
    key = (key or "").strip()
    plain_word = key.isalpha() and len(key) < 2 * SHORTEST
    if len(key) < SHORTEST or plain_word or key.lower() in _STAND_INS or key in _keys:
        return
    while len(_keys) >= MOST_KEYS:
        del _keys[next(iter(_keys))]
    _keys[key] = None
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
    plain, small = _plain(text)
    for key in tuple(_keys):
        forms = _forms(key)
        if any(row in small for row in forms.small) or any(row in plain for row in forms.exact):
            text = forms.pattern.sub(mark, text)
    return text


# An answer passes here on its way to the caller, to the record and to the trace: the same text each time.
_remembered = lru_cache(maxsize=256)(_cleaned)


def _plain(text: str) -> tuple[str, str]:
    """Return the text without escapes and blanks, as it is and in lower case."""
    if "%" in text or "\\" in text or "&" in text:
        text = _ESCAPE.sub(_unescaped, text)
        for name, character in _NAMED.items():
            text = text.replace(name, character)
        text = _SHORT_ESCAPE.sub(r"\1", text)
    text = "".join(text.split()) if text.isascii() else _BLANKS.sub("", text)
    return text, text.lower()


def _unescaped(match: re.Match[str]) -> str:
    percent, unicode, decimal, hexadecimal = match.groups()
    code = int(decimal) if decimal else int(percent or unicode or hexadecimal, 16)
    return chr(code)


class _Forms:
    """The rows of characters that stand for one key, and the pattern that finds all of their spellings."""

    def __init__(self, key: str) -> None:
        data = key.encode()
        # A key can hold a blank, which may be anywhere in an echo, or what looks like an escape.
        own = dict.fromkeys((key.lower(), _plain(key)[1] or key.lower()))
        self.small = (*("".join(row.split()) for row in own), data.hex())
        cores = {
            core
            for before in range(3)
            for encode in (base64.b64encode, base64.urlsafe_b64encode)
            if len(core := _core(encode(b"-" * before + data).decode(), before, len(data))) >= SHORTEST
        }
        self.exact = tuple(sorted(cores))
        self.rows = (*((row, True) for row in self.small), *((core, False) for core in self.exact))
        spelt = [_spelt(row, True) for row in (*own, data.hex())] + [
            _spelt(core, False) for core in self.exact
        ]
        self.pattern = re.compile("|".join(spelt))


def _core(text: str, before: int, length: int) -> str:
    """Return the characters of a base64 text that stand for the key alone, whatever is around it."""
    return text[(before * 8 + 5) // 6 : (before + length) * 8 // 6]


def _spelt(row: str, small: bool) -> str:
    """Return the pattern of a row: each character as it is or escaped, with at most eight blanks between."""
    parts = [_spellings(character, small) + "?" * character.isspace() for character in row]
    return f"{_BLANK}{{0,8}}".join(parts)


def _spellings(character: str, small: bool) -> str:
    codes = {ord(character), *((ord(character.upper()), ord(character.lower())) if small else ())}
    forms = [name for name, meant in _NAMED.items() if meant == character]
    for code in sorted(codes):
        digits = "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in f"{code:02x}")
        forms += [rf"%(?:25){{0,3}}{digits}", rf"\\{{1,8}}(?:[uU](?:0000)?00|[xX]){digits}"]
        forms += [rf"&#0{{0,4}}{code};", rf"&#[xX]0{{0,4}}{digits};"]
    if character in "\"'/\\":
        forms.append(r"\\{1,8}" + re.escape(character))
    own = "".join(sorted({re.escape(chr(code)) for code in codes}))
    return f"(?:[{own}]|{'|'.join(forms)})"


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
        begin = ((row[0], row[0].upper()) if loose else row[0] for row, loose in self.all)
        self.firsts = {character for characters in begin for character in characters} | set("%\\&")
        self.longest = max(len(row) for row, _ in self.all) * 14


@lru_cache(maxsize=1)
def _rows() -> _Rows:
    return _Rows()


def _beginning(text: str) -> int:
    """Return where the end of a text could begin a key, or the text's length."""
    rows = _rows()
    for number in range(max(0, len(text) - rows.longest), len(text)):
        if text[number] in rows.firsts:
            plain, small = _plain(_OPEN_ESCAPE.sub("", text[number:]))
            if any(row.startswith(small if loose else plain) for row, loose in rows.all):
                return number
    return len(text)
