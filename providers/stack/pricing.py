"""What a call cost, and who says so.

In this order: the provider, where it sends the cost with the answer; the price in the settings; the
price list of the package genai-prices, as it was installed (nothing is fetched). Otherwise the cost is
unknown, and so is every sum that it would be part of.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from ipaddress import ip_address
from typing import Any, Protocol
from urllib.parse import urlsplit

from ...state.money import is_believable, rounded
from ..model import CallContext, Layer, Model, Reply, Request, Usage
from ..prices import FREE, HourlyPrice, Meter, Price, cost_of, cost_parts
from ..provider_table import provider_named
from ..settings import ModelSettings

FROM_PROVIDER = "provider"
FROM_SETTINGS = "settings"
FROM_LIST = "genai-prices"
ON_DEVICE = "on-device"


@dataclass(frozen=True, slots=True)
class Charge:
    """US dollars, where the price comes from, and since when it holds there, as an ISO date.

    `parts` is the same by kind of token, where the price is one for tokens.
    """

    usd: float
    source: str
    date: str | None = None
    parts: Mapping[str, float] | None = None


class Tariff(Protocol):
    """A price, wherever it comes from."""

    def cost(self, reply: Reply, seconds: float) -> Charge | None:
        """Return the cost of a call that used so many seconds of the machine; None if it is unknown."""
        ...

    def most(self, prompt: int, answer: int) -> float | None:
        """Return the most that a call of so many tokens can cost; None if it is unknown."""
        ...


class TokenTariff:
    """A price per million tokens from the settings."""

    def __init__(self, price: Price, source: str = FROM_SETTINGS) -> None:
        self._price = price
        self._source = source
        self._date = None if price.as_of is None else price.as_of.isoformat()

    def cost(self, reply: Reply, seconds: float) -> Charge | None:
        usd = cost_of(reply.usage, self._price)
        if usd is None:
            return None
        return Charge(usd, self._source, self._date, cost_parts(reply.usage, self._price))

    def most(self, prompt: int, answer: int) -> float | None:
        return self._price.most(prompt, answer)


class HourlyTariff:
    """A price per hour from the settings; an attempt lasts `timeout_s` seconds at most."""

    def __init__(self, price: HourlyPrice, timeout_s: float) -> None:
        self._price = price
        self._timeout_s = timeout_s
        self._date = None if price.as_of is None else price.as_of.isoformat()

    def cost(self, reply: Reply, seconds: float) -> Charge | None:
        if self._price.concurrency is not None:
            seconds = reply.latency_s / self._price.concurrency
        return Charge(rounded(self._price.cost(seconds)), FROM_SETTINGS, self._date)

    def most(self, prompt: int, answer: int) -> float | None:
        return rounded(self._price.cost(self._timeout_s / (self._price.concurrency or 1)), up=True)


class BatchTariff:
    """A share of another price: what a batch costs."""

    def __init__(self, live: Tariff, share: float) -> None:
        self._live = live
        self._share = Decimal(str(share))

    def cost(self, reply: Reply, seconds: float) -> Charge | None:
        charge = self._live.cost(reply, seconds)
        if charge is None:
            return None
        parts = charge.parts and {kind: self._part(usd) for kind, usd in charge.parts.items()}
        return Charge(self._part(charge.usd), f"{charge.source}, batch x {self._share}", charge.date, parts)

    def most(self, prompt: int, answer: int) -> float | None:
        most = self._live.most(prompt, answer)
        return None if most is None else self._part(most, up=True)

    def _part(self, usd: float, *, up: bool = False) -> float:
        return rounded(Decimal(str(usd)) * self._share, up=up)


class PriceListTariff:
    """The prices of genai-prices for one provider: by its name there, or by the endpoint's address."""

    def __init__(self, model: str, *, provider: str | None = None, address: str | None = None) -> None:
        self._model = model
        self._provider = provider
        self._address = address

    def cost(self, reply: Reply, seconds: float) -> Charge | None:
        usage = reply.usage
        if usage.input is None or usage.output is None:
            return None
        return self._cost(usage, (reply.model, self._model))

    def most(self, prompt: int, answer: int) -> float | None:
        usages = (
            Usage(prompt, answer),
            Usage(prompt, answer, cache_write=prompt),
            Usage(prompt, answer, reasoning=answer),
        )
        costs = [self._cost(usage, (self._model,)) for usage in usages]
        return max((cost.usd for cost in costs if cost is not None), default=None)

    def _cost(self, usage: Usage, names: Sequence[str]) -> Charge | None:
        """Return the cost under the first of the names that the list knows."""
        snapshot, version = price_list()
        now = datetime.now(UTC)
        for name in names:
            try:
                provider, model = snapshot.find_provider_model(name, None, self._provider, self._address)
                price = model.calc_price(_counts(usage), provider, genai_request_timestamp=now)
            except (LookupError, ValueError):
                continue
            parts = {"input": rounded(price.input_price), "output": rounded(price.output_price)}
            since = _since(model, price, now)
            return Charge(rounded(price.total_price), f"{FROM_LIST} {version}", since, parts)
        return None


@cache
def price_list() -> tuple[Any, str]:
    """Return the bundled snapshot of genai-prices, and its version. It takes a quarter of a second."""
    import genai_prices
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    return DataSnapshot(providers=providers, from_auto_update=False), genai_prices.__version__


def _counts(usage: Usage) -> Any:
    from genai_prices import Usage as Counts

    return Counts(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cached or None,
        cache_write_tokens=usage.cache_write or None,
        output_reasoning_tokens=usage.reasoning or None,
    )


def _since(model: Any, price: Any, now: datetime) -> str | None:
    """Return the day since which the list has this price, if it has the day."""
    conditional: list[Any] = model.prices if isinstance(model.prices, list) else []
    for entry in reversed(conditional):
        start = getattr(entry.constraint, "start_date", None)
        if start is not None and entry.prices is price.model_price and entry.constraint.active(now):
            return str(start.isoformat())
    return None


def tariff_for(settings: ModelSettings, name: str, address: str = "") -> Tariff | None:
    """Return what prices the calls of a model, or None if nobody knows."""
    price = settings.price
    if isinstance(price, HourlyPrice):
        return HourlyTariff(price, settings.timeout_s)
    if price is not None:
        return TokenTariff(price)
    provider = provider_named(settings.provider)
    if provider.is_free:
        return TokenTariff(FREE, ON_DEVICE)
    if provider.prices is not None:
        return PriceListTariff(name, provider=provider.prices)
    address = settings.base_url or address
    if address and _is_public(address):
        return PriceListTariff(name, address=address)
    return None


def batch_tariff_for(settings: ModelSettings, name: str, address: str = "") -> Tariff | None:
    """Return what prices the calls of a model in the batch lane, or None if nobody knows."""
    live, terms = tariff_for(settings, name, address), settings.batch_terms
    return live if live is None or terms is None else BatchTariff(live, terms.price)


def _is_public(address: str) -> bool:
    """Tell whether an address may be a provider's: no bare name, no IP address."""
    host = urlsplit(address).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal", ".localhost"))
    return False


_meters: dict[str, Meter] = {}
_meters_lock = threading.Lock()


def _meter_of(machine: str) -> Meter:
    with _meters_lock:
        return _meters.setdefault(machine, Meter())


class PricingLayer(Layer):
    """Adds to each reply what it cost and who says so, as far as that is known.

    `machine` is the address of the one that is paid by the hour; its calls share one clock.
    """

    def __init__(self, inner: Model, tariff: Tariff | None, *, machine: str = "") -> None:
        super().__init__(inner)
        self._tariff = tariff
        self._meter = _meter_of(machine or inner.name) if isinstance(tariff, HourlyTariff) else None

    async def complete(self, request: Request, context: CallContext) -> Reply:
        if self._meter is None:
            reply = await self.inner.complete(request, context)
            seconds = reply.latency_s
        else:
            began = self._meter.enter()
            try:
                reply = await self.inner.complete(request, context)
            finally:
                seconds = self._meter.leave() - began
        if reply.cost_usd is not None and not is_believable(reply.cost_usd):
            reply = replace(reply, cost_usd=None)
        if reply.cost_usd is not None:
            cost_usd = rounded(reply.cost_usd)
            return replace(reply, cost_usd=cost_usd, price_source=reply.price_source or FROM_PROVIDER)
        if self._tariff is None:
            return reply
        if isinstance(self._tariff, PriceListTariff) and not price_list.cache_info().currsize:
            await asyncio.to_thread(price_list)
        cost = self._tariff.cost(reply, seconds)
        if cost is None or not is_believable(cost.usd):
            return reply
        return replace(
            reply,
            cost_usd=cost.usd,
            cost_parts=cost.parts,
            price_source=cost.source,
            price_date=cost.date,
        )
