"""Many rows as one array for each of their columns: a short statement with few values, however many rows.

Postgres reads it in two thirds of the time that it takes for a list of rows, and it is made in half of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from ..records import bindable
from .values import Encoded, text_bytes

WORTH = 256  # values; a list of rows is as quick with fewer
LARGEST = 2**24  # bytes of a column

_HEAD = Struct("!5i").pack  # dimensions, whether any is NULL, the elements' type, how many, where they begin
_LENGTH = Struct("!i").pack
_INTEGER = Struct("!q").pack
_NUMBER = Struct("!d").pack
_NULL = _LENGTH(-1)


def _integer(value: int) -> bytes:
    return _INTEGER(bindable(value))


def _number(value: float) -> bytes:
    return _NUMBER(float(bindable(value)))


# By the type of a column: what its values are here, how each is sent, their type and that of their array.
_KINDS: dict[str, tuple[tuple[type, ...], Callable[[Any], bytes], int, int]] = {
    "TEXT": ((str,), text_bytes, 25, 1009),
    "BIGINT": ((int,), _integer, 20, 1016),
    "DOUBLE PRECISION": ((float, int), _number, 701, 1022),
    "BYTEA": ((bytes, bytearray, memoryview), bytes, 17, 1001),
}


def arrays(kinds: Sequence[str], values: Sequence[Any]) -> Encoded | None:
    """Return rows of values as columns; None where one is not of its column's type, or a column too large.

    `values` are those of one row behind those of another, `kinds` the types of a row's columns.
    """
    columns = [_array(kind, values[at :: len(kinds)]) for at, kind in enumerate(kinds)]
    sent = [column for column in columns if column is not None]
    if not kinds or len(sent) < len(columns):
        return None
    return [*sent], [_KINDS[kind][3] for kind in kinds], [1] * len(kinds)


@lru_cache(64)
def marks_of_arrays(width: int) -> str:
    """Return what makes rows of so many arrays."""
    return f"unnest({', '.join([f'${at}' for at in range(1, width + 1)])})"


def _array(kind: str, column: Sequence[Any]) -> bytes | None:
    own, sent, element, _ = _KINDS[kind]
    types = {*map(type, column)}
    nulls = type(None) in types
    if not all(issubclass(each, own) for each in types if each is not type(None)):
        return None
    elements = [None if value is None else sent(value) for value in column]
    if sum(map(len, filter(None, elements))) > LARGEST:
        return None
    return b"".join((_HEAD(1, nulls, element, len(elements), 1), *_parts(elements)))


def _parts(elements: Iterable[bytes | None]) -> Iterable[bytes]:
    for each in elements:
        if each is None:
            yield _NULL
        else:
            yield _LENGTH(len(each))
            yield each
