"""What parts cost, as an expression: its least and its most, in calls or by any weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from stepgraph.nodes.costs import (
    FREE,
    All,
    Asks,
    Cost,
    OneOf,
    Times,
    Unbounded,
    asks_in,
    cost_of,
    costs_of,
    least,
    most,
)


@dataclass
class Part:
    name: str = "a"
    tries: int = 3
    request: Any = None


ONE, OTHER = Asks(Part()), Asks(Part("b", 2))


@pytest.mark.parametrize(
    ("cost", "low", "high"),
    [
        (FREE, 0, 0),
        (ONE, 1, 1),
        (All((ONE, OTHER, ONE)), 3, 3),
        (OneOf((ONE, All((ONE, OTHER)))), 1, 2),
        (OneOf((ONE, FREE)), 0, 1),
        (OneOf(()), 0, 0),
        (Times(ONE, 2, 5), 2, 5),
        (Times(All((ONE, OTHER)), 0, 3), 0, 6),
        (Times(ONE, 1, math.inf), 1, math.inf),
        (Times(FREE, 0, math.inf), 0, 0),
        (Unbounded("g", ONE), 0, math.inf),
        (Unbounded("g", FREE), 0, 0),
        (All((ONE, Unbounded("g", ONE))), 1, math.inf),
    ],
    ids=str,
)
def test_the_least_and_the_most(cost: Cost, low: float, high: float) -> None:
    assert (least(cost), most(cost)) == (low, high)


def test_steps_are_weighed() -> None:
    cost = All((ONE, OneOf((OTHER, Times(ONE, 1, 2)))))
    tries = lambda asks: asks.tries  # noqa: E731
    assert (least(cost, tries), most(cost, tries)) == (3 + 2, 3 + 6)
    assert most(Times(ONE, 0, math.inf), lambda _: 0) == 0


def test_the_steps_of_a_cost() -> None:
    cost = All((ONE, OneOf((OTHER, Times(ONE, 1, 2))), Unbounded("g", OTHER), FREE))
    assert [asks.name for asks in asks_in(cost)] == ["a", "b", "a", "b"]


def test_what_a_part_says_of_itself_comes_first() -> None:
    class Own:
        cost = Times(ONE, 1, 2)

    class Free:
        cost = "much"

    assert cost_of(Own()) == Own.cost
    assert cost_of(Free()) == cost_of(len) == FREE
    part = Part()
    assert cost_of(part) == Asks(part)
    assert costs_of([part, len, Own()]) == All((Asks(part), FREE, Own.cost))
