from __future__ import annotations

import asyncio
import datetime as dt
import socket
import threading
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest

from stepgraph.providers import prices
from stepgraph.providers.model import CallContext, Reply, Request, Usage
from stepgraph.providers.prices import FREE, HourlyPrice, Price
from stepgraph.providers.settings import ModelSettings, parse_spec
from stepgraph.providers.stack import pricing
from stepgraph.providers.stack.pricing import (
    BatchTariff,
    Charge,
    HourlyTariff,
    PriceListTariff,
    PricingLayer,
    TokenTariff,
    batch_tariff_for,
    price_list,
    tariff_for,
)
from stepgraph.state.session.session import Session

HELLO = Request(({"role": "user", "content": "hello"},))
HERE = CallContext(step="here")


class Says:
    name = "says"

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def complete(self, request: Request, context: CallContext) -> Reply:
        assert isinstance(request, Request)
        return self._reply


class Waits(Says):
    """Answers when it is told to."""

    def __init__(self, name: str) -> None:
        super().__init__(Reply("ok", name))
        self.name = name
        self.go = asyncio.Event()

    async def complete(self, request: Request, context: CallContext) -> Reply:
        await self.go.wait()
        return await super().complete(request, context)


def replied(model: str = "m", cost: float | None = None, **counts: int) -> Reply:
    return Reply("ok", model, Usage(1_000_000, 1_000_000, **counts), cost_usd=cost, latency_s=3600.0)


async def cost_under(settings: dict[str, Any], reply: Reply) -> Charge | None:
    model = Says(reply)
    model.name = settings["model"]
    tariff = tariff_for(parse_spec(settings, "here"), model.name)
    found = await PricingLayer(model, tariff).complete(HELLO, HERE)
    if found.cost_usd is None:
        assert found.price_source is None
        return None
    return Charge(found.cost_usd, found.price_source or "", found.price_date)


async def test_the_providers_own_cost_comes_first() -> None:
    spec = {"provider": "openrouter", "model": "openai/gpt-5-mini", "price": {"input": 1, "output": 1}}
    assert await cost_under(spec, replied(cost=0.5)) == Charge(0.5, "provider")


async def test_the_settings_come_before_the_list() -> None:
    price = {"input": 1, "output": 2, "as_of": "2026-10-01"}
    spec = {"provider": "openai", "model": "gpt-5-mini", "price": price}
    assert await cost_under(spec, replied()) == Charge(3.0, "settings", "2026-10-01")


async def test_a_known_model_has_the_lists_price() -> None:
    _, version = price_list()
    spec = {"provider": "openai", "model": "gpt-5-mini"}
    cost = await cost_under(spec, replied("gpt-5-mini-2025-08-07", cached=500_000))
    assert cost == Charge(pytest.approx(0.25 / 2 + 0.025 / 2 + 2), f"genai-prices {version}")


async def test_reasoning_is_not_paid_twice() -> None:
    spec = {"provider": "openai", "model": "gpt-5-mini"}
    thought = await cost_under(spec, replied("gpt-5-mini", reasoning=900_000))
    assert thought == await cost_under(spec, replied("gpt-5-mini"))


async def test_the_asked_for_name_serves_where_the_served_one_is_unknown() -> None:
    spec = {"provider": "openai", "model": "gpt-5-mini"}
    cost = await cost_under(spec, replied("nobody-knows-this-one"))
    assert cost is not None
    assert cost.usd == pytest.approx(2.25)


async def test_a_known_address_is_a_known_provider() -> None:
    spec = {"base_url": "https://api.deepseek.com/v1", "model": "deepseek-chat"}
    assert await cost_under(spec, replied("deepseek-chat")) is not None


@pytest.mark.parametrize(
    "spec",
    [
        {"provider": "openai", "model": "no-such-model"},
        {"provider": "vllm", "model": "gpt-5-mini"},
        {"provider": "ollama", "model": "llama3.2"},
        {"base_url": "http://localhost:8000/v1", "model": "gpt-5-mini"},
        {"base_url": "http://10.0.0.7:8000/v1", "model": "gpt-5-mini"},
        {"base_url": "https://models.example.com/v1", "model": "gpt-5-mini"},
    ],
)
async def test_what_nobody_knows_stays_unknown(spec: dict[str, Any]) -> None:
    assert await cost_under(spec, replied(spec["model"])) is None


async def test_without_counts_a_listed_model_costs_the_unknown() -> None:
    reply = Reply("ok", "gpt-5-mini", Usage(None, 5))
    assert await cost_under({"provider": "openai", "model": "gpt-5-mini"}, reply) is None


async def test_the_model_on_this_machine_is_free() -> None:
    model = Says(Reply("ok", "m", Usage()))
    priced = PricingLayer(model, tariff_for(ModelSettings(provider="local"), model.name))
    reply = await priced.complete(HELLO, HERE)
    assert (reply.cost_usd, reply.price_source) == (0.0, "on-device")


async def test_a_machine_by_the_hour_with_a_known_concurrency() -> None:
    price = {"per_hour": 4, "concurrency": 8, "as_of": "2026-11-02"}
    spec = {"provider": "vllm", "model": "qwen", "price": price}
    assert await cost_under(spec, replied()) == Charge(0.5, "settings", "2026-11-02")


@pytest.mark.parametrize(
    ("names", "machines", "costs"),
    [
        (("a", "b"), ("http://shared", "http://shared"), (5, 15)),
        (("a", "a"), ("http://one", "http://other"), (10, 20)),
        (("same", "same"), ("", ""), (5, 15)),
        (("this", "that"), ("", ""), (10, 20)),
    ],
    ids=["one machine", "two machines", "one name", "two names"],
)
async def test_calls_share_the_time_of_the_machine_that_they_keep_busy(
    names: tuple[str, str], machines: tuple[str, str], costs: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both begin at once; one ends after ten seconds, one after twenty. A second costs a dollar."""
    now = 100.0
    monkeypatch.setattr(prices, "time", SimpleNamespace(perf_counter=lambda: now))
    hour = HourlyTariff(HourlyPrice(per_hour=3600), 60)
    models = [Waits(name) for name in names]
    layers = [
        PricingLayer(model, hour, machine=machine) for model, machine in zip(models, machines, strict=True)
    ]
    assert tuple(layer.name for layer in layers) == names
    calls = [asyncio.create_task(layer.complete(HELLO, HERE)) for layer in layers]
    await asyncio.sleep(0)
    replies = []
    for model, call in zip(models, calls, strict=True):
        now += 10
        model.go.set()
        replies.append(await call)
    assert tuple(reply.cost_usd for reply in replies) == costs
    assert {reply.price_source for reply in replies} == {"settings"}


def test_the_most_that_a_call_can_cost() -> None:
    assert TokenTariff(Price(input=1, output=2, cache_write=5)).most(1_000_000, 2_000_000) == 9
    assert HourlyTariff(HourlyPrice(per_hour=60), 120).most(1, 1) == 2
    assert HourlyTariff(HourlyPrice(per_hour=1), 1.2).most(1, 1) == 0.000333333334  # never rounded down
    assert PriceListTariff("gpt-5-mini", provider="openai").most(1_000_000, 1_000_000) == pytest.approx(2.25)
    assert PriceListTariff("claude-sonnet-4-5", provider="anthropic").most(100_000, 0) == pytest.approx(0.375)
    assert PriceListTariff("no-such-model", provider="openai").most(1, 1) is None


@pytest.mark.parametrize(
    ("provider", "model", "since"),
    [("openai", "o3", "2025-06-10"), ("openai", "gpt-5-mini", None)],
    ids=["it became cheaper", "it never changed"],
)
def test_the_list_says_since_when_where_it_knows(provider: str, model: str, since: str | None) -> None:
    cost = PriceListTariff(model, provider=provider).cost(replied(model), 0)
    assert cost is not None
    assert cost.date == since


def test_the_list_may_have_a_price_of_its_own_for_reasoning() -> None:
    thought = replied("sonar-deep-research", reasoning=500_000)
    cost = PriceListTariff("sonar-deep-research", provider="perplexity").cost(thought, 0)
    assert cost is not None
    assert cost.parts == {"input": 2, "output": 8 / 2 + 3 / 2}


async def test_the_list_is_loaded_once_and_not_in_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a quarter of a second, in which no other call would go on."""
    loaded_in: list[int] = []

    @cache
    def load() -> tuple[Any, str]:
        loaded_in.append(threading.get_ident())
        return price_list()

    monkeypatch.setattr(pricing, "price_list", load)
    model = Says(replied("gpt-5-mini"))
    await PricingLayer(model, TokenTariff(FREE)).complete(HELLO, HERE)
    assert loaded_in == []
    for _ in range(2):
        reply = await PricingLayer(model, PriceListTariff("gpt-5-mini", provider="openai")).complete(
            HELLO, HERE
        )
        assert reply.price_source == f"genai-prices {price_list()[1]}"
    assert len(loaded_in) == 1
    assert loaded_in[0] != threading.get_ident()


def test_a_batch_costs_its_share_of_every_part() -> None:
    price = Price(input=2, output=4, as_of=dt.date(2026, 10, 1))
    batch = BatchTariff(TokenTariff(price), 0.5)
    assert batch.cost(replied(), 0) == Charge(
        3, "settings, batch x 0.5", "2026-10-01", {"input": 1, "output": 2}
    )
    assert batch.most(1_000_000, 2_000_000) == 5
    tiny = BatchTariff(TokenTariff(Price(input=1e-6, output=0)), 0.5)  # a token costs half of what is counted
    assert tiny.most(1, 0) == 1e-12
    assert tiny.cost(Reply("ok", "m", Usage(1, 0)), 0) == Charge(
        0, "settings, batch x 0.5", None, {"input": 0}
    )


def test_a_batch_has_no_parts_where_the_live_price_has_none() -> None:
    batch = BatchTariff(HourlyTariff(HourlyPrice(per_hour=3600), 60), 0.5)
    assert batch.cost(replied(), 10) == Charge(5, "settings, batch x 0.5")


def test_what_is_unknown_of_the_live_price_is_unknown_of_a_batch() -> None:
    unknown = BatchTariff(PriceListTariff("no-such-model", provider="openai"), 0.5)
    assert unknown.cost(replied("no-such-model"), 0) is None
    assert unknown.most(1, 1) is None


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({"provider": "openai", "price": {"input": 2, "output": 2}}, 2),
        ({"provider": "openai", "price": {"input": 2, "output": 2}, "batch": {"price": 0.25}}, 1),
        ({"provider": "vllm", "price": {"input": 2, "output": 2}}, 4),
        ({"base_url": "http://localhost:8000/v1", "batch": {"api": "openai"}}, None),
    ],
    ids=["by the provider", "by the settings", "no batch API", "no price"],
)
def test_a_batch_is_priced_by_its_terms(settings: dict[str, Any], most: float | None) -> None:
    tariff = batch_tariff_for(ModelSettings(model="m", **settings), "m")
    assert (tariff and tariff.most(1_000_000, 1_000_000)) == most


async def test_prices_are_found_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    price_list.cache_clear()

    def refuse(*_: object) -> None:
        raise AssertionError("somebody asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert await cost_under({"provider": "openai", "model": "gpt-5-mini"}, replied("gpt-5-mini")) is not None


async def test_an_unknown_cost_is_unknown_in_every_sum(session: Session) -> None:
    from dataclasses import dataclass

    from stepgraph import Ask, ScriptedModel, chain, step, using
    from stepgraph.runners.run import arun

    @dataclass
    class Two:
        a: str = ""
        b: str = ""

    @step("a", model="known")
    def first(two: Two) -> Ask[str]:
        return Ask("a")

    @step("b", model="unknown")
    def second(two: Two) -> Ask[str]:
        return Ask("b")

    graph = chain(first, second).compile()
    known = ScriptedModel(["one two"], price=Price(input=0, output=1e6, as_of=dt.date(2026, 10, 1)))
    with using(known=known, unknown=Says(replied())):
        result = await arun(graph, Two(), session, "t")
    assert (result.spent.usd, result.spent.known_usd, result.spent.unknown) == (None, 2.0, 1)
    (row,) = session.journal.query("SELECT * FROM run_costs")
    assert (row["cost_usd"], row["known_cost_usd"], row["unknown_costs"]) == (None, 2.0, 1)
    rows = session.journal.query("SELECT node, cost_usd FROM steps")
    assert {row["node"]: row["cost_usd"] for row in rows} == {"first": 2.0, "second": None}
    rows = session.journal.query("SELECT step, cost_usd, known_cost_usd FROM costs_by_step")
    assert {row["step"]: (row["cost_usd"], row["known_cost_usd"]) for row in rows} == {
        "first": (2.0, 2.0),
        "second": (None, 0),
    }
    rows = session.journal.query("SELECT step, price_source, price_date FROM calls ORDER BY step")
    assert [tuple(row.values()) for row in rows] == [
        ("first", "settings", "2026-10-01"),
        ("second", None, None),
    ]


@pytest.mark.parametrize(
    ("address", "is_listed"),
    [
        ("https://api.anthropic.com/v1", True),
        ("", False),
        ("http://localhost:8000/v1", False),
        ("http://10.0.0.7:8000/v1", False),
        ("http://gpu.internal/v1", False),
        ("http://gpu/v1", False),
    ],
)
def test_only_a_public_address_may_be_on_the_price_list(address: str, is_listed: bool) -> None:
    """A private model that happens to have a listed name is not billed at the list's price."""
    given = ModelSettings(provider="given", model="claude-sonnet-4-5")
    assert (tariff_for(given, "claude-sonnet-4-5", address) is not None) is is_listed
    if address:
        bound = ModelSettings(model="claude-sonnet-4-5", base_url=address)
        assert (tariff_for(bound, "claude-sonnet-4-5") is not None) is is_listed


@pytest.mark.parametrize("cost", [1e30, float("inf"), float("nan"), -1.0, 1_000_001.0])
async def test_a_cost_that_cannot_be_is_unknown(session: Session, cost: float) -> None:
    """It must fail neither the run nor the sums of the file."""
    from dataclasses import dataclass

    from stepgraph import Ask, chain, step, using

    @dataclass
    class One:
        a: str = ""

    @step("a")
    def ask(one: One) -> Ask[str]:
        return Ask("x")

    app = chain(ask).compile()
    with using(Says(Reply("said", "m", Usage(1, 1), cost_usd=cost))):
        for thread in ("a", "b"):
            await app.ainvoke(One(), session.config(thread))
    assert session.spent("a").usd is None
    rows = session.journal.query("SELECT cost_usd, known_cost_usd FROM run_costs")
    assert [tuple(row.values()) for row in rows] == [(None, 0.0)] * 2
