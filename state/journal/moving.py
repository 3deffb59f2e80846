"""Copies threads from one database to another, row by row, and compares what arrived.

What belongs to a thread are the rows with its id, of all tables that have one: so a new table is moved
without a word here. What else a thread needs is in `BESIDE`; what a database keeps to itself, in `STAYS`.

Numbers that a database gives its rows are given anew, in the same order. By the number of an invocation or a
replay its spans are known elsewhere: so `moved_id` keeps it.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from ..errors import InputError, StoreError, ThreadBusy
from .columns import Query, Table

Tables = Mapping[str, Table]
# Returns a free number of a table's next row that is higher than a given one, if the row has to be given it.
Above = Callable[[str, int], int | None]

PAGE_ROWS: Final = 500
PAGE_BYTES: Final = 8_000_000

# Rows that go along with those of a thread, though no thread owns them: with its requests, with its texts.
BESIDE: Final = ("batches", "blobs")
# What is no part of a thread, though it may name one, and why.
STAYS: Final = {
    "served_graphs": "what workers of this database serve",
    "stream_listeners": "who listens here to what workers run",
    "stream_events": "what they hear",
    "schedules": "when jobs are begun from here",
    "claims": "who runs a thread here; its epoch goes along",
    "format": "of the tables",
    "last_commits": "which of their transactions the processes that write here know to be committed",
    "budget_accounts": "what all threads of a scope have paid for here",
    "budget_holds": "what is set aside for calls under way here",
    "budget_limits": "what a person allows here",
    "rate_limits": "how often an endpoint may be asked from here",
    "rate_leases": "who may ask an endpoint from here",
}
APART: Final = ("effects", *STAYS)

_USED = re.compile(rb";sha256=([0-9a-f]{64})")
_INT64 = 2**63


@dataclass
class Contents:
    """What a thread has in one table: so many rows, and a sum over all that is in them."""

    rows: int = 0
    sum: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row. The sum is the same in whatever order the rows come."""
        digest = hashlib.sha256()
        for name in sorted(row):
            digest.update(f"{name}\0".encode())
            digest.update(_bytes_of(row[name]))
        self.rows += 1
        self.sum = (self.sum + int.from_bytes(digest.digest())) % 2**256

    def with_(self, other: Contents) -> Contents:
        return Contents(self.rows + other.rows, (self.sum + other.sum) % 2**256)


@dataclass
class Copied:
    """What was copied of some threads: rows by table, and the bytes of their values."""

    rows: dict[str, int] = field(default_factory=dict)
    size: int = 0
    blobs: set[str] = field(default_factory=set)

    def count(self, table: str, rows: int) -> None:
        if rows:
            self.rows[table] = self.rows.get(table, 0) + rows

    def look_at(self, row: Mapping[str, Any]) -> None:
        """Add up a row's size, and note which images and documents it refers to."""
        for value in row.values():
            if isinstance(value, str | bytes):
                self.size += len(value)
                self.blobs.update(_used(value))


def _bytes_of(value: Any) -> bytes:
    """Return bytes that stand for this value only."""
    if value is None:
        return b"n"
    if isinstance(value, int):
        return b"i%d;" % value
    if isinstance(value, float):
        return b"f" + struct.pack(">d", value + 0.0)  # SQLite keeps -0.0 as 0.0
    data = value.encode() if isinstance(value, str) else value
    return (b"t" if isinstance(value, str) else b"b") + b"%d;" % len(data) + data


def _used(value: str | bytes) -> Iterator[str]:
    data = value if isinstance(value, bytes) else value.encode() if ";sha256=" in value else b""
    for digest in _USED.findall(data):
        yield digest.decode()


def fitting(table: Table, row: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """Return a row as its columns keep it: SQLite takes any value in any column.

    Raises StoreError for a value that cannot be kept without a loss.
    """
    return {name: _fitting(table, name, row[name], whose) for name in table.columns}


def _fitting(table: Table, name: str, value: Any, whose: str) -> Any:
    kind = table.kinds[name]
    if isinstance(value, memoryview | bytearray):
        value = bytes(value)
    if value is None:
        return None
    if kind == "bytes" and isinstance(value, str | bytes):
        return value.encode() if isinstance(value, str) else value
    if kind == "real" and isinstance(value, int | float):
        return float(value)
    if kind == "int" and isinstance(value, int) and -_INT64 <= value < _INT64:
        return int(value)
    if kind == "text" and isinstance(value, str):
        return value
    raise StoreError(
        f"{whose} cannot be moved: the column {table.name}.{name} holds {value!r:.60}, where {kind} belongs. "
        "stepgraph did not write that. Put the value right with the database's own tools."
    )


class Copy:
    """Copies threads from a database that is read by `source` into an open transaction of another one."""

    def __init__(self, source: Query, theirs: Tables, target: Query, ours: Tables, above: Above) -> None:
        self._source, self._theirs = source, theirs
        self._target, self._ours = target, ours
        self._above = above
        self.copied = Copied()

    @cached_property
    def _of_threads(self) -> list[str]:
        return [name for name, table in self._ours.items() if table.has_threads and name not in APART]

    def of_source(self, thread: str) -> dict[str, Contents]:
        """Return what the source holds of a thread."""
        return self._contents(self._source, self._theirs, thread)

    def of_target(self, thread: str) -> dict[str, Contents]:
        """Return what the target holds of a thread."""
        return self._contents(self._target, self._ours, thread)

    def _contents(self, query: Query, tables: Tables, thread: str) -> dict[str, Contents]:
        contents = {}
        for name in self._of_threads:
            here = Contents()
            for row in self._rows(query, tables, name, thread):
                here.add(row)
            if here.rows:
                contents[name] = here
        return contents

    def _rows(self, query: Query, tables: Tables, name: str, thread: str) -> Iterator[dict[str, Any]]:
        for page in pages(query, tables[name], thread):
            for row in page:
                yield fitting(self._ours[name], row, f"The thread {thread!r}")

    def is_there(self, thread: str) -> bool:
        """Tell whether the target knows a thread; calls that came too late do not count."""
        return any(
            self._target(f"SELECT 1 FROM {name} WHERE thread_id = ? LIMIT 1", (thread,))
            for name in ("runs", "checkpoints")
        )

    def run(self, threads: Sequence[str]) -> Copied:
        """Copy all that belongs to some threads, which share no side effect with any other, and compare."""
        for thread in threads:
            before = self.of_target(thread)  # what came after the thread had moved away
            read: dict[str, Contents] = {}
            for name in self._of_threads:
                here = self._copy_rows(name, thread)
                if here.rows:
                    read[name] = here
                    self.copied.count(name, here.rows)
            both = {
                name: read.get(name, Contents()).with_(before.get(name, Contents()))
                for name in {*read, *before}
            }
            arrived = self.of_target(thread)
            if arrived != both:
                wrong = sorted(name for name in both if both[name] != arrived.get(name))
                raise _not_as_it_was(f"The thread {thread!r}: {', '.join(wrong)}")
            self._copy_epoch(thread)
        for thread in threads:
            self._copy_effects(thread, threads)
            self._copy_batches(thread)
        self._copy_blobs()
        return self.copied

    def _copy_rows(self, name: str, thread: str) -> Contents:
        here, table = Contents(), self._ours[name]
        number = self._first_number(table, thread) if "moved_id" in table.kinds else None
        for row in self._rows(self._source, self._theirs, name, thread):
            here.add(row)
            self.copied.look_at(row)
            own = {} if number is None else {"id": number}
            self._target(_insert(table, [*own, *row]), [*own.values(), *row.values()])
            number = None
        return here

    def _first_number(self, table: Table, thread: str) -> int | None:
        """Return the number of the first row here, so that no later row gets one that a span is known by."""
        sql = f"SELECT max(coalesce(moved_id, id)) AS last FROM {table.name} WHERE thread_id = ?"
        last = self._source(sql, (thread,))[0]["last"]
        return None if last is None else self._above(table.name, int(last))

    def _copy_epoch(self, thread: str) -> None:
        """Let the target claim the thread with higher epochs than the source did."""
        sql = "SELECT epoch FROM claims WHERE thread_id = ?"
        for row in self._source(sql, (thread,)):
            self._target(
                "INSERT INTO claims (thread_id, owner, host, pid, expires_at, epoch) "
                "VALUES (?, '', '', 0, 0, ?) ON CONFLICT (thread_id) DO UPDATE SET epoch = "
                "CASE WHEN claims.epoch > excluded.epoch THEN claims.epoch ELSE excluded.epoch END",
                (thread, row["epoch"]),
            )

    def _copy_effects(self, thread: str, family: Sequence[str]) -> None:
        """Copy a thread's side effects. Those that stayed here when it moved away are renewed."""
        table = self._ours["effects"]
        others = ", ".join(f'"{name}" = excluded."{name}"' for name in table.columns if name != "key")
        renewed = f"{_insert(table)} ON CONFLICT (key) DO UPDATE SET {others}"
        self._target("DELETE FROM effects WHERE thread_id = ? AND status = 'started'", (thread,))
        for row in self._rows(self._source, self._theirs, "effects", thread):
            key = row["key"]
            there = self._effect(key)
            if there is not None and there["thread_id"] not in family and there != row:
                raise InputError(
                    f"The side effect {key!r} of the thread {thread!r} is on record at the target, for the "
                    f"thread {there['thread_id']!r}. Nothing of {thread!r} was moved: move both, or let one "
                    "of them use another key."
                )
            self._target(renewed, list(row.values()))
            if self._effect(key) != row:
                raise _not_as_it_was(f"The side effect {key!r}")
            self.copied.look_at(row)
            self.copied.count("effects", 1)

    def _effect(self, key: str) -> dict[str, Any] | None:
        table = self._ours["effects"]
        rows = self._target(f"SELECT {table.reads} FROM effects WHERE key = ?", (key,))
        return fitting(table, rows[0], f"The side effect {key!r}") if rows else None

    def _copy_batches(self, thread: str) -> None:
        """Copy the batches in which a thread has requests; one that is there already goes on by itself."""
        table = self._ours["batches"]
        rows = self._source(
            f"SELECT {table.reads} FROM batches "
            "WHERE id IN (SELECT batch FROM batch_requests WHERE thread_id = ?)",
            (thread,),
        )
        for row in rows:
            values = fitting(table, row, f"The batch {row['id']!r}")
            self._target(f"{_insert(table)} ON CONFLICT (id) DO NOTHING", list(values.values()))
        self.copied.count("batches", len(rows))

    def _copy_blobs(self) -> None:
        """Copy the images and documents that the copied rows refer to, one at a time."""
        table = self._ours["blobs"]
        for sha256 in sorted(self.copied.blobs):
            if self._target("SELECT 1 FROM blobs WHERE sha256 = ?", (sha256,)):
                continue
            sql = f"SELECT {table.reads} FROM blobs WHERE sha256 = ?"
            for row in self._source(sql, (sha256,)):  # none: a text only looks as if it referred to one
                blob = fitting(table, row, f"The blob {sha256}")
                if hashlib.sha256(blob["data"]).hexdigest() != sha256:
                    raise StoreError(
                        f"The blob {sha256} is damaged: it does not have the sha256 that it is known by. "
                        "Take it from a copy of the database."
                    )
                self._target(f"{_insert(table)} ON CONFLICT (sha256) DO NOTHING", list(blob.values()))
                self.copied.count("blobs", 1)
                self.copied.size += len(blob["data"])


def refuse_run(target: Query, now: str, thread: str) -> None:
    """Raise ThreadBusy if somebody runs a thread at the target."""
    if target(f"SELECT 1 FROM claims WHERE thread_id = ? AND expires_at > {now}", (thread,)):
        raise ThreadBusy(f"A thread {thread!r} is run at the target. Nothing of it was moved.")


def pages(query: Query, table: Table, thread: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows that a thread has in a table, in their order, so many at a time as memory holds."""
    where = f"FROM {table.name} WHERE thread_id = ?"
    if not table.paged:
        yield query(f"SELECT {table.reads} {where}", (thread,))
        return
    after: tuple[int, ...] = ()
    while True:
        limit = f"{where}{' AND rowid > ?' * len(after)} ORDER BY rowid LIMIT {PAGE_ROWS}"
        sizes = query(f"SELECT rowid AS at, {table.length} AS size {limit}", (thread, *after))
        for first, last in _ranges((row["at"], row["size"]) for row in sizes):
            sql = f"SELECT {table.reads} {where} AND rowid BETWEEN ? AND ? ORDER BY rowid"
            yield query(sql, (thread, first, last))
        if len(sizes) < PAGE_ROWS:
            return
        after = (sizes[-1]["at"],)


def _ranges(rows: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last number of the rows that are read together."""
    first = last = None
    held = 0
    for number, size in rows:
        if first is not None and last is not None and held + size > PAGE_BYTES:
            yield first, last
            first, held = None, 0
        first = number if first is None else first
        last, held = number, held + size
    if first is not None and last is not None:
        yield first, last


def matching(theirs: Tables, ours: Tables, left: str, right: str) -> Tables:
    """Return the tables of the target. Raises StoreError where those of the source hold more or less."""
    for name, table in theirs.items():
        if not table.has_threads and name not in BESIDE:
            continue
        there = ours.get(name)
        if there is None:
            raise StoreError(
                f"{left} has a table {name} with threads in it, and {right} has none. If it is not "
                "stepgraph's, rename its column thread_id while you move; else upgrade stepgraph."
            )
        if set(there.kinds) != set(table.kinds):
            differ = sorted(set(there.kinds) ^ set(table.kinds))
            raise StoreError(
                f"The table {name} has not the same columns in {left} as in {right}: {', '.join(differ)}. "
                "Take out what is not stepgraph's, or upgrade stepgraph."
            )
    return ours


def _insert(table: Table, columns: Sequence[str] = ()) -> str:
    columns = columns or table.columns
    names = ", ".join(f'"{name}"' for name in columns)
    return f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(columns))})"


def _not_as_it_was(what: str) -> StoreError:
    return StoreError(
        f"{what} did not arrive as it was. Nothing was moved. This is a fault of stepgraph: report it."
    )
