"""Sums of money are the decimals that they are written as."""

from __future__ import annotations

from decimal import Decimal
from math import inf

from hypothesis import given, strategies as st

from stepgraph.state.cost import NOTHING, Cost

picos = st.integers(0, 10**13)  # up to ten dollars, in trillionths


@given(st.lists(picos, max_size=30))
def test_costs_add_up_exactly(parts: list[int]) -> None:
    total = NOTHING
    for part in parts:
        total += Cost(1, known_usd=part / 10**12)
    assert Decimal(repr(total.known_usd)) == Decimal(sum(parts)) / 10**12
    for part in parts:
        total -= Cost(1, known_usd=part / 10**12)
    assert total == NOTHING


def test_a_cost_without_bound_stays_so() -> None:
    assert (Cost(known_usd=0.1) + Cost(known_usd=inf)).known_usd == inf
    assert (Cost(known_usd=inf) + Cost(known_usd=0.1)).known_usd == inf
