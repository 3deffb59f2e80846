from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.rate_limit import measure
from stepgraph.providers.model import CallContext, Reply, Request, Usage
from stepgraph.providers.stack.rate_limit import HEADROOM, RateLimiter, RateLimitLayer
from stepgraph.state.errors import CircuitOpen, ModelUnavailable

HELLO = Request(({"role": "user", "content": "Hello"},))
HERE = CallContext("step")


class Answering:
    name = "answering"

    def __init__(self, tokens: int = 10, error: Exception | None = None) -> None:
        self.tokens = tokens
        self.error = error

    async def complete(self, request: Request, site: CallContext) -> Reply:
        if self.error is not None:
            raise self.error
        return Reply("ok", self.name, Usage(self.tokens, self.tokens))


def test_places_in_the_line_are_spread_over_the_minute() -> None:
    line = RateLimiter(requests=60)
    waits = [line.join(0) for _ in range(4)]
    assert waits == pytest.approx([0, 1 / HEADROOM, 2 / HEADROOM, 3 / HEADROOM], abs=0.1)


def test_a_burst_may_go_at_once() -> None:
    line = RateLimiter(requests=60, burst=3)
    waits = [line.join(0) for _ in range(5)]
    assert waits[:3] == [0, 0, 0]
    assert waits[3:] == pytest.approx([1 / HEADROOM, 2 / HEADROOM], abs=0.1)


def test_tokens_count_and_are_corrected_afterwards() -> None:
    line = RateLimiter(tokens=600)
    line.join(100)
    assert line.join(0) == pytest.approx(10 / HEADROOM, abs=0.1)
    line.settle(100, 20)
    assert line.join(0) == pytest.approx(2 / HEADROOM, abs=0.1)


def test_threads_share_one_line() -> None:
    line = RateLimiter(requests=6000)
    with ThreadPoolExecutor(8) as pool:
        waits = sorted(pool.map(lambda _: line.join(0), range(200)))
    assert waits[-1] == pytest.approx(199 * 0.01 / HEADROOM, abs=0.3)


async def test_a_rate_limit_holds_everybody_for_as_long_as_it_asks() -> None:
    line = RateLimiter()
    limited = RateLimitLayer(
        Answering(error=ModelUnavailable("limit", status=429, retry_after=0.2)), line, None, None
    )
    with pytest.raises(ModelUnavailable):
        await limited.complete(HELLO, HERE)
    started = time.monotonic()
    assert (await RateLimitLayer(Answering(), line, None, None).complete(HELLO, HERE)).text == "ok"
    assert time.monotonic() - started >= 0.19


async def test_who_would_wait_too_long_is_sent_away() -> None:
    paced = RateLimitLayer(Answering(), RateLimiter(requests=6), None, 1.0)
    outcomes = await asyncio.gather(*(paced.complete(HELLO, HERE) for _ in range(2)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Reply, CircuitOpen]


async def test_who_gives_up_gives_the_place_back() -> None:
    line = RateLimiter(requests=600)
    paced = RateLimitLayer(Answering(), line, None, 0.05)
    for _ in range(20):
        await asyncio.gather(*(paced.complete(HELLO, HERE) for _ in range(3)), return_exceptions=True)
    waiting = asyncio.ensure_future(RateLimitLayer(Answering(), line, None, None).complete(HELLO, HERE))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert line.join(0) <= 0.15


async def test_where_another_model_comes_after_it_nobody_waits_for_a_hold() -> None:
    line = RateLimiter()
    line.hold(30)
    with pytest.raises(CircuitOpen):
        await RateLimitLayer(Answering(), line, None, None, patient=False).complete(HELLO, HERE)


async def test_a_line_does_not_delay_calls_below_its_limit() -> None:
    paced = RateLimitLayer(Answering(), RateLimiter(requests=60_000, tokens=1e9), None, None)
    for _ in range(5):
        await paced.complete(HELLO, HERE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_many_branches_share_the_allowed_rate() -> None:
    """The figures that count are those of benchmarks/rate_limit.py; this one only sees that it works."""
    found = await measure(60, 40, latency_s=0.05)
    assert found["share_of_allowed"] <= 1.1
    assert found["share_of_429"] <= 0.2
