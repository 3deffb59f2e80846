"""Saves paid answers that the database cannot take: in a file of JSON lines beside it."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import StoreError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

RESERVE_BYTES = 1 << 20
MOST_USD = 1e9  # no call costs more; NaN and infinity are no costs either

Row = dict[str, Any]


class Spill:
    """Keeps rows that could not be committed until the database takes them. One for each connection.

    It reserves RESERVE_BYTES on the same disk in a nameless file, which makes room when the disk is full.
    Rows that cannot be written anywhere stay in memory. Lines that do not `fit` count as unreadable.
    """

    def __init__(self, database: Path, fit: Callable[[Row], bool] | None = None, name: str = "") -> None:
        self._database = name or database.name
        self.path = database.with_name(database.name + ".spill")
        self._folder = database.parent
        self._fit = fit or bool
        self._reserve: int | None = None
        self._unwritten: list[Row] = []

    def reserve(self) -> None:
        """Reserve room on the disk. Raises OSError if there is none."""
        if self._reserve is not None or os.name != "posix":
            return
        handle, name = tempfile.mkstemp(dir=self._folder)
        Path(name).unlink()
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, RESERVE_BYTES)
            else:
                os.write(handle, bytes(RESERVE_BYTES))
        except OSError as error:
            os.close(handle)
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            return  # a file system that cannot reserve
        self._reserve = handle

    def release(self) -> None:
        """Free the reserved room."""
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def begin(self) -> None:
        """Begin anew in a forked child: what is in memory is its parent's."""
        self.release()
        self._unwritten.clear()

    def keep(self, rows: Sequence[Any], error: BaseException) -> StoreError:
        """Keep dataclass rows and return the error that says where they are."""
        self.release()
        self._unwritten += [asdict(row) for row in rows]
        reason = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
        text = f"{reason} What was paid for is not lost: {len(rows)} calls are kept in"
        try:
            self._write_out()
        except OSError as failed:
            return StoreError(
                f"{text} memory, because {self.path} cannot be written either ({failed}). They are written "
                "once there is room, before this process ends."
            )
        return StoreError(f"{text} {self.path}, and taken in when {self._database} is next opened.")

    def _write_out(self) -> None:
        text = "".join(json.dumps(row) + "\n" for row in self._unwritten).encode()
        with self._opened(os.O_CREAT | os.O_RDWR) as handle:
            end = os.lseek(handle, 0, os.SEEK_END)
            try:
                written = 0
                while written < len(text):
                    written += os.write(handle, text[written:])
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, end)
                raise
        self._unwritten.clear()

    def take_in(self, commit: Callable[[list[Row]], None]) -> None:
        """Pass all kept rows to `commit`, and delete them once it has returned.

        Lines that cannot be read, because a crash cut them, stay beside it in a file of their own.
        """
        if self._unwritten:
            commit(self._unwritten)
            self._unwritten.clear()
        if not self.path.exists():
            return
        with self._opened(os.O_RDWR) as handle:
            lines = os.pread(handle, os.fstat(handle).st_size, 0).split(b"\n")
            rows = [row for line in lines if (row := self._row(line)) is not None]
            commit(rows)
            torn = [line for line in lines if line.strip() and self._row(line) is None]
            if torn:
                self.path.rename(self.path.with_name(self.path.name + ".unreadable"))
            else:
                self.path.unlink()

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        """Open the file, locked: no process adds to it while another takes it in and deletes it."""
        while True:
            handle = os.open(self.path, flags, 0o600)
            try:
                if fcntl is not None:
                    fcntl.flock(handle, fcntl.LOCK_EX)
                if fcntl is None or os.fstat(handle).st_nlink:
                    yield handle
                    return
            finally:
                os.close(handle)

    def _row(self, line: bytes) -> Row | None:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(row, dict) or not self._fit(row):
            return None
        cost = row.get("cost_usd")
        known = cost is None or (isinstance(cost, (int, float)) and abs(cost) < MOST_USD)
        return row if known else None
