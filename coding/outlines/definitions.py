"""What an outline is made of."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Definition"]


@dataclass(frozen=True)
class Definition:
    """A named part of a file: lines from 1, both ends included, decorators and comments right above it too.

    `name` has the names around it in front, with dots. `kind` is "class", "function" or "section". `doc` are
    the lines of its docstring, and `body` is its first line after signature and docstring.
    """

    name: str
    kind: str
    start: int
    end: int
    depth: int = 0
    doc: tuple[int, int] | None = None
    body: int = 0
