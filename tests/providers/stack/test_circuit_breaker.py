"""Circuit breakers in time that passes only where a test says so."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from stepgraph import ScriptedModel
from stepgraph.providers.model import CallContext, Request
from stepgraph.providers.stack import circuit_breaker
from stepgraph.providers.stack.circuit_breaker import CircuitBreaker, CircuitBreakerLayer, tells_against
from stepgraph.providers.stack.roles import as_model
from stepgraph.state.errors import (
    CircuitOpen,
    MalformedResponse,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    ModelUnreachable,
)

from ...servers import Answer, ChatServer, Fault

HELLO = Request(({"role": "user", "content": "Hello"},))
HERE = CallContext("step")


class Clock(SimpleNamespace):
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(circuit_breaker, "time", clock)
    return clock


def gone(times: int) -> list[ModelError]:
    return [ModelUnreachable("gone") for _ in range(times)]


async def test_it_opens_after_failures_in_a_row_and_closes_after_a_good_probe(clock: Clock) -> None:
    script = ScriptedModel([*gone(3), "ok"])
    breaker = CircuitBreaker(2, 50)
    guarded = CircuitBreakerLayer(script, breaker)
    assert guarded.name == "scripted"
    for state in ("closed", "open"):
        with pytest.raises(ModelUnreachable):
            await guarded.complete(HELLO, HERE)
        assert breaker.state == state
    clock.now += 20
    with pytest.raises(CircuitOpen, match=r"2 calls in a row failed there.* in 30 s") as caught:
        await guarded.complete(HELLO, HERE)
    assert (caught.value.model, caught.value.retry_after, caught.value.attempts) == ("scripted", 30, 0)
    clock.now += 30
    assert breaker.state == "half-open"
    with pytest.raises(ModelUnreachable):
        await guarded.complete(HELLO, HERE)
    assert breaker.state == "open"
    clock.now += 50
    assert (await guarded.complete(HELLO, HERE)).text == "ok"
    assert breaker.state == "closed"


@pytest.mark.parametrize("pause_after", [1, 2, 3])
def test_a_good_answer_begins_the_count_anew(clock: Clock, pause_after: int) -> None:
    breaker = CircuitBreaker(pause_after, 50)
    for _ in range(3):
        for number in range(pause_after):
            assert breaker.state == "closed"
            assert breaker.failures == number
            assert breaker.enter() is None
            breaker.failed()
        assert breaker.state == "open"
        clock.now += 50
        assert breaker.enter() is None
        breaker.succeeded()


@pytest.mark.usefixtures("clock")
def test_with_no_limit_it_never_opens() -> None:
    breaker = CircuitBreaker(0, 50)
    for _ in range(100):
        breaker.failed()
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    ("pause_s", "again_s"), [(50, 1.0), (0.25, 0.25)], ids=["a long pause", "a short one"]
)
def test_half_open_lets_one_call_try_and_tells_the_others_to_come_back_soon(
    clock: Clock, pause_s: float, again_s: float
) -> None:
    breaker = CircuitBreaker(1, pause_s)
    breaker.failed()
    assert breaker.enter() == pytest.approx(pause_s)
    clock.now += pause_s - 0.125
    assert (breaker.state, breaker.enter()) == ("open", pytest.approx(0.125))
    clock.now += 0.125
    assert (breaker.state, breaker.enter()) == ("half-open", None)
    assert breaker.enter() == again_s
    clock.now += 0.5
    assert breaker.enter() == again_s
    breaker.left()
    assert breaker.enter() is None
    breaker.failed()
    assert breaker.enter() == pytest.approx(pause_s)
    clock.now += pause_s + 1
    assert breaker.enter() is None


@pytest.mark.parametrize(
    ("error", "is_against"),
    [
        (ModelUnreachable("gone"), True),
        (MalformedResponse("half"), True),
        (ModelUnavailable("down", status=500), True),
        (ModelUnavailable("down", status=503), True),
        (ModelUnavailable("down"), True),
        *((ModelUnavailable("busy", status=status), False) for status in (402, 409, 425, 429)),
        (ModelRefused("no"), False),
    ],
    ids=["gone", "half", "500", "503", "no status", "402", "409", "425", "429", "refused"],
)
async def test_only_what_tells_against_an_endpoint_opens_it(error: ModelError, is_against: bool) -> None:
    assert tells_against(error) is is_against
    breaker = CircuitBreaker(2, 60)
    breaker.failed()
    with pytest.raises(type(error)):
        await CircuitBreakerLayer(ScriptedModel([error]), breaker).complete(HELLO, HERE)
    assert breaker.state == ("open" if is_against else "closed")
    assert breaker.failures == (2 if is_against else 0)  # who refuses works


@pytest.mark.parametrize(
    "error", [CircuitOpen("a long line"), asyncio.CancelledError()], ids=["line", "cancelled"]
)
async def test_a_call_that_was_given_up_says_nothing_and_another_may_try(
    clock: Clock, error: BaseException
) -> None:
    class GivenUp:
        name = "given up"

        async def complete(self, request: Request, context: CallContext) -> None:
            raise error

    breaker = CircuitBreaker(1, 50)
    breaker.failed()
    clock.now += 50
    with pytest.raises(type(error)):
        await CircuitBreakerLayer(GivenUp(), breaker).complete(HELLO, HERE)  # type: ignore[arg-type]
    assert breaker.state == "half-open"
    assert breaker.failures == 1
    assert breaker.enter() is None


async def test_all_bindings_of_an_endpoint_share_its_breaker(server: ChatServer) -> None:
    server.always = Fault(500)
    settings = {"retries": 0, "pause_after": 3, "pause_s": 60}
    cold, warm = (
        as_model([server.spec(temperature=t, **settings), ScriptedModel(lambda r, s: "other")], "here")
        for t in (0, 1)
    )
    for model in (cold, warm, cold, warm, cold):
        assert (await model.complete(HELLO, HERE)).text == "other"
    assert server.calls == 3


async def test_alone_a_model_waits_until_its_breaker_lets_it_try(server: ChatServer) -> None:
    server.will(Fault(500), Fault(500), Answer("back"))
    model = as_model(server.spec(retries=2, pause_after=2, pause_s=0.2), "here")
    assert (await model.complete(HELLO, HERE)).text == "back"
