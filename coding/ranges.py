"""The two forms in which code is handed on: lines of a file by their numbers, and lines with their text."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LineRange", "Read"]


@dataclass(frozen=True)
class LineRange:
    """Lines of a file, counted from 1, with both ends: why they matter, and how much."""

    file: str
    start: int
    end: int
    reason: str = ""
    score: float = 0.0

    def __str__(self) -> str:
        return f"{self.file}:{self.start}-{self.end}"


@dataclass(frozen=True)
class Read:
    """What was read of a file: its text from line `start` on, counted from 1."""

    file: str
    start: int
    text: str
