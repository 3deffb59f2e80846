"""Dollars are exact decimals: how they are counted in trillionths, rounded and shown."""

from __future__ import annotations

from decimal import Decimal
from math import inf, isnan, nan

import pytest

from stepgraph.state.money import dollars, is_believable, picos, rounded, shown


@pytest.mark.parametrize(
    ("usd", "nearest", "bound"),
    [
        (0, 0, 0),
        (0.0, 0, 0),
        (1, 10**12, 10**12),
        (0.1, 10**11, 10**11),
        (Decimal("0.000000000001"), 1, 1),
        (1.4e-12, 1, 2),
        (1.5e-12, 2, 2),
        (2.5e-12, 2, 3),
        (-1.5e-12, -2, -1),
        (1e-20, 0, 1),
    ],
)
def test_dollars_are_counted_in_trillionths_and_a_bound_is_rounded_up(
    usd: float | Decimal, nearest: int, bound: int
) -> None:
    assert (picos(usd), picos(usd, up=True)) == (nearest, bound)
    assert rounded(usd) == dollars(nearest) == pytest.approx(nearest / 10**12)
    assert rounded(usd, up=True) == dollars(bound)


def test_what_is_no_number_of_dollars_is_left_as_it_is() -> None:
    assert rounded(inf) == inf
    assert isnan(rounded(Decimal("nan")))
    assert (shown(inf), shown(nan)) == ("inf", "nan")


@pytest.mark.parametrize(
    ("usd", "least", "text"),
    [
        (0, 0, "0"),
        (0, 2, "0.00"),
        (1.5, 0, "1.5"),
        (1.5, 2, "1.50"),
        (2, 0, "2"),
        (12.3456, 2, "12.3456"),
        (0.000000000001, 0, "0.000000000001"),
        (0.01, 0, "0.01"),
        (100, 0, "100"),
        (-0.25, 0, "-0.25"),
        (-3, 2, "-3.00"),
    ],
)
def test_dollars_are_shown_with_all_places_that_they_have(usd: float, least: int, text: str) -> None:
    assert shown(usd, least) == text


def test_a_call_can_cost_from_nothing_to_a_million() -> None:
    assert [is_believable(usd) for usd in (-0.01, 0, 1_000_000, 1_000_000.01)] == [False, True, True, False]
