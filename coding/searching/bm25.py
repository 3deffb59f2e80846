"""BM25: how well documents fit a question, by how often its words are in them and how rare these are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = ["bm25", "to_one"]


def bm25(
    question: Mapping[str, float],
    documents: Sequence[Mapping[str, int]],
    lengths: Sequence[float],
    *,
    k1: float = 1.2,
    b: float = 0.6,
) -> list[float]:
    """Return the score of each document; the numbers of the question are the weights of its words."""
    scores = [0.0] * len(documents)
    if not documents:
        return scores
    average = sum(lengths) / len(lengths) or 1.0
    norms = [k1 * (1 - b + b * length / average) for length in lengths]
    for word, weight in question.items():
        matches = [(place, count) for place, one in enumerate(documents) if (count := one.get(word, 0))]
        rarity = (
            weight * math.log(1 + (len(documents) - len(matches) + 0.5) / (len(matches) + 0.5)) * (k1 + 1)
        )
        for place, count in matches:
            scores[place] += rarity * count / (count + norms[place])
    return scores


def to_one(scores: Sequence[float]) -> list[float]:
    """Return the scores as parts of the highest."""
    highest = max(scores, default=0.0)
    return [score / highest for score in scores] if highest > 0 else [0.0] * len(scores)
