from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from scipy import stats

from stepgraph.evals.statistics.intervals import (
    below_p,
    difference_interval,
    difference_p,
    holm,
    kappa_interval,
    kappa_of,
    mcnemar_p,
    mean_interval,
    share_interval,
    smallest_effect,
    unbounded_interval,
)

from ..simulations import simulate


def test_what_the_statistics_promise_holds_in_simulation() -> None:
    broken = [str(found) for found in simulate(1000, seed=11) if not found.good]
    assert broken == []


def test_wilson_and_mcnemar_against_figures_from_textbooks() -> None:
    low, high = share_interval(15, 20)
    assert (round(low, 4), round(high, 4)) == (0.5313, 0.8881)
    assert mcnemar_p(10, 2) == pytest.approx(0.03857, abs=1e-5)  # 2 * P(X <= 2), X ~ B(12, 1/2)
    assert mcnemar_p(10, 2, only_worse=True) == pytest.approx(0.01929, abs=1e-5)
    assert mcnemar_p(0, 0) == 1.0


def test_holm_corrects_in_order_and_never_falls() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_nothing_seen_is_not_nothing_there() -> None:
    low, high = difference_interval([0.0] * 20)
    assert low < -0.05
    assert high > 0.05
    assert difference_p([0.0] * 20) == 1.0
    low, high = difference_interval([1 / 3] * 20)
    assert low < 1 / 3 < high
    assert mean_interval([1.0] * 30)[0] < 0.92
    assert mean_interval([]) == (0.0, 1.0)


def test_one_case_rules_nothing_out() -> None:
    assert difference_interval([0.5]) == (-1.0, 1.0)
    assert mean_interval([0.5]) == (0.0, 1.0)


def test_a_clear_change_is_seen_and_a_slight_one_is_not() -> None:
    assert difference_p([-1] * 9 + [0] * 21) < 0.01
    assert difference_p([-1 / 3] * 20 + [1 / 3] * 4 + [0.0] * 20) < 0.01
    assert difference_p([-1 / 3] * 5 + [1 / 3] * 4 + [0.0] * 20) > 0.5
    assert difference_p([1] * 9, only_worse=True) == 1.0


def test_more_cases_see_smaller_effects() -> None:
    few, many = smallest_effect([0, 1, 0, -1] * 5), smallest_effect([0, 1, 0, -1] * 50)
    assert few is not None
    assert many is not None
    assert few > 2 * many
    assert smallest_effect([1, 0]) is None


@pytest.mark.parametrize(
    ("differences", "effect"),
    [
        ([0] * 20, 0.1408),  # (t.975 + t.8 with 19 degrees) * sqrt(1/22) / sqrt(20)
        ([0, 1, 0, -1] * 5, 0.4792),  # the spread of the sample is above that of ten in 20
        ([0.5] * 20, 0.1684),  # no spread at all: 1 - 0.025 ** (1 / 20)
        ([0.0, 0.5] * 2, 0.6006),
        ([0.2, 0.1, 0.3], 0.3097),
    ],
)
def test_the_smallest_effect_of_what_did_not_move(differences: list[float], effect: float) -> None:
    assert smallest_effect(differences) == pytest.approx(effect, abs=1e-4)


def test_a_bound_is_tested_on_one_side() -> None:
    assert below_p([0.0] * 8 + [1.0] * 12, 0.9) < 0.001
    assert below_p([0.0] * 2 + [1.0] * 18, 0.9) > 0.5
    assert below_p([0.5, 0.6, 0.4, 0.5], 0.9) < 0.01
    assert below_p([], 0.9) == 1.0


@pytest.mark.parametrize("cells", [(0.45, 0.05, 0.05, 0.45), (0.6, 0.1, 0.1, 0.2), (0.9, 0.02, 0.03, 0.05)])
def test_the_interval_of_kappa_holds_it(cells: tuple[float, ...]) -> None:
    draw = Random(5)
    yes, also = cells[0] + cells[1], cells[0] + cells[2]
    chance = yes * also + (1 - yes) * (1 - also)
    kappa = (cells[0] + cells[3] - chance) / (1 - chance)
    said = [(True, True), (True, False), (False, True), (False, False)]
    found = [kappa_interval(draw.choices(said, cells, k=40)) for _ in range(400)]
    known = [interval for interval in found if interval is not None]
    assert sum(low <= kappa <= high for low, high in known) >= 0.92 * len(known)


def test_kappa_takes_chance_out() -> None:
    assert kappa_of([(True, True), (False, False)] * 10) == 1.0
    assert kappa_of([(True, True), (True, False), (False, True), (False, False)]) == 0.0
    assert kappa_of([(True, True)] * 5) is None
    assert kappa_of([]) is None
    assert kappa_interval([(True, True)] * 5) is kappa_interval([]) is None
    low, high = kappa_interval([(True, True), (False, False)] * 10) or (0.0, 0.0)
    assert 0.6 < low < 0.7
    assert high == pytest.approx(1.0)


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_scores_without_extremes_have_nearly_the_interval_of_students_t(level: float) -> None:
    scores = np.random.default_rng(4).normal(0.5, 0.1, 40).tolist()
    low, high = mean_interval(scores, level)
    wide = 2 * stats.t.ppf(1 - level / 2, 39) * np.std(scores, ddof=1) / math.sqrt(40)
    assert (high - low) == pytest.approx(wide, rel=0.04)


def test_the_same_data_give_the_same_interval() -> None:
    values = [0.1, 0.5, -0.25, 0.0, 0.3]
    assert difference_interval(values) == difference_interval(values)
    assert unbounded_interval([1.0]) is None
    assert unbounded_interval([2.0, 2.0]) == (2.0, 2.0)
