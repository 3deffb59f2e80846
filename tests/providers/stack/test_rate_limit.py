from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.rate_limit import measure
from stepgraph.providers.model import CallContext, Reply, Request, Usage
from stepgraph.providers.stack import rate_limit
from stepgraph.providers.stack.rate_limit import Line, RateLimiter, RateLimitLayer, TooLong
from stepgraph.providers.stack.retry import RetryLayer
from stepgraph.state.errors import CircuitOpen, ModelUnavailable
from stepgraph.state.session.session import Session

from ...simulated_time import SimulatedLoop
from .clock import Clock, clock_of

HELLO = Request(({"role": "user", "content": "Hello"},))
HERE = CallContext("step")
SPACING = 1 / 0.97  # seconds between two calls at 60 a minute: a little below the limit

TEN_EACH = Usage(10, 10)


class Counting:
    name = "counting"

    def __init__(self, usage: Usage = TEN_EACH, error: Exception | None = None) -> None:
        self.usage = usage
        self.error = error

    async def complete(self, request: Request, context: CallContext) -> Reply:
        if self.error is not None:
            raise self.error
        return Reply("ok", self.name, self.usage)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return clock_of(rate_limit, monkeypatch)


@pytest.mark.usefixtures("clock")
def test_places_in_the_line_are_spread_over_the_minute() -> None:
    line = RateLimiter(requests=60)
    waits = [line.join(0) for _ in range(4)]
    assert waits == pytest.approx([0, SPACING, 2 * SPACING, 3 * SPACING])


@pytest.mark.usefixtures("clock")
def test_a_burst_may_go_at_once() -> None:
    line = RateLimiter(requests=60, burst=3)
    waits = [line.join(0) for _ in range(5)]
    assert waits[:3] == [0, 0, 0]
    assert waits[3:] == pytest.approx([SPACING, 2 * SPACING])


@pytest.mark.usefixtures("clock")
def test_tokens_count_and_are_corrected_afterwards() -> None:
    line = RateLimiter(tokens=600)
    line.join(100)
    assert line.join(0) == pytest.approx(10 * SPACING)
    line.settle(100, 20)
    assert line.join(0) == pytest.approx(2 * SPACING)


@pytest.mark.usefixtures("clock")
def test_threads_share_one_line() -> None:
    line = RateLimiter(requests=6000)
    with ThreadPoolExecutor(8) as pool:
        waits = sorted(pool.map(lambda _: line.join(0), range(200)))
    assert waits[-1] == pytest.approx(199 * 0.01 * SPACING)


@pytest.mark.parametrize("now", [0.0, 1e6], ids=["just started", "long up"])
def test_a_burst_may_go_at_once_whatever_the_clock_shows(now: float) -> None:
    """A machine's clock begins at 0 when it starts."""
    line = RateLimiter(requests=60, tokens=60, burst=3, clock=lambda: now)
    assert [line.join(0) for _ in range(4)] == pytest.approx([0, 0, 0, SPACING])


@pytest.mark.usefixtures("clock")
def test_a_burst_is_one_of_calls_not_of_tokens() -> None:
    line = RateLimiter(tokens=60, burst=3)
    assert [line.join(1) for _ in range(3)] == pytest.approx([0, SPACING, 2 * SPACING])


@pytest.mark.usefixtures("clock")
def test_the_limit_that_is_reached_first_counts() -> None:
    line = RateLimiter(requests=60, tokens=60)
    assert [line.join(tokens) for tokens in (0, 5, 0, 0)] == pytest.approx(
        [0, SPACING, 5 * SPACING, 5 * SPACING]
    )


async def test_a_place_that_is_too_far_away_is_not_taken(clock: Clock) -> None:
    line = RateLimiter(requests=30, tokens=60)
    for _ in range(2):
        line.join(1)
    with pytest.raises(TooLong) as caught:
        await line.place(3, 4 * SPACING - 0.01)
    assert caught.value.wait == pytest.approx(4 * SPACING)
    wait = line.join(3)
    assert wait == pytest.approx(4 * SPACING)
    line.leave(3)
    assert await line.place(3, wait) == wait  # what is just as far as it may be is taken


@pytest.mark.usefixtures("clock")
def test_only_the_longest_hold_counts_and_it_ends() -> None:
    now = 0.0
    line = RateLimiter(clock=lambda: now)
    line.hold(5)
    line.hold(3)
    now = 4.9
    assert line.is_held
    now = 5.0
    assert not line.is_held
    assert line.join(0) == 0


@pytest.mark.parametrize(
    ("status", "retry_after", "held_s"),
    [(429, 0.2, 0.2), (429, 3600, 60), (429, None, 0), (503, 5, 0)],
    ids=["as long as asked", "a minute at most", "not asked", "no rate limit"],
)
@pytest.mark.parametrize("is_unlucky", [False, True], ids=["soon", "late"])
async def test_a_rate_limit_holds_everybody_for_as_long_as_it_asks(
    clock: Clock, status: int, retry_after: float | None, held_s: float, is_unlucky: bool
) -> None:
    """And not all come back at once: each up to a tenth later than asked."""
    clock.is_unlucky = is_unlucky
    line = RateLimiter()
    error = ModelUnavailable("limit", status=status, retry_after=retry_after)
    with pytest.raises(ModelUnavailable):
        await RateLimitLayer(Counting(error=error), line, None, None).complete(HELLO, HERE)
    layer = RateLimitLayer(Counting(), line, None, None)
    assert layer.name == "counting"
    assert (await layer.complete(HELLO, HERE)).text == "ok"
    assert clock.slept == ([pytest.approx(held_s * (1.1 if is_unlucky else 1))] if held_s else [])


async def test_who_waits_in_line_is_held_too(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    line = RateLimiter(requests=60)
    line.join(0)
    sleep = clock.sleep

    async def held_meanwhile(seconds: float) -> None:
        await sleep(seconds)
        if len(clock.slept) == 1:
            line.hold(10)

    monkeypatch.setattr(clock, "sleep", held_meanwhile)
    await RateLimitLayer(Counting(), line, None, None).complete(HELLO, HERE)
    assert clock.slept == [pytest.approx(SPACING), pytest.approx(10)]


@pytest.mark.parametrize(
    ("patient", "queue_s", "held_s", "waits"),
    [
        (True, None, 30, True),
        (True, 20, 30, False),
        (False, None, 2, True),
        (False, None, 2.1, False),
        (False, 1, 2, False),
        (False, 5, 3, False),
    ],
    ids=["patient", "too long for it", "two seconds", "more than that", "longer than set", "less than set"],
)
async def test_where_another_model_comes_after_it_a_hold_is_waited_for_two_seconds_at_most(
    clock: Clock, patient: bool, queue_s: float | None, held_s: float, waits: bool
) -> None:
    line = RateLimiter()
    line.hold(held_s)
    layer = RateLimitLayer(Counting(), line, None, queue_s, patient=patient)
    outcomes = await asyncio.gather(layer.complete(HELLO, HERE), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Reply if waits else CircuitOpen]
    assert clock.slept == ([held_s] if waits else [])


async def test_where_nothing_else_is_said_a_hold_is_waited_for(clock: Clock) -> None:
    line = RateLimiter()
    line.hold(30)
    await RateLimitLayer(Counting(), line, None, None).complete(HELLO, HERE)
    assert clock.slept == [30]


async def test_the_turns_of_the_line_are_waited_for_if_another_model_comes_after_it(clock: Clock) -> None:
    line = RateLimiter(requests=6)
    line.join(0)
    await RateLimitLayer(Counting(), line, None, None, patient=False).complete(HELLO, HERE)
    assert clock.slept == [pytest.approx(10 * SPACING)]


async def test_who_would_wait_too_long_is_sent_away(clock: Clock) -> None:
    line = RateLimiter(requests=6)
    line.join(0)
    with pytest.raises(
        CircuitOpen, match=r"counting is busy: its rate limit leaves no room for 10"
    ) as caught:
        await RateLimitLayer(Counting(), line, None, 1.0).complete(HELLO, HERE)
    assert (caught.value.model, caught.value.lasting) == ("counting", True)
    assert clock.slept == []


async def test_who_gives_up_gives_the_place_back(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    line = RateLimiter(requests=60, tokens=60_000)
    line.join(0)

    async def cancelled(seconds: float) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(clock, "sleep", cancelled)
    with pytest.raises(asyncio.CancelledError):
        await RateLimitLayer(Counting(), line, 30_000, None).complete(HELLO, HERE)
    assert line.join(0) == pytest.approx(SPACING)


async def test_where_workers_share_a_line_the_call_stands_in_that_one(clock: Clock) -> None:
    class Sharing:
        def rate(self, session: Session | None) -> Line:
            return shared

    shared, own = RateLimiter(requests=60), RateLimiter()
    shared.join(0)
    await RateLimitLayer(Counting(), own, None, None, sharing=Sharing()).complete(HELLO, HERE)
    assert clock.slept == [pytest.approx(SPACING)]

    error = ModelUnavailable("limit", status=429, retry_after=5)
    with pytest.raises(ModelUnavailable):
        await RateLimitLayer(Counting(error=error), own, None, None, sharing=Sharing()).complete(HELLO, HERE)
    assert shared.is_held
    assert own.is_held


async def test_a_call_below_the_limit_does_not_wait(clock: Clock) -> None:
    layer = RateLimitLayer(Counting(), RateLimiter(requests=60, tokens=60_000), None, None)
    for _ in range(5):
        await layer.complete(HELLO, HERE)
        clock.now += SPACING + 1e-6  # just below the rate
    assert clock.slept == []
    await layer.complete(HELLO, HERE)
    await layer.complete(HELLO, HERE)  # and one above it waits
    assert clock.slept == [pytest.approx(SPACING)]


@pytest.mark.parametrize("limits", [{"requests": 600}, {"tokens": 600}, {"burst": 3}], ids=str)
async def test_tokens_are_counted_only_where_they_are_limited(
    limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokens of a call are estimated, reserved and settled by the limit of tokens, not of requests."""
    reserved: list[float] = []
    limiter = RateLimiter(**limits)
    monkeypatch.setattr(limiter, "join", lambda amount: reserved.append(amount) or 0.0)
    layer = RateLimitLayer(Counting(), limiter, 30, None)
    await layer.complete(HELLO, HERE)
    assert reserved[0] > 30 if "tokens" in limits else not any(reserved)


@pytest.mark.parametrize(
    ("asked", "bound", "answer"), [(None, None, 256), (None, 30, 30), (7, 30, 7)], ids=["no", "set", "asked"]
)
async def test_a_call_reserves_a_token_for_four_characters_and_for_each_of_its_answer(
    asked: int | None, bound: int | None, answer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved: list[float] = []
    limiter = RateLimiter(tokens=60_000)
    monkeypatch.setattr(limiter, "join", lambda amount: reserved.append(amount) or 0.0)
    layer = RateLimitLayer(Counting(), limiter, bound, None)
    long = Request(({"role": "user", "content": "x" * 4000},), max_tokens=asked)
    schema = Request(HELLO.messages, max_tokens=asked, schema={"title": "x" * 4000})
    tools = Request(HELLO.messages, max_tokens=asked, tools=({"name": "x" * 4000},))
    for request in (long, schema, tools):
        await layer.complete(request, HERE)
    assert all(1000 + answer < tokens < 1030 + answer for tokens in reserved)


@pytest.mark.parametrize(
    ("model", "spent"),
    [
        (Counting(Usage(10, 20)), 30),
        (Counting(Usage(10, None)), None),
        (Counting(Usage(None, 20)), None),
        (Counting(Usage()), None),
        (Counting(error=ModelUnavailable("down")), 0),
    ],
    ids=["known", "only input", "only output", "unknown", "failed"],
)
async def test_what_a_call_spent_takes_the_place_of_what_it_reserved(
    model: Counting, spent: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[tuple[float, float]] = []
    limiter = RateLimiter(tokens=60_000)
    monkeypatch.setattr(limiter, "settle", lambda *amounts: settled.append(amounts))
    await asyncio.gather(
        RateLimitLayer(model, limiter, 30, None).complete(HELLO, HERE), return_exceptions=True
    )
    reserved, _ = settled[0]
    assert settled == [(reserved, reserved if spent is None else spent)]


class Window:
    """A server that takes `limit` calls in any second, and refuses the others."""

    name = "window"

    def __init__(self, limit: int, loop: SimulatedLoop) -> None:
        self.limit, self.loop = limit, loop
        self.served: list[float] = []
        self.refused = 0

    async def complete(self, request: Request, context: CallContext) -> Reply:
        await asyncio.sleep(random.uniform(0.001, 0.02))
        now = self.loop.time()
        if sum(at > now - 1 for at in self.served) >= self.limit:
            self.refused += 1
            raise ModelUnavailable("too many", status=429)
        self.served.append(now)
        await asyncio.sleep(0.2)
        return Reply("ok", self.name, TEN_EACH)


@pytest.mark.parametrize("limit", [20, 40, 100])
def test_many_branches_use_what_a_server_allows_and_are_hardly_refused(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In simulated time: what a real server sees on this machine, benchmarks/rate_limit.py measures."""
    loop = SimulatedLoop()
    random.seed(3)
    monkeypatch.setattr(rate_limit, "time", loop)
    server = Window(limit, loop)
    model = RetryLayer(RateLimitLayer(server, RateLimiter(limit * 60), None, None), 2)

    async def main() -> None:
        await asyncio.gather(*(model.complete(HELLO, HERE) for _ in range(500)))

    loop.run(main())
    assert len(server.served) == 500
    assert server.refused <= 5
    rate = 499 / (server.served[-1] - server.served[0])
    assert 0.95 * limit <= rate <= limit


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_many_branches_of_a_graph_wait_for_their_turns() -> None:
    """With a real server, and all of them answered: a turn may come late on a busy machine, never early."""
    found = await measure(60, 40, latency_s=0.05)
    assert found["calls"] >= 60
    assert found["last_s"] >= 59 / 40
