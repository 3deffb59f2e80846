"""Prices, and what a call costs under them."""

from __future__ import annotations

import datetime as dt
import threading
import time
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, Discriminator, Field, Tag

from ..state.money import rounded
from .model import Usage


class Price(BaseModel, frozen=True, extra="forbid"):
    """US dollars per million tokens.

    `cached` and `cache_write` input cost as much as `input` unless given, `reasoning` as much as
    `output`. `as_of` is the day on which the price was looked up.
    """

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)
    cached: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    cache_write: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    reasoning: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    as_of: dt.date | None = None

    def most(self, prompt: int, answer: int) -> float:
        """Return the most that so many tokens can cost."""
        highest_in = max(self.input, self.cached or 0, self.cache_write or 0)
        highest_out = max(self.output, self.reasoning or 0)
        return rounded(_exactly(prompt, highest_in) + _exactly(answer, highest_out), up=True)


class HourlyPrice(BaseModel, frozen=True, extra="forbid"):
    """US dollars per hour of a machine of one's own.

    A call is charged the time that it took, divided by the calls that the machine served meanwhile:
    `concurrency` where that is set, else those that this process had under way there. So the sum over
    the calls of one process is the price of the time in which it kept the machine busy. Idle time is
    in no call's cost, and other processes are not seen: set `concurrency` if there are any.
    """

    per_hour: float = Field(ge=0, allow_inf_nan=False)
    concurrency: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    as_of: dt.date | None = None

    def cost(self, seconds: float) -> float:
        """Return what so many seconds of the whole machine cost."""
        return self.per_hour * seconds / 3600


def _kind(value: Any) -> str:
    hourly = "per_hour" in value if isinstance(value, dict) else isinstance(value, HourlyPrice)
    return "hour" if hourly else "tokens"


AnyPrice = Annotated[
    Annotated[Price, Tag("tokens")] | Annotated[HourlyPrice, Tag("hour")], Discriminator(_kind)
]
PRICE_KINDS = ("tokens", "hour")

FREE = Price(input=0, output=0)


def cost_of(usage: Usage, price: Price) -> float | None:
    """Return the cost in US dollars, None where the tokens given or answered are unknown.

    Where a server says nothing of cached, cache-write or reasoning tokens, there are none.
    """
    if price.most(1, 1) == 0:
        return 0.0
    if usage.input is None or usage.output is None:
        return None
    return rounded(sum((_exactly(*each) for each in _counted(usage, price).values()), Decimal(0)))


def cost_parts(usage: Usage, price: Price) -> dict[str, float]:
    """Return the cost by kind of token, in US dollars, as far as there are tokens of that kind."""
    counted = _counted(usage, price).items()
    return {kind: rounded(_exactly(count, each)) for kind, (count, each) in counted if count}


@lru_cache(maxsize=1024)
def _as_written(price: float) -> Decimal:
    """Return a price per token of one per million, as the decimal that it is written as."""
    return Decimal(str(price)) / 1_000_000


def _exactly(count: int, each: float) -> Decimal:
    """Return what so many tokens cost at a price per million."""
    return count * _as_written(each)


def _counted(usage: Usage, price: Price) -> dict[str, tuple[int, float]]:
    """Return the tokens of each kind, and the price of a million of them."""
    cached, written, reasoning = usage.cached or 0, usage.cache_write or 0, usage.reasoning or 0
    fresh = max(0, (usage.input or 0) - cached - written)
    return {
        "input": (fresh, price.input),
        "input_cached_tokens": (cached, price.input if price.cached is None else price.cached),
        "input_cache_creation": (written, price.input if price.cache_write is None else price.cache_write),
        "output": ((usage.output or 0) - reasoning, price.output),
        "output_reasoning_tokens": (reasoning, price.output if price.reasoning is None else price.reasoning),
    }


class Meter:
    """A clock of a shared machine: it runs at the speed of 1 / (calls under way).

    What it advances during a call is that call's share of the machine's time in seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._reading = 0.0
        self._read_at = 0.0

    def enter(self) -> float:
        """Note that a call begins, and return the reading."""
        with self._lock:
            reading = self._read()
            self._under_way += 1
            return reading

    def leave(self) -> float:
        """Note that a call ends, and return the reading."""
        with self._lock:
            reading = self._read()
            self._under_way -= 1
            return reading

    def _read(self) -> float:
        now = time.perf_counter()
        if self._under_way:
            self._reading += (now - self._read_at) / self._under_way
        self._read_at = now
        return self._reading
