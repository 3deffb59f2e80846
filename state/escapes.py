"""Texts without their escapes and blanks, so that what is spelt in another way is found by a plain search.

The raw and the flat form of a text have one byte for each of its characters, at the same place. In the flat
one an escape is the character that it stands for, with fillers before it. All is done by the C code of bytes
and patterns: a hostile text can be all escapes, and a call of Python for each would take ten times as long.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Iterable, Iterator
from itertools import compress, count

_FILLER = b"\0"
# What stands between the characters of a key that is cut or quoted; 0xad is a hyphen that nobody sees.
_GAPS = bytes((*range(33), 0x7F, 0x85, 0xA0, 0xAD)) + b"\\"
_BLOCK = 1024
_KEPT = bytes(byte not in _GAPS for byte in range(256))

# Control characters mark what is not yet undone, so a text has none of its own, and no line ends.
_EQUALS = b"\5"
_FREE = bytes(max(byte, 32) for byte in range(256)).replace(b"=", _EQUALS)
_BACK = bytes.maketrans(b"\1\2\3\4" + _EQUALS, _FILLER * 4 + b"=")
_CONTROLS = tuple(b"=0%d" % number for number in range(6))
# How an escape in hex begins, the same with fillers before "=", and what it is if no two digits follow.
_HEX = (
    (b"%", b"\1\1=", b"%"),
    (b"\\U000000", b"\4" * 9 + b"=", b"\0" * 6 + b"00"),
    (b"\\u000000", b"\4" * 9 + b"=", b"\0" * 6 + b"00"),
    (b"\\u00", b"\3" * 5 + b"=", b"\0u00"),
    (b"\\U00", b"\3" * 5 + b"=", b"\0u00"),
    (b"\\x", b"\2\2\2=", b"\0x"),
    (b"\\X", b"\2\2\2=", b"\0x"),
)
_NUMBERED = re.compile(rb"&#(?:0{0,4}\d{2,3}|[xX]0{0,4}[0-9a-fA-F]{2});")
_NAMED = tuple(
    (name, character.rjust(len(name), _FILLER))
    for name, character in (
        (b"&amp;", b"&"), (b"&lt;", b"<"), (b"&gt;", b">"), (b"&quot;", b'"'), (b"&apos;", b"'"),
    )
)  # fmt: skip


class _Numbers(dict[bytes, bytes]):
    """What each numbered entity becomes; there are a few thousand of them."""

    def __missing__(self, entity: bytes) -> bytes:
        digits = entity[2:-1]
        code = int(digits[1:], 16) if digits[:1] in b"xX" else int(digits)
        self[entity] = flat = bytes([code if code < 256 else 0]).rjust(len(entity), _FILLER)
        return flat


_NUMBERS = _Numbers()


def raw(text: str) -> bytes:
    """Return a byte for each character of the text; one that has no byte counts as a blank."""
    # "?" is set aside, since it is what such a character is written as.
    return text.replace("?", "\1").encode("latin-1", "replace").replace(b"?", b" ").replace(b"\1", b"?")


def flat(data: bytes) -> bytes:
    """Return a raw text with its escapes undone; the same object where it has none."""
    if b"%" in data or b"\\" in data:
        data = _without_hex(data)
    if b"&" in data:
        if b"&#" in data:
            data = _NUMBERED.sub(lambda match: _NUMBERS[match[0]], data)
        for name, character in _NAMED:
            data = data.replace(name, character)
    return data


def _without_hex(data: bytes) -> bytes:
    # Quoted-printable is the one escape in hex that Python undoes in C: "=" and two digits.
    data = data.translate(_FREE)
    for _ in range(3):
        data = data.replace(b"%25", b"\0\0%")  # a percent sign that was itself escaped
    used = [escape for escape in _HEX if escape[0] in data]
    for sign, begun, _ in used:
        data = data.replace(sign, begun)
    if b"=0" in data:
        for control in _CONTROLS:  # these would be read as the marks
            data = data.replace(control, b"=20")
    data = a2b_qp(data.replace(b"=3D", _EQUALS).replace(b"=3d", _EQUALS) + b" ")[:-1]
    for _, begun, plain in used:
        data = data.replace(begun, plain)
    return data.translate(_BACK)


def squeezed(data: bytes) -> bytes:
    """Return a raw or flat text without fillers, blanks and backslashes."""
    return data.translate(None, _GAPS)


def places(data: bytes, numbers: Iterable[int]) -> Iterator[int]:
    """Tell where bytes of a squeezed form stand in the text, whose numbers are given in order."""
    start, before, after = -_BLOCK, 0, 0
    positions: list[int] = []
    for number in numbers:
        while number >= after:
            start += _BLOCK
            before, after = after, after + data[start : start + _BLOCK].translate(_KEPT).count(1)
            positions = []
        positions = positions or list(compress(count(start), data[start : start + _BLOCK].translate(_KEPT)))
        yield positions[number - before]


def start_of(text: str, data: bytes, at: int) -> int:
    """Return where the spelling of the character begins whose byte stands at a place."""
    while at and not data[at - 1]:
        at -= 1
    if text[at] in "\\\"'/":  # a quote or an escape, which may itself be escaped
        while at and text[at - 1] == "\\":
            at -= 1
    return at
