"""What stepgraph offers, as the benchmark of real releases calls it (README.md beside this file)."""

from __future__ import annotations

from typing import Any

from stepgraph import coding
from stepgraph.errors import ApplyRefused

TOKENS = 4000


def search(query: str, folder: str) -> list[dict[str, Any]]:
    """Return the ranges of a search without a model, best first."""
    result = coding.search(query, folder, tokens=TOKENS)
    return [{"file": one.file, "start": one.start, "end": one.end} for one in result.ranges]


def compress(query: str, reads: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is kept of the reads, at most 40 % of their tokens."""
    windows = [coding.Read(one["file"], one["start"], one["text"]) for one in reads]
    result = coding.compress(query, windows, keep=0.4)
    return {"ranges": [{"file": one.file, "start": one.start, "end": one.end} for one in result.ranges]}


def apply(path: str, text: str, snippet: str) -> str | None:
    """Return the merged text, None where the edit is refused."""
    try:
        return coding.apply(path, text, snippet)
    except ApplyRefused:
        return None
