from __future__ import annotations

import asyncio

import pytest

from stepgraph import ScriptedModel
from stepgraph.providers.model import Model, Reply, Request, Site, Usage
from stepgraph.providers.roles import stacked
from stepgraph.providers.settings import ModelSettings, Price
from stepgraph.providers.wrappers import Capped, Priced, Retried, cost_of
from stepgraph.state.errors import ModelOverloaded, ModelRefused, ModelUnreachable

HELLO = Request(({"role": "user", "content": "Hello"},))
HERE = Site("step")


class Counting:
    """Answers after a moment, and knows how many calls there were at once."""

    name = "counting"

    def __init__(self) -> None:
        self.now = self.most = 0

    async def complete(self, request: Request, site: Site) -> Reply:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        return Reply("ok", self.name, Usage(1_000_000, 1_000_000))


async def test_what_may_pass_is_tried_again_up_to_the_limit() -> None:
    script = ScriptedModel([ModelOverloaded("busy"), ModelUnreachable("gone"), "ok"])
    assert (await Retried(script, 2, first_wait_s=0).complete(HELLO, HERE)).text == "ok"

    script = ScriptedModel([ModelOverloaded("busy")] * 3)
    with pytest.raises(ModelOverloaded):
        await Retried(script, 2, first_wait_s=0).complete(HELLO, HERE)
    assert script.left == []


async def test_what_cannot_succeed_is_not_tried_again() -> None:
    script = ScriptedModel([ModelRefused("no"), "ok"])
    with pytest.raises(ModelRefused):
        await Retried(script, 5, first_wait_s=0).complete(HELLO, HERE)
    assert script.left == ["ok"]


def test_the_pause_grows_and_the_servers_word_goes_first() -> None:
    retried = Retried(ScriptedModel([]), 5, first_wait_s=1.0)
    waits = [retried._wait_s(ModelUnreachable("gone"), attempt) for attempt in (1, 2, 3)]
    assert 0.5 <= waits[0] <= 1.5
    assert 2 <= waits[2] <= 6
    assert retried._wait_s(ModelOverloaded("busy", retry_after=7), 1) == 7


async def test_the_cap_holds_in_each_loop() -> None:
    counting = Counting()
    capped = Capped(counting, 2)
    await asyncio.gather(*(capped.complete(HELLO, HERE) for _ in range(8)))
    assert counting.most == 2


async def test_a_price_gives_a_cost_only_where_none_came() -> None:
    priced = Priced(Counting(), Price(input=1, output=2))
    assert (await priced.complete(HELLO, HERE)).cost_usd == 3
    assert (await Priced(Counting(), None).complete(HELLO, HERE)).cost_usd is None
    own_cost = Priced(Counting(), Price(input=0, output=0))
    assert (await Priced(own_cost, Price(input=1, output=2)).complete(HELLO, HERE)).cost_usd == 0


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(1_000_000, 0), 3.0),
        (Usage(1_000_000, 1_000_000, cached=500_000), 3 * 0.5 + 0.3 * 0.5 + 15),
        (Usage(None, 5), None),
        (Usage(5, None), None),
    ],
)
def test_cost_is_tokens_times_price(usage: Usage, cost: float | None) -> None:
    price = Price(input=3, output=15, cached=0.3)
    assert cost_of(usage, price) == (cost if cost is None else pytest.approx(cost))


def test_every_wrapper_is_a_model_under_the_same_name() -> None:
    model = stacked(Counting(), ModelSettings(model="m", provider="given"))
    assert isinstance(model, Model)
    assert model.name == "counting"
