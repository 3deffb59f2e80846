from __future__ import annotations

import asyncio
import time

import pytest

from stepgraph import ScriptedModel
from stepgraph.providers.model import CallContext, Request
from stepgraph.providers.stack.circuit_breaker import CircuitBreaker, CircuitBreakerLayer, tells_against
from stepgraph.providers.stack.roles import as_model
from stepgraph.state.errors import CircuitOpen, ModelRefused, ModelUnavailable, ModelUnreachable

from ...servers import Answer, ChatServer, Fault

HELLO = Request(({"role": "user", "content": "Hello"},))
HERE = CallContext("step")


async def test_it_opens_after_failures_in_a_row_and_closes_after_a_good_probe() -> None:
    script = ScriptedModel(
        [ModelUnreachable("gone"), ModelUnreachable("gone"), ModelUnreachable("gone"), "ok"]
    )
    breaker = CircuitBreaker(2, 0.05)
    guarded = CircuitBreakerLayer(script, breaker)
    for _ in range(2):
        with pytest.raises(ModelUnreachable):
            await guarded.complete(HELLO, HERE)
    assert breaker.state == "open"
    with pytest.raises(CircuitOpen, match="2 calls in a row failed there"):
        await guarded.complete(HELLO, HERE)
    await asyncio.sleep(0.06)
    assert breaker.state == "half-open"
    with pytest.raises(ModelUnreachable):
        await guarded.complete(HELLO, HERE)
    assert breaker.state == "open"
    await asyncio.sleep(0.06)
    assert (await guarded.complete(HELLO, HERE)).text == "ok"
    assert breaker.state == "closed"


async def test_half_open_lets_one_call_try() -> None:
    breaker = CircuitBreaker(1, 0.01)
    breaker.failed()
    await asyncio.sleep(0.02)
    assert breaker.enter() is None
    assert breaker.enter() is not None
    breaker.left()
    assert breaker.enter() is None


async def test_a_refusal_or_a_rate_limit_says_nothing_against_the_endpoint() -> None:
    assert not tells_against(ModelRefused("no"))
    assert not tells_against(ModelUnavailable("limit", status=429))
    assert tells_against(ModelUnavailable("down", status=503))
    breaker = CircuitBreaker(1, 60)
    guarded = CircuitBreakerLayer(
        ScriptedModel([ModelRefused("no"), ModelUnavailable("limit", status=429), "ok"]), breaker
    )
    for _ in range(2):
        with pytest.raises((ModelRefused, ModelUnavailable)):
            await guarded.complete(HELLO, HERE)
    assert (await guarded.complete(HELLO, HERE)).text == "ok"


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
    started = time.monotonic()
    assert (await model.complete(HELLO, HERE)).text == "back"
    assert time.monotonic() - started >= 0.2
