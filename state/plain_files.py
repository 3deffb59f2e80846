"""Read files that somebody else named or left: a pipe would wait for ever, a device would never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NotPlainFile(OSError):
    """What a name leads to is no file with an end."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.strerror = reason


def read_plain(path: Path, most: int | None = None) -> bytes:
    """Return what is in a file. Raises NotPlainFile, an OSError, for a pipe or a device, and for more than
    `most` bytes; any other OSError as `open` does."""
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        check_plain(os.fstat(file.fileno()))
        data = file.read() if most is None else file.read(most + 1)
    if most is not None and len(data) > most:
        raise NotPlainFile(f"it has more than {most:,} bytes")
    return data


def read_plain_text(path: Path, *, encoding: str = "utf-8-sig") -> str:
    """Return a file's text, its lines ended as `Path.read_text` ends them. Raises as `read_plain` does, and
    UnicodeDecodeError."""
    return read_plain(path).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def check_plain(status: os.stat_result) -> None:
    """Raise NotPlainFile for what is no file."""
    if not stat.S_ISREG(status.st_mode):
        raise NotPlainFile("it is a folder, a pipe or a device, and no file")
