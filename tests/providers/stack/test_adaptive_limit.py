"""The limit on calls at a time follows what an endpoint takes: the layers themselves, in simulated time."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest

from benchmarks.adaptive_concurrency import PHASES, shares
from stepgraph.providers.model import CallContext, Reply, Request, Usage
from stepgraph.providers.stack import adaptive_limit, rate_limit, retry
from stepgraph.providers.stack.adaptive_limit import START, AdaptiveLimit
from stepgraph.providers.stack.concurrency import CEILING, Capacity, Ceiling, ConcurrencyLayer
from stepgraph.providers.stack.rate_limit import RateLimiter, RateLimitLayer
from stepgraph.providers.stack.retry import RetryLayer
from stepgraph.state.errors import ModelUnavailable

from ...simulated_time import SimulatedLoop

HELLO = Request(({"role": "user", "content": "Hello"},))
HERE = CallContext("step")


@dataclass
class Changing:
    """A server with room for so many calls at a time: it refuses the others, or lets them wait."""

    loop: SimulatedLoop
    latency_s: float = 1.0
    spread: float = 0.2
    retry_after: float | None = None
    queues: bool = False
    room: int = 50
    name: str = "changing"
    running: int = 0
    most: int = 0
    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    line: deque[asyncio.Future[None]] = field(default_factory=deque)

    async def complete(self, request: Request, context: CallContext) -> Reply:
        began = self.loop.time()
        if self.running >= self.room:
            if not self.queues:
                self.refused.append(began)
                await asyncio.sleep(0.01)
                raise ModelUnavailable("too many", status=429, retry_after=self.retry_after)
            turn = self.loop.create_future()
            self.line.append(turn)
            await turn
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(self.latency_s * random.uniform(1 - self.spread, 1 + self.spread))
        self.running -= 1
        self.go_on()
        self.served.append(self.loop.time())
        return Reply("ok", self.name, Usage(1, 1), latency_s=self.loop.time() - began)

    def go_on(self) -> None:
        for _ in range(min(len(self.line), max(0, self.room - self.running))):
            self.line.popleft().set_result(None)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> SimulatedLoop:
    loop = SimulatedLoop()
    random.seed(3)
    for module in (adaptive_limit, rate_limit, retry):
        monkeypatch.setattr(module, "time", loop)
    return loop


def stack(model: Any, limit: AdaptiveLimit, ceiling: int = CEILING) -> RetryLayer:
    inner = RateLimitLayer(model, RateLimiter(), None, None)
    return RetryLayer(ConcurrencyLayer(inner, ceiling, None, Capacity(limit)), 2)


SERVERS: dict[str, dict[str, Any]] = {
    "refuses": {},
    "quick": {"latency_s": 0.4},
    "in step": {"spread": 0.0},
    "Retry-After": {"retry_after": 1.0},
    "queues": {"queues": True},
    "queues, uneven": {"queues": True, "spread": 0.9},
}


@pytest.mark.parametrize("name", SERVERS)
def test_throughput_follows_a_server_that_changes(name: str, loop: SimulatedLoop) -> None:
    server = Changing(loop, **SERVERS[name])
    model = stack(server, AdaptiveLimit())
    starts: list[float] = []

    async def work() -> None:
        while len(starts) <= len(PHASES):
            await model.complete(HELLO, HERE)

    async def change() -> None:
        for room in PHASES:
            starts.append(loop.time())
            server.room = room
            server.go_on()
            await asyncio.sleep(45)
        starts.append(loop.time())

    async def main() -> None:
        await asyncio.gather(change(), *(work() for _ in range(200)))  # no call fails for good

    loop.run(main())
    for share in shares(server.served, starts, server.latency_s, settle_s=30):
        assert share >= 0.9
    assert len(server.refused) < 0.02 * (len(server.served) + len(server.refused))


def test_nobody_overtakes_in_the_line(loop: SimulatedLoop) -> None:
    server = Changing(loop, spread=0.0, room=500)
    order: list[str] = []

    class Noting(Changing):
        async def complete(self, request: Request, context: CallContext) -> Reply:
            order.append(context.step)
            return await super().complete(request, context)

    server = Noting(loop, room=500)
    model = stack(server, AdaptiveLimit(4), ceiling=8)
    names = [str(number) for number in range(60)]

    async def main() -> None:
        await asyncio.gather(*(model.complete(HELLO, CallContext(name)) for name in names))

    loop.run(main())
    assert order == names
    assert server.most <= 8


def test_the_ceiling_is_never_passed_and_is_reached(loop: SimulatedLoop) -> None:
    server = Changing(loop, room=500)
    model = stack(server, AdaptiveLimit(), ceiling=40)

    async def main() -> None:
        await asyncio.gather(*(model.complete(HELLO, HERE) for _ in range(400)))

    loop.run(main())
    assert server.most == 40


def test_a_server_that_refuses_all_is_given_up(loop: SimulatedLoop) -> None:
    server = Changing(loop, room=0)
    model = stack(server, AdaptiveLimit())

    async def main() -> list[Any]:
        return await asyncio.gather(*(model.complete(HELLO, HERE) for _ in range(20)), return_exceptions=True)

    outcomes = loop.run(main())
    assert {type(outcome) for outcome in outcomes} == {ModelUnavailable}
    assert all(outcome.attempts >= 3 for outcome in outcomes)
    assert len(server.refused) < 20 * 3 + 60


def test_one_call_at_a_time_has_the_retries_that_are_set(loop: SimulatedLoop) -> None:
    server = Changing(loop, room=0)

    async def main() -> None:
        with pytest.raises(ModelUnavailable):
            await stack(server, AdaptiveLimit()).complete(HELLO, HERE)

    loop.run(main())
    assert len(server.refused) == 3


def test_a_refusal_of_few_calls_does_not_close_the_door_for_many() -> None:
    limit = AdaptiveLimit(clock=lambda: 0.0)
    assert not limit.refused(limit.send())
    limit.end()
    assert limit.limit >= 0.9 * START - 1


def test_few_slow_calls_at_a_time_do_not_stay_few(loop: SimulatedLoop) -> None:
    server = Changing(loop, latency_s=10, room=1)
    limit = AdaptiveLimit()
    model = stack(server, limit)

    async def main() -> None:
        calls = [asyncio.ensure_future(model.complete(HELLO, HERE)) for _ in range(100)]
        await asyncio.sleep(60)
        assert limit.limit <= 2
        server.room = 500
        await asyncio.gather(*calls)

    began = loop.time()
    loop.run(main())
    assert loop.time() - began < 300  # one at a time, it would be a thousand


def test_what_was_learnt_of_a_crowd_is_forgotten_after_a_quiet_time() -> None:
    now = 0.0
    limit = AdaptiveLimit(clock=lambda: now)
    crowd = [limit.send() for _ in range(START)]
    assert limit.refused(crowd[-1])
    for _ in crowd:
        limit.end()
    assert limit.limit < START
    now = 61.0
    limit.send()
    assert limit.limit == START


def test_calls_that_fail_or_are_given_up_leave_their_places(loop: SimulatedLoop) -> None:
    limit = AdaptiveLimit(2)
    server = Changing(loop)
    layer = ConcurrencyLayer(server, 10, None, Capacity(limit))

    async def main() -> None:
        calls = [asyncio.ensure_future(layer.complete(HELLO, HERE)) for _ in range(6)]
        await asyncio.sleep(0.1)
        assert (limit.running, server.running) == (2, 2)
        for call in (calls[0], calls[3], calls[5]):
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(outcome, Reply) for outcome in outcomes) == 3

    loop.run(main())
    assert limit.running == 0


def test_an_endpoint_has_one_capacity_and_more_is_expected_where_more_is_set() -> None:
    from stepgraph.providers.stack.roles import as_model

    def capacity_of(**settings: Any) -> Capacity:
        model: Any = as_model({"model": "m", "base_url": "http://127.0.0.1:9/v1", **settings}, "here")
        while not isinstance(model, ConcurrencyLayer):
            model = model.inner
        return model._capacity

    unset, few, many = (capacity_of(**s) for s in ({}, {"max_concurrency": 2}, {"max_concurrency": 100}))
    assert unset is few is many
    assert unset._limit.limit == 100
    assert capacity_of(model="other") is not unset


async def test_event_loops_in_several_threads_wait_in_one_line() -> None:
    capacity = Capacity(AdaptiveLimit(1))
    ceiling = Ceiling(9)
    await capacity.enter(ceiling)
    entered = asyncio.Event()
    here = asyncio.get_running_loop()

    async def elsewhere() -> None:
        await capacity.enter(ceiling)
        here.call_soon_threadsafe(entered.set)
        capacity.leave(ceiling)

    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
    while not capacity._line:  # noqa: ASYNC110 nobody tells
        await asyncio.sleep(0.001)
    assert not entered.is_set()
    capacity.leave(ceiling)
    await thread
    assert capacity.running == 0
