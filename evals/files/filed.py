"""Values that a file of lines holds: the first ones are in memory too, all others are read when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")

IN_MEMORY = 1000


class Filed(MutableMapping[K, V]):
    """A mapping that takes the same memory for ten thousand large values as for a thousand.

    Values without a place in the file are kept in memory, as all are where there is no file.
    """

    def __init__(
        self, path: Path | None, parse: Callable[[bytes], V], write: Callable[[V], int | None]
    ) -> None:
        """`write` puts a value on a line of the file, and returns where that begins; None without a file."""
        self._path, self._parse, self._write = path, parse, write
        self._places: dict[K, int | None] = {}  # where each value's line begins
        self._in_memory: dict[K, V] = {}

    def keep(self, key: K, value: V, place: int | None) -> None:
        """Keep a value of the file; `place` is where its line begins. The first value of a key counts."""
        if key not in self._places:
            self._places[key] = place
            if place is None or len(self._in_memory) < IN_MEMORY:
                self._in_memory[key] = value

    def take(self, other: Filed[K, V]) -> None:
        """Take in the values of another reading of the same file."""
        for key, place in other._places.items():
            if key in other._in_memory:
                self.keep(key, other._in_memory[key], place)
            else:
                self._places.setdefault(key, place)

    def __getitem__(self, key: K) -> V:
        if key in self._in_memory:
            return self._in_memory[key]
        place = self._places[key]
        if self._path is None or place is None:
            raise KeyError(key)
        with self._path.open("rb") as file:
            file.seek(place)
            return self._parse(file.readline())

    def __setitem__(self, key: K, value: V) -> None:
        place = self._places[key] = self._write(value)
        if place is None or key in self._in_memory or len(self._in_memory) < IN_MEMORY:
            self._in_memory[key] = value

    def __delitem__(self, key: K) -> None:
        del self._places[key]
        self._in_memory.pop(key, None)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[K]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Chosen(Sequence[V], Generic[K, V]):
    """Some values of a mapping in an order, each looked up when it is asked for."""

    def __init__(self, values: Mapping[K, V], keys: Iterable[K]) -> None:
        self._values, self._keys = values, tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> V: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[V]: ...
    def __getitem__(self, index: int | slice) -> V | Sequence[V]:
        if isinstance(index, slice):
            return Chosen(self._values, self._keys[index])
        return self._values[self._keys[index]]

    def __iter__(self) -> Iterator[V]:
        return (self._values[key] for key in self._keys)
