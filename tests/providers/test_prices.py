from __future__ import annotations

import time

import pytest
from pydantic import ValidationError

from stepgraph.providers import prices
from stepgraph.providers.model import Usage
from stepgraph.providers.prices import HourlyPrice, Meter, Price, cost_of

MILLION = 1_000_000
FULL = Price(input=3, output=15, cached=0.3, cache_write=3.75, reasoning=20)


@pytest.mark.parametrize(
    ("usage", "price", "cost"),
    [
        (Usage(MILLION, 0), FULL, 3.0),
        (Usage(MILLION, MILLION, cached=MILLION // 2), FULL, 1.5 + 0.15 + 15),
        (Usage(MILLION, 0, cache_write=MILLION // 4), FULL, 0.75 * 3 + 0.25 * 3.75),
        (Usage(0, MILLION, reasoning=MILLION // 2), FULL, 7.5 + 10),
        (Usage(0, MILLION, reasoning=MILLION), Price(input=3, output=15), 15.0),
        (Usage(MILLION, 0, cached=MILLION, cache_write=MILLION), Price(input=3, output=15), 6.0),
        (Usage(None, 5), FULL, None),
        (Usage(5, None), FULL, None),
        (Usage(), Price(input=0, output=0), 0.0),
        (Usage(), Price(input=0, output=0, cached=1), None),
    ],
)
def test_each_kind_of_token_has_its_price(usage: Usage, price: Price, cost: float | None) -> None:
    assert cost_of(usage, price) == (cost if cost is None else pytest.approx(cost))


def test_no_answer_costs_more_than_the_most() -> None:
    most = FULL.most(MILLION, MILLION)
    assert most == pytest.approx(3.75 + 20)
    assert most >= (cost_of(Usage(MILLION, MILLION, cached=5, reasoning=MILLION), FULL) or 0)


def test_calls_of_one_machine_share_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 10.0, 20.0, 30.0])
    monkeypatch.setattr(prices.time, "perf_counter", lambda: next(now))
    meter = Meter()
    a = meter.enter()
    b = meter.enter()
    a = meter.leave() - a
    b = meter.leave() - b
    assert (a, b) == (15.0, 15.0)
    assert a + b == 30.0


def test_an_idle_machine_is_in_no_calls_cost() -> None:
    meter = Meter()
    meter.enter()
    left = meter.leave()
    time.sleep(0.02)
    assert meter.enter() == left


@pytest.mark.parametrize(
    "bad", [{"per_hour": 2, "input": 1}, {"per_hour": -1}, {"per_hour": 2, "concurrency": 0}]
)
def test_a_price_by_the_hour_is_that_and_nothing_else(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        HourlyPrice(**bad)
