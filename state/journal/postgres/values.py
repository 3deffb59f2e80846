"""Values on their way to Postgres and back: what a column cannot hold is written so that it comes back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format
from psycopg.types.numeric import NumericBinaryLoader

from ..records import bindable

# A text here holds no NUL: so this sign of it is written, with a digit that tells it from the sign itself.
_SIGN = "\u2400"
_NUL, _ITSELF = f"{_SIGN}0", f"{_SIGN}1"
_UNKNOWN, _BYTES, _INT, _TEXT, _FLOAT = 0, 17, 20, 25, 701

Encoded = tuple[list[bytes | None], list[int], list[int]]


def encoded(values: Iterable[Any]) -> Encoded:
    """Return values as they are sent, with their types and formats."""
    sent: list[bytes | None] = []
    types: list[int] = []
    formats: list[int] = []
    for value in values:
        kind = type(value)
        if value is None:
            data, oid, binary = None, _UNKNOWN, 0
        elif kind is str and value.isascii() and "\0" not in value:
            data, oid, binary = value.encode(), _TEXT, 0
        elif kind is float:
            data, oid, binary = repr(value).encode(), _FLOAT, 0
        else:
            data, oid, binary = _other(value)
        sent.append(data)
        types.append(oid)
        formats.append(binary)
    return sent, types, formats


def _other(value: Any) -> tuple[bytes, int, int]:
    if isinstance(value, str):
        return text_bytes(value), _TEXT, 0
    if isinstance(value, int):
        return b"%d" % bindable(value), _INT, 0
    if isinstance(value, float):
        return repr(float(value)).encode(), _FLOAT, 0
    return bytes(value), _BYTES, 1


def text_bytes(value: str) -> bytes:
    """Return a text as it is sent."""
    if not value.isascii():
        if _SIGN in value:
            value = value.replace(_SIGN, _ITSELF)
        if "\0" in value:
            value = value.replace("\0", _NUL)
        return value.encode("utf-8", "replace")
    return (value.replace("\0", _NUL) if "\0" in value else value).encode()


class _Text(Loader):
    """Reads a text with what it could not hold."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        text = str(data, "utf-8")
        return text.replace(_NUL, "\0").replace(_ITSELF, _SIGN) if _SIGN in text else text


class _TextAsText(_Text):
    format = Format.TEXT


class _Number(NumericBinaryLoader):
    """Reads what sums of integers come as: an integer, if it is one."""

    def load(self, data: Buffer) -> Any:
        number = super().load(data)
        exponent = number.as_tuple().exponent
        return int(number) if exponent == 0 else float(number)


class _NumberAsText(Loader):
    def load(self, data: Buffer) -> int | float:
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else float(text)


LOADERS = (
    ("text", _Text),
    ("text", _TextAsText),
    ("varchar", _Text),
    ("varchar", _TextAsText),
    ("numeric", _Number),
    ("numeric", _NumberAsText),
)
