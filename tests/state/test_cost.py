"""Costs add up, and an unknown one is never counted as nothing."""

from __future__ import annotations

import pickle
from math import inf

from stepgraph.state.cost import NOTHING, Cost

ONE = Cost(calls=1, input_tokens=10, output_tokens=2, known_usd=0.5)
UNKNOWN = Cost(calls=1, input_tokens=3, output_tokens=4, unknown=1)


def test_costs_add_up_field_by_field() -> None:
    assert Cost(2, 20, 4, 1.0) == ONE + ONE
    assert sum([ONE, UNKNOWN, ONE], NOTHING) == Cost(3, 23, 8, 1.0, unknown=1)
    assert (ONE + UNKNOWN).tokens == 19


def test_a_sum_with_an_unknown_part_is_unknown_and_keeps_the_part_that_is_known() -> None:
    assert NOTHING.usd == 0.0
    assert ONE.usd == 0.5
    assert (ONE + UNKNOWN).usd is None
    assert (ONE + UNKNOWN).known_usd == 0.5


def test_a_cost_can_be_taken_away_again() -> None:
    assert ONE + UNKNOWN - ONE == UNKNOWN
    assert ONE - ONE == NOTHING


def test_at_least_takes_the_larger_one_of_each_number() -> None:
    assert ONE.at_least(UNKNOWN) == UNKNOWN.at_least(ONE) == Cost(1, 10, 4, 0.5, 1)


def test_it_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(UNKNOWN)) == UNKNOWN


ALL = Cost(1, 20, 3, 0.25, 1, 5, 0.5, 8)


def test_budgets_count_what_is_estimated_too_and_nothing_else_does() -> None:
    assert (ALL.tokens, ALL.charged_tokens, ALL.charged_usd) == (23, 28, 0.75)
    assert ALL.charged() == {"calls": 1, "tokens": 28, "usd": 0.75}
    assert Cost().charged() == {"calls": 0, "tokens": 0, "usd": 0.0}


def test_the_cached_share_is_of_the_input() -> None:
    assert ALL.cached_share == 0.4
    assert NOTHING.cached_share == 0.0
    assert Cost(input_tokens=4, cached_tokens=4).cached_share == 1.0


def test_each_number_is_added_taken_away_and_compared_by_itself() -> None:
    assert Cost(2, 40, 6, 0.5, 2, 10, 1.0, 16) == ALL + ALL
    assert ALL + ALL - ALL == ALL
    less = Cost(2, 10, 4, 0.2, 2, 4, 0.6, 7)
    assert ALL.at_least(less) == Cost(2, 20, 4, 0.25, 2, 5, 0.6, 8)


def test_dollars_without_an_end_stay_so_on_either_side() -> None:
    assert (Cost(known_usd=inf) + Cost(known_usd=0.1)).known_usd == inf
    assert (Cost(known_usd=0.1) + Cost(known_usd=inf)).known_usd == inf
    assert (Cost(known_usd=0.1) - Cost(known_usd=inf)).known_usd == -inf


def test_nothing_costs_nothing() -> None:
    assert Cost(0, 0, 0, 0.0, 0, 0, 0.0, 0) == NOTHING
    assert NOTHING.usd == 0.0
