"""Copies threads from one database to another, row by row, and compares what arrived.

What belongs to a thread are the rows with its id, of all tables that have one: so a new table is moved
without a word here. What else a thread needs goes by `BESIDE`; what stays is named in `STAYS`.

Numbers that a database gives its rows are given anew, in the same order. By the number of an invocation or a
replay its spans are known elsewhere: so `moved_id` keeps it.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import InputError, StoreError

PAGE_ROWS = 500
PAGE_BYTES = 8_000_000

# Tables of which rows go along with those of a thread, though no thread owns them.
BESIDE = ("batches", "blobs")
# Tables that are a matter of the place, not of a thread.
STAYS = {
    "claims": "who runs a thread here",
}
_USED = re.compile(rb";sha256=([0-9a-f]{64})")
_INT64 = 2**63


class Connection(Protocol):
    """Runs portable SQL in an open transaction."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Any: ...


@dataclass(frozen=True)
class Table:
    """A table, and the kind of each of its columns: text, int, real or bytes."""

    name: str
    kinds: Mapping[str, str]
    numbered: bool  # its column `id` is a number that the database gives
    paged: bool  # its rows have a `rowid`

    @property
    def columns(self) -> list[str]:
        """Return the columns that move."""
        return [name for name in self.kinds if not (self.numbered and name == "id")]

    @property
    def quoted(self) -> str:
        return ", ".join(map(quoted, self.columns))

    def is_of_threads(self) -> bool:
        return "thread_id" in self.kinds and self.name not in STAYS

    def reads(self) -> str:
        """Return what a SELECT names to read the columns that move."""
        known = {"moved_id": "coalesce(moved_id, id)"} if self.numbered else {}
        return ", ".join(known.get(name, quoted(name)) for name in self.columns)


Tables = Mapping[str, Table]


@dataclass
class Contents:
    """What a thread has in one table: so many rows, and a sum over all that is in them."""

    rows: int = 0
    sum: int = 0

    def add(self, table: Table, row: Sequence[Any]) -> None:
        """Count a row. The sum is the same in whatever order the rows come."""
        digest = hashlib.sha256()
        for name, value in sorted(zip(table.columns, row, strict=True)):
            digest.update(f"{name}\0".encode())
            digest.update(_bytes_of(value))
        self.rows += 1
        self.sum = (self.sum + int.from_bytes(digest.digest())) % 2**256


@dataclass
class Copied:
    """What was copied of some threads: rows by table, and the bytes of their values."""

    rows: dict[str, int] = field(default_factory=dict)
    size: int = 0
    blobs: set[str] = field(default_factory=set)

    def count(self, table: str, rows: int) -> None:
        if rows:
            self.rows[table] = self.rows.get(table, 0) + rows


def quoted(name: str) -> str:
    return f'"{name}"'


def _bytes_of(value: Any) -> bytes:
    """Return a value's bytes, which no other value has; a number counts by what it is worth."""
    if value is None:
        return b"n"
    if isinstance(value, int):
        return b"i%d." % value
    if isinstance(value, float):
        return b"f" + struct.pack(">d", value + 0.0)  # -0.0 is 0.0, as in SQLite
    data = value.encode() if isinstance(value, str) else bytes(value)
    return (b"t" if isinstance(value, str) else b"b") + b"%d:" % len(data) + data


def fitting(table: Table, row: Sequence[Any], thread: str) -> list[Any]:
    """Return a row's values as their columns keep them. SQLite takes any value in any column.

    Raises StoreError for one that cannot be kept without a loss.
    """
    return [_fitting(table, name, value, thread) for name, value in zip(table.columns, row, strict=True)]


def _fitting(table: Table, name: str, value: Any, thread: str) -> Any:
    kind = table.kinds[name]
    if isinstance(value, memoryview | bytearray):
        value = bytes(value)
    if value is None:
        return None
    if kind == "bytes":
        return value.encode() if isinstance(value, str) else value
    if kind == "real" and isinstance(value, int | float):
        return float(value)
    if kind == "int" and isinstance(value, int) and -_INT64 <= value < _INT64:
        return int(value)
    if kind == "text" and isinstance(value, str):
        return value
    raise StoreError(
        f"The thread {thread!r} cannot be moved: {table.name}.{name} holds {value!r:.60}, and {kind} belongs "
        "there. Something else wrote to the database: put the value right with its own tools."
    )


def pages(connection: Connection, table: Table, thread: str) -> Iterator[list[list[Any]]]:
    """Yield the rows that a thread has in a table, in their order, so many at a time as memory holds."""
    where = f"FROM {table.name} WHERE thread_id = ?"
    if not table.paged:
        rows = connection.execute(f"SELECT {table.reads()} {where}", (thread,)).fetchall()
        if rows:
            yield [fitting(table, row, thread) for row in rows]
        return
    after = None
    while True:
        limit = f"{where}{'' if after is None else ' AND rowid > ?'} ORDER BY rowid LIMIT {PAGE_ROWS}"
        given = (thread,) if after is None else (thread, after)
        sizes = connection.execute(f"SELECT rowid, {_size(table)} {limit}", given).fetchall()
        if not sizes:
            return
        for first, last in _ranges(sizes):
            sql = f"SELECT {table.reads()} {where} AND rowid BETWEEN ? AND ? ORDER BY rowid"
            rows = connection.execute(sql, (thread, first, last)).fetchall()
            yield [fitting(table, row, thread) for row in rows]
        after = sizes[-1][0]


def _size(table: Table) -> str:
    large = [name for name in table.columns if table.kinds[name] in ("text", "bytes")]
    return " + ".join(f"coalesce(length({quoted(name)}), 0)" for name in large)


def _ranges(sizes: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last number of rows that are read together."""
    first, held = sizes[0][0], 0
    for (number, size), before in zip(sizes, [None, *(row[0] for row in sizes)], strict=False):
        if held and held + size > PAGE_BYTES and before is not None:
            yield first, before
            first, held = number, 0
        held += size
    yield first, sizes[-1][0]


def contents(connection: Connection, tables: Tables, thread: str) -> dict[str, Contents]:
    """Return what a thread has in each table in which it has anything; its effects are looked at apart."""
    found: dict[str, Contents] = {}
    for table in tables.values():
        if table.is_of_threads() and table.name != "effects":
            here = Contents()
            for page in pages(connection, table, thread):
                for row in page:
                    here.add(table, row)
            if here.rows:
                found[table.name] = here
    return found


def has_any(connection: Connection, tables: Tables, thread: str) -> bool:
    """Tell whether a database holds anything of a thread; what stays of one that was deleted is nothing."""
    return any(
        connection.execute(f"SELECT 1 FROM {table.name} WHERE thread_id = ? LIMIT 1", (thread,)).fetchone()
        for table in tables.values()
        if table.is_of_threads() and table.name != "effects"
    )


def common(source: Tables, target: Tables, left: str, right: str) -> dict[str, Table]:
    """Return the tables that rows are moved in. Raises StoreError where the two databases differ in one."""
    both = {}
    for name, table in source.items():
        other = target.get(name)
        if other is None and (table.is_of_threads() or name in BESIDE):
            raise StoreError(
                f"{left} has a table {name} with threads in it that {right} lacks. If it is not stepgraph's "
                "own, rename it while you move; else upgrade stepgraph on both sides."
            )
        if other is not None and set(other.kinds) - {"rowid"} != set(table.kinds) - {"rowid"}:
            differ = sorted((set(other.kinds) ^ set(table.kinds)) - {"rowid"})
            raise StoreError(
                f"The table {name} has other columns in {left} than in {right}: {', '.join(differ)}. Take "
                "out what is not stepgraph's own, or upgrade stepgraph on both sides."
            )
        if other is not None:
            both[name] = other
    return both


def copy_threads(
    source: Connection, target: Connection, theirs: Tables, ours: Tables, threads: Sequence[str]
) -> Copied:
    """Copy all that belongs to threads, in the target's open transaction, and compare what arrived."""
    copied = Copied()
    for thread in threads:
        read: dict[str, Contents] = {}
        for name, table in ours.items():
            if not table.is_of_threads() or name == "effects":
                continue
            into = _insert(table)
            here = Contents()
            for page in pages(source, theirs[name], thread):
                for row in page:
                    values = _in_order(theirs[name], table, row)
                    here.add(table, fitting(table, values, thread))
                    copied.size += sum(len(value) for value in values if isinstance(value, str | bytes))
                    copied.blobs.update(_used(values))
                    target.execute(into, values)
            if here.rows:
                read[name] = here
                copied.count(name, here.rows)
        if (arrived := contents(target, ours, thread)) != read:
            wrong = sorted(name for name in {*read, *arrived} if read.get(name) != arrived.get(name))
            raise StoreError(
                f"The thread {thread!r} did not arrive as it was: {', '.join(wrong)} differ. Nothing was "
                "moved. This is a fault of stepgraph: please report it."
            )
    _copy_effects(source, target, theirs["effects"], ours["effects"], threads, copied)
    _copy_batches(source, target, ours["batches"], threads, copied)
    _copy_blobs(source, target, ours["blobs"], copied)
    return copied


def _in_order(of: Table, to: Table, row: Sequence[Any]) -> list[Any]:
    """Return a row's values in the order of the other database's columns."""
    named = dict(zip(of.columns, row, strict=True))
    return [named[name] for name in to.columns]


def _insert(table: Table, *, on_conflict: str = "") -> str:
    marks = ", ".join("?" * len(table.columns))
    return f"INSERT INTO {table.name} ({table.quoted}) VALUES ({marks}){on_conflict}"


def _used(values: Collection[Any]) -> Iterator[str]:
    """Yield the hashes of the images and documents that values refer to."""
    for value in values:
        if isinstance(value, str) and ";sha256=" in value:
            value = value.encode()
        if isinstance(value, bytes):
            for found in _USED.findall(value):
                yield found.decode()


def _copy_effects(
    source: Connection,
    target: Connection,
    of: Table,
    table: Table,
    threads: Sequence[str],
    copied: Copied,
) -> None:
    """Copy the side effects of threads. Those that were left when the threads moved away are renewed."""
    changed = [name for name in table.columns if name != "key"]
    renew = " ON CONFLICT (key) DO UPDATE SET " + ", ".join(
        f"{quoted(name)} = excluded.{quoted(name)}" for name in changed
    )
    owner = table.columns.index("thread_id")
    for thread in threads:
        target.execute("DELETE FROM effects WHERE thread_id = ? AND status = 'started'", (thread,))
        for page in pages(source, of, thread):
            for row in page:
                values = _in_order(of, table, row)
                key = values[table.columns.index("key")]
                sql = f"SELECT {table.reads()} FROM effects WHERE key = ?"
                there = target.execute(sql, (key,)).fetchone()
                if there is not None and there[owner] not in threads and list(there) != values:
                    raise InputError(
                        f"The side effect {key!r} of the thread {thread!r} is on record at the target for "
                        f"the thread {there[owner]!r}. Two threads cannot share it. Nothing was moved of "
                        f"{thread!r}."
                    )
                target.execute(_insert(table, on_conflict=renew), values)
                arrived = target.execute(sql, (key,)).fetchone()
                if fitting(table, arrived, thread) != fitting(table, values, thread):
                    raise StoreError(f"The side effect {key!r} did not arrive as it was. Nothing was moved.")
                copied.blobs.update(_used(values))
                copied.count("effects", 1)


def _copy_batches(
    source: Connection, target: Connection, table: Table, threads: Sequence[str], copied: Copied
) -> None:
    """Copy the batches in which threads have requests; one that is there already goes on by itself."""
    skip = " ON CONFLICT (id) DO NOTHING"
    for thread in threads:
        rows = source.execute(
            f"SELECT {table.quoted} FROM batches WHERE id IN "
            "(SELECT batch FROM batch_requests WHERE thread_id = ?)",
            (thread,),
        ).fetchall()
        for row in rows:
            target.execute(_insert(table, on_conflict=skip), fitting(table, row, thread))
        copied.count("batches", len(rows))


def _copy_blobs(source: Connection, target: Connection, table: Table, copied: Copied) -> None:
    """Copy the images and documents that the copied rows refer to, one at a time."""
    skip = " ON CONFLICT (sha256) DO NOTHING"
    for sha256 in sorted(copied.blobs):
        there = "SELECT 1 FROM blobs WHERE sha256 = ?"
        if target.execute(there, (sha256,)).fetchone() is not None:
            continue
        row = source.execute(f"SELECT {table.quoted} FROM blobs WHERE sha256 = ?", (sha256,)).fetchone()
        if row is not None:  # a text may only look as if it referred to one
            target.execute(_insert(table, on_conflict=skip), fitting(table, row, ""))
            copied.count("blobs", 1)
            copied.size += row[table.columns.index("size")]
