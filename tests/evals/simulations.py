"""Whether the statistics keep what they promise: `make evals-simulation`.

Each simulation draws many data sets of which the truth is known, and counts how often the interval
holds it, or how often a test or gate cries out though nothing changed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepgraph.evals.statistics.intervals import difference_intervals, flip_ps, holm, mcnemar_p, mean_interval

Array = Any


@dataclass(frozen=True)
class Found:
    """A share of the simulated data sets, and where it must lie."""

    what: str
    share: float
    low: float
    high: float

    @property
    def good(self) -> bool:
        return self.low <= self.share <= self.high

    def __str__(self) -> str:
        said = "ok" if self.good else "NOT KEPT"
        return f"{self.what:<74} {self.share:6.2%}  in [{self.low:.1%}, {self.high:.1%}]  {said}"


def versions(
    draw: np.random.Generator, sets: int, cases: int, repeats: int, rate: float, loss: float, shared: float
) -> tuple[Array, Array]:
    """Draw each case's mean score in A and in B: yes-or-no trials with hard and easy cases.

    `rate` is the mean of A, `loss` what B loses of it; `shared` is how much of a trial's luck both
    versions share, which is what makes pairs worth it.
    """
    spread = 3.0
    ease = draw.beta(rate * spread, (1 - rate) * spread, (sets, cases, 1))
    luck = draw.random((sets, cases, repeats))
    other = np.where(draw.random((sets, cases, repeats)) < shared, luck, draw.random((sets, cases, repeats)))
    a = (luck < ease).mean(axis=2)
    b = (other < ease * (1 - loss / rate)).mean(axis=2)
    return a, b


def coverage(
    draw: np.random.Generator, sets: int, cases: int, repeats: int, rate: float, loss: float
) -> Found:
    """Return how often the 95 % interval of the paired difference holds the true difference."""
    a, b = versions(draw, sets, cases, repeats, rate, loss, shared=0.5)
    low, high = difference_intervals(np.round(b - a, 12))
    share = float(((low <= -loss) & (-loss <= high)).mean())
    name = f"coverage, {cases} cases x {repeats}, rate {rate}, loss {loss}"
    # So few yes-or-no pairs take few values: the interval is wider than it had to be, never narrower.
    few = repeats == 1 and cases < 50
    return Found(name, share, 0.93, 0.995 if few else 0.97)


def mean_coverage(draw: np.random.Generator, sets: int, cases: int, repeats: int, rate: float) -> Found:
    """Return how often the 95 % interval of one version's mean holds the true mean."""
    a, _ = versions(draw, sets, cases, repeats, rate, 0.0, shared=0.0)
    found = [mean_interval(row.tolist()) for row in a]
    share = float(np.mean([low <= rate <= high for low, high in found]))
    return Found(f"coverage of a mean, {cases} cases x {repeats}, rate {rate}", share, 0.93, 0.97)


def gate_alarms(draw: np.random.Generator, sets: int, cases: int, repeats: int, rate: float) -> Found:
    """Return how often a `not_worse` gate fails though nothing changed; at most its level, 5 %."""
    a, b = versions(draw, sets, cases, repeats, rate, 0.0, shared=0.5)
    rows = np.round(b - a, 12)
    _, high = difference_intervals(rows, 0.1)
    ps = one_sided(rows)
    share = float(((high < 0) & (ps < 0.05)).mean())
    return Found(f"false alarms of a gate, {cases} cases x {repeats}, rate {rate}", share, 0.0, slack(sets))


def one_sided(rows: Array) -> Array:
    binary = np.isin(rows, (-1.0, 0.0, 1.0)).all(axis=1)
    ps = np.ones(len(rows))
    ps[~binary] = flip_ps(rows[~binary], only_worse=True) if (~binary).any() else 1.0
    worse, better = (rows < 0).sum(axis=1), (rows > 0).sum(axis=1)
    for number in np.flatnonzero(binary):
        ps[number] = mcnemar_p(int(worse[number]), int(better[number]), only_worse=True)
    return ps


def family_alarms(draw: np.random.Generator, sets: int, cases: int, repeats: int, metrics: int) -> Found:
    """Return how often any of several metrics is called better or worse though none changed."""
    ps = np.empty((sets, metrics))
    for number in range(metrics):
        a, b = versions(draw, sets, cases, repeats, 0.7, 0.0, shared=0.5)
        ps[:, number] = flip_ps(np.round(b - a, 12))
    alarms = [min(holm({str(n): float(p) for n, p in enumerate(row)}).values()) < 0.05 for row in ps]
    name = f"false alarms among {metrics} metrics, {cases} cases x {repeats}"
    return Found(name, float(np.mean(alarms)), 0.0, slack(sets))


def slack(sets: int) -> float:
    """Return the level plus three standard errors of the simulation itself."""
    return 0.05 + 3 * (0.05 * 0.95 / sets) ** 0.5


def simulate(sets: int, seed: int = 7) -> list[Found]:
    """Run every simulation with so many data sets each."""
    draw = np.random.default_rng(seed)
    found = []
    for cases, repeats, rate, loss in (
        (30, 1, 0.8, 0.0), (60, 1, 0.8, 0.1), (60, 1, 0.6, 0.0), (60, 3, 0.8, 0.0), (60, 3, 0.7, 0.1),
        (100, 1, 0.9, 0.0), (25, 5, 0.7, 0.05), (200, 2, 0.8, 0.02),
    ):  # fmt: skip
        found.append(coverage(draw, sets, cases, repeats, rate, loss))
    for cases, repeats, rate in ((60, 1, 0.8), (60, 3, 0.7), (120, 2, 0.85)):
        found.append(mean_coverage(draw, min(sets, 2000), cases, repeats, rate))
    for cases, repeats, rate in ((30, 1, 0.8), (60, 1, 0.9), (60, 3, 0.8), (20, 5, 0.7)):
        found.append(gate_alarms(draw, sets, cases, repeats, rate))
    found.append(family_alarms(draw, sets, 60, 3, 5))
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sets", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=7)
    given = options.parse_args()
    found = simulate(given.sets, given.seed)
    print(*found, sep="\n")
    if not all(item.good for item in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
