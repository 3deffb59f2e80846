"""How near texts are in meaning, by static vectors that lie in wordllama's wheel: no network, no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from .pieces import Piece

__all__ = ["nearness", "vectors_are_installed"]

_CLAUSE = re.compile(r"[.;:,?!]\s+")
_SHORTEST = 4  # words of a clause that is a thought of its own


@cache
def _vectors() -> Any | None:
    try:
        package = import_module("wordllama")
        return package.WordLlama.load(cache_dir=Path(package.__file__ or "").parent, disable_download=True)
    except Exception:  # whatever its wheel lacks: the search goes on with words alone
        return None


def vectors_are_installed() -> bool:
    """Tell whether meaning is part of a search here: with the extra `code`."""
    return _vectors() is not None


def nearness(question: str, pieces: Sequence[Piece]) -> list[float]:
    """Return how near each piece is to some clause of the question: 0 for a usual one, 1 for the nearest.

    Without the vectors, all are 0. A piece keeps its vector for the next question.
    """
    vectors = _vectors()
    if vectors is None or not pieces:
        return [0.0] * len(pieces)
    import numpy as np

    clauses = [part for part in _CLAUSE.split(question) if len(part.split()) >= _SHORTEST] or [question]
    question_vectors = np.asarray(vectors.embed(clauses, norm=True), dtype=np.float32)
    new = [one for one in pieces if one.vector is None]
    if new:
        rows = np.asarray(vectors.embed([one.gist for one in new], norm=True), dtype=np.float32)
        for one, vector in zip(new, rows, strict=True):
            one.vector = vector.copy()
    best = np.nan_to_num((np.stack([one.vector for one in pieces]) @ question_vectors.T).max(axis=1))
    usual = float(np.median(best))
    highest = float(best.max())
    if highest <= usual:
        return [0.0] * len(pieces)
    return [float(one) for one in ((best - usual) / (highest - usual)).clip(0, None)]
