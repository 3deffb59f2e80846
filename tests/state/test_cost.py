"""Costs add up, and an unknown one is never counted as nothing."""

from __future__ import annotations

import pickle

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
