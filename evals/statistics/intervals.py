"""How sure a figure is: intervals, tests and corrections. The adapter of numpy and scipy.

Cases are the units: the repeats of one case are not independent, so they are averaged first. Functions
that take a matrix treat each row as a data set of its own, which lets simulations check thousands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ...state.errors import SettingsError
from ..files.located import INSTALL_HELP

try:
    import numpy as np
    from scipy import stats
except ImportError:  # told where statistics are asked for
    raise SettingsError(f"Statistics need scipy. {INSTALL_HELP}") from None

DRAWS = 4000
MOST_CELLS = 8_000_000  # of the matrix of draws, eight bytes each
POWER = 0.8
Interval = tuple[float, float]
Array = Any


def share_interval(good: int, total: int, level: float = 0.05) -> Interval:
    """Return Wilson's interval of a share: `good` of `total` independent yes-or-no results."""
    if total == 0:
        return 0.0, 1.0
    interval = stats.binomtest(good, total).proportion_ci(1 - level, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: Sequence[float], level: float = 0.05) -> Interval:
    """Return an interval of the mean of scores from 0 to 1, one a case."""
    if not values:
        return 0.0, 1.0
    if all(value in (0.0, 1.0) for value in values):
        return share_interval(int(sum(values)), len(values), level)
    low, high = _bootstrap(np.asarray([values], float), level)
    return max(0.0, float(low[0])), min(1.0, float(high[0]))


def difference_interval(differences: Sequence[float], level: float = 0.05) -> Interval:
    """Return an interval of the mean paired difference, one difference of scores (-1 to 1) a case."""
    if not differences:
        return -1.0, 1.0
    low, high = difference_intervals(np.asarray([differences], float), level)
    return float(low[0]), float(high[0])


def difference_intervals(rows: Array, level: float = 0.05) -> tuple[Array, Array]:
    """Like `difference_interval`, for each row: Agresti and Min for yes-or-no pairs, else the bootstrap."""
    binary = np.isin(rows, (-1.0, 0.0, 1.0)).all(axis=1)
    low, high = np.empty(len(rows)), np.empty(len(rows))
    if binary.any():
        low[binary], high[binary] = _agresti_min(rows[binary], level)
    if not binary.all():
        low[~binary], high[~binary] = _bootstrap(rows[~binary], level)
    return low, high


def unbounded_interval(differences: Sequence[float], level: float = 0.05) -> Interval | None:
    """Return an interval of the mean of differences without bounds, such as cost; None below two."""
    if len(differences) < 2:
        return None
    low, high = _bootstrap(np.asarray([differences], float), level, bounded=False)
    return float(low[0]), float(high[0])


def _agresti_min(rows: Array, level: float) -> tuple[Array, Array]:
    """Wald's interval of a paired difference of shares after half a case was added to each cell."""
    total = rows.shape[1] + 2.0
    better, worse = (rows > 0).sum(axis=1) + 0.5, (rows < 0).sum(axis=1) + 0.5
    middle = (better - worse) / total
    error = np.sqrt(np.maximum(better + worse - (better - worse) ** 2 / total, 0)) / total
    reach = stats.norm.ppf(1 - level / 2) * error
    return np.maximum(middle - reach, -1.0), np.minimum(middle + reach, 1.0)


def draws(size: int) -> int:
    """Return how many samples are drawn for so many cases."""
    return max(1000, min(DRAWS, MOST_CELLS // size))


@lru_cache(maxsize=2)
def _weights(size: int) -> Array:
    """How often each case is drawn in each bootstrap sample; the same in every run, so reports repeat."""
    return np.random.default_rng(20_000 + size).multinomial(size, [1 / size] * size, draws(size)).T / size


def _bootstrap(rows: Array, level: float, *, bounded: bool = True) -> tuple[Array, Array]:
    """Percentile bootstrap over cases, widened for small samples (Hesterberg's expanded percentiles).

    Rows without any spread tell how rare a change may still be: the rule of three.
    """
    size = rows.shape[1]
    if size < 2:
        return np.full(len(rows), -1.0), np.full(len(rows), 1.0)
    reach = math.sqrt(size / (size - 1)) * stats.t.ppf(1 - level / 2, size - 1)
    tail = float(stats.norm.cdf(-reach))
    low, high = np.quantile(rows @ _weights(size), (tail, 1 - tail), axis=1)
    still = rows.std(axis=1) < 1e-12
    if bounded and still.any():
        rare = 1 - (level / 2) ** (1 / size)
        low = np.where(still, rows[:, 0] - rare, low)
        high = np.where(still, rows[:, 0] + rare, high)
    return low, high


def difference_p(differences: Sequence[float], *, only_worse: bool = False) -> float:
    """Return the p-value of "no difference": McNemar's exact test for yes-or-no pairs, else sign flips.

    `only_worse` tests against a loss alone.
    """
    if not any(differences):
        return 1.0
    if all(value in (-1, 0, 1) for value in differences):
        worse, better = differences.count(-1), differences.count(1)
        return mcnemar_p(worse, better, only_worse=only_worse)
    return float(flip_ps(np.asarray([differences], float), only_worse=only_worse)[0])


def mcnemar_p(worse: int, better: int, *, only_worse: bool = False) -> float:
    """Return McNemar's exact p-value for the numbers of cases that got worse and better."""
    if worse + better == 0:
        return 1.0
    side = "greater" if only_worse else "two-sided"
    return float(stats.binomtest(worse, worse + better, alternative=side).pvalue)


@lru_cache(maxsize=2)
def _signs(size: int) -> Array:
    drawn = np.random.default_rng(30_000 + size).integers(0, 2, (size, draws(size)))
    return drawn * 2.0 - 1.0


def flip_ps(rows: Array, *, only_worse: bool = False) -> Array:
    """Return for each row the p-value of a sign-flip test: labels of the versions change places."""
    seen = rows.sum(axis=1, keepdims=True)
    flipped = rows @ _signs(rows.shape[1])
    slack = 1e-9
    as_bad = flipped <= seen + slack if only_worse else np.abs(flipped) >= np.abs(seen) - slack
    return (1 + as_bad.sum(axis=1)) / (flipped.shape[1] + 1)


def smallest_effect(differences: Sequence[float], level: float = 0.05) -> float | None:
    """Return the smallest true mean difference that so many cases would show in four runs of five.

    None with fewer than three cases.
    """
    size = len(differences)
    if size < 3:
        return None
    spread = float(np.std(differences, ddof=1))
    if all(value in (-1, 0, 1) for value in differences):
        moved = (sum(map(abs, differences)) + 1.0) / (size + 2.0)
        spread = max(spread, math.sqrt(moved))
    elif spread == 0.0:
        return float(1 - (level / 2) ** (1 / size))
    reach = stats.t.ppf(1 - level / 2, size - 1) + stats.t.ppf(POWER, size - 1)
    return float(min(1.0, reach * spread / math.sqrt(size)))


def holm(ps: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's corrected p-values: the chance of any false alarm among all is bounded."""
    corrected: dict[str, float] = {}
    least = 0.0
    for rank, name in enumerate(sorted(ps, key=lambda key: ps[key])):
        least = max(least, min(1.0, ps[name] * (len(ps) - rank)))
        corrected[name] = least
    return {name: corrected[name] for name in ps}


def below_p(values: Sequence[float], bound: float) -> float:
    """Return the p-value of "the true mean of scores from 0 to 1 is at least `bound`", one value a case.

    Exact for yes-or-no values, else by the t test on cases.
    """
    if not values:
        return 1.0
    if all(value in (0.0, 1.0) for value in values):
        return float(stats.binomtest(int(sum(values)), len(values), bound, alternative="less").pvalue)
    if len(values) < 2 or np.std(values) < 1e-12:
        return 1.0 if not values or values[0] >= bound else float(bound ** len(values))
    result: Any = stats.ttest_1samp(values, bound, alternative="less")
    return float(result.pvalue)


def kappa_interval(pairs: Sequence[tuple[bool, bool]], level: float = 0.05) -> Interval | None:
    """Return an interval of Cohen's kappa: Wilson's of the agreement, with chance taken out as it was found.

    Unlike Wald's, it has a width where all agree.
    """
    chance = _chance(pairs)
    if chance is None:
        return None
    low, high = share_interval(sum(a == b for a, b in pairs), len(pairs), level)
    return (low - chance) / (1 - chance), (high - chance) / (1 - chance)


def _chance(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Return how often chance alone would agree; None where it always would."""
    if not pairs:
        return None
    yes, also = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    chance = yes * also + (1 - yes) * (1 - also)
    return None if chance >= 1 else chance


def kappa_of(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Return Cohen's kappa of (person, judge) pairs; None where chance alone would agree on all."""
    chance = _chance(pairs)
    if chance is None:
        return None
    return (sum(a == b for a, b in pairs) / len(pairs) - chance) / (1 - chance)
