"""Is B worse than A, with each case a block: an exact test that uses every repeat."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ...state.errors import SettingsError
from ..files.located import INSTALL_HELP

try:
    import numpy as np
    from scipy import stats
except ImportError:  # told where statistics are asked for
    raise SettingsError(f"Statistics need scipy. {INSTALL_HELP}") from None


GRID = 60
"""Scores are rounded to so many parts of one: halves, thirds, quarters and fifths are kept as they are."""
MOST_BLOCKS = 500
MOST_SCORES = 60
"""With more blocks that can tell, or more scores in one, the sum is normal to within what matters."""

Block = tuple[Sequence[float], Sequence[float]]
Array = Any


def worse_p(blocks: Iterable[Block]) -> float:
    """Return the one-sided p-value of "B is no worse than A", given the scores of each case in A and in B.

    If the versions do not differ, every score of a case might as well have come from the other version.
    So A's sum has a distribution that is known exactly, whatever the cases are like and however many
    repeats each has. Cases in which all scores are equal say nothing.
    """
    seen, telling = 0, []
    for a, b in blocks:
        old, new = _rounded(a), _rounded(b)
        if old and new and len({*old, *new}) > 1:
            seen += sum(old)
            telling.append((old, new))
    if not telling:
        return 1.0
    step = math.gcd(*(score for old, new in telling for score in (*old, *new))) or 1
    if len(telling) > MOST_BLOCKS or max(len(old) + len(new) for old, new in telling) > MOST_SCORES:
        return _normal_p(telling, seen)
    total = np.ones(1)
    for old, new in telling:
        total = np.convolve(total, _sums([score // step for score in (*old, *new)], len(old)))
    return float(min(1.0, total[seen // step :].sum()))


def _rounded(scores: Sequence[float]) -> list[int]:
    return [round(score * GRID) for score in scores]


def _sums(scores: Sequence[int], drawn: int) -> Array:
    """Return the distribution of the sum of so many of the scores, drawn without putting back."""
    ways = np.zeros((drawn + 1, sum(sorted(scores)[-drawn:]) + 1))
    ways[0, 0] = 1.0
    for score in scores:
        ways[1:, score:] += ways[:-1, : ways.shape[1] - score].copy()
    return ways[drawn] / math.comb(len(scores), drawn)


def _normal_p(blocks: Sequence[tuple[list[int], list[int]]], seen: int) -> float:
    mean = spread = 0.0
    for old, new in blocks:
        scores = np.asarray([*old, *new], float)
        mean += len(old) * scores.mean()
        spread += len(old) * len(new) / len(scores) * scores.var(ddof=1)
    return float(stats.norm.sf((seen - mean) / math.sqrt(spread)))
