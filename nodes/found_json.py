"""The JSON values in a text, for answers that stand in a code fence or after a preamble."""

from __future__ import annotations

import re
from collections.abc import Iterator

_FENCE, _LANGUAGE = "```", re.compile(r"\w*")
_MAX_HEADER = 100  # characters after the backquotes
_CLOSE = {"{": "}", "[": "]"}


def json_in(text: str) -> Iterator[str]:
    """Yield what may be the JSON in a text: all of it, what stands in fences, objects and lists in prose.

    What lies inside of a value that does not end is none: it is a part of an answer that was cut.
    """
    yield text
    fenced = list(_fenced(text))
    yield from fenced
    if not fenced:
        yield from _values(text)


def _fenced(text: str) -> Iterator[str]:
    """Yield what stands between code fences, in a time that is linear in the text."""
    start = text.find(_FENCE)
    while start >= 0:
        begin = start + len(_FENCE)
        line = text.find("\n", begin, begin + _MAX_HEADER)
        if line < 0 or not _LANGUAGE.fullmatch(text[begin:line].strip(" \t")):
            start = text.find(_FENCE, start + 1)
            continue
        end = text.find(_FENCE, line + 1)
        if end < 0:
            return
        yield text[line + 1 : end].strip()
        start = text.find(_FENCE, end + len(_FENCE))


def _values(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        if text[place] in _CLOSE:
            end = _end_of(text, place)
            if end is None:
                return
            yield text[place:end]
            place = end
        else:
            place += 1


def _end_of(text: str, start: int) -> int | None:
    """Return where the brackets that open at a place are closed, None if they never are."""
    open_: list[str] = []
    quoted = escaped = False
    for place in range(start, len(text)):
        letter = text[place]
        if quoted:
            quoted = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            quoted = True
        elif letter in _CLOSE:
            open_.append(_CLOSE[letter])
        elif open_ and letter == open_[-1]:
            open_.pop()
            if not open_:
                return place + 1
    return None
