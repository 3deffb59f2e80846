"""An exact test of "B is no worse", with each case a block."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from stepgraph.evals.statistics import blocks
from stepgraph.evals.statistics.blocks import Block, worse_p


def by_enumeration(given: list[Block]) -> float:
    """Deal every case's scores out to the versions in every way, and count the ways that look as bad."""
    sums = []
    for a, b in given:
        scores = [*a, *b]
        sums.append([sum(scores[n] for n in chosen) for chosen in combinations(range(len(scores)), len(a))])
    seen = sum(sum(a) for a, _ in given)
    ways = [sum(way) >= seen - 1e-9 for way in product(*sums)]
    return sum(ways) / len(ways)


@pytest.mark.parametrize(
    "given",
    [
        [([1, 1], [0, 0]), ([1, 0], [1, 1])],
        [([1], [0, 0, 0]), ([1], [0, 1, 0]), ([0], [0, 0, 1])],
        [([1.0, 1 / 3], [2 / 3, 0.0]), ([0.5], [0.25, 0.75])],
        [([0.2, 0.4, 1.0], [0.2]), ([1], [1])],
    ],
)
def test_it_is_the_share_of_all_deals_that_look_as_bad(given: list[Block]) -> None:
    assert worse_p(given) == pytest.approx(by_enumeration(given))


def test_nothing_that_differs_says_nothing() -> None:
    assert worse_p([]) == 1.0
    assert worse_p([([1, 1], [1, 1]), ([], [0]), ([0], [0, 0])]) == 1.0


def test_without_a_difference_it_keeps_its_level_however_the_cases_differ() -> None:
    draw = np.random.default_rng(3)
    ps = []
    for _ in range(600):
        ease = draw.beta(2, 0.5, (30, 1))
        a, b = draw.random((30, 2)) < ease, draw.random((30, 6)) < ease
        ps.append(worse_p(list(zip(a.tolist(), b.tolist(), strict=True))))
    for level in (0.02, 0.1, 0.3):
        share = float(np.mean([p < level for p in ps]))
        assert share < level + 3 * (level / 600) ** 0.5


def test_many_cases_are_told_as_nearly(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(4)
    a, b = draw.random((400, 3)) < 0.8, draw.random((400, 3)) < 0.76
    given = list(zip(a.tolist(), b.tolist(), strict=True))
    exact = worse_p(given)
    monkeypatch.setattr(blocks, "MOST_BLOCKS", 10)
    assert worse_p(given) == pytest.approx(exact, rel=0.25)
