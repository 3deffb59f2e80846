from __future__ import annotations

import asyncio

from stepgraph.providers.backends.backend import PlainBackend
from stepgraph.providers.model import CallContext, Model, Reply, Request, Usage
from stepgraph.providers.settings import ModelSettings
from stepgraph.providers.stack.concurrency import ConcurrencyLayer
from stepgraph.providers.stack.stack import Member, stacked
from stepgraph.state.errors import CircuitOpen

HELLO = Request(({"role": "user", "content": "Hello"},))
HERE = CallContext("step")


class Counting:
    """Answers after a moment, and knows how many calls there were at once."""

    name = "counting"

    def __init__(self) -> None:
        self.now = self.most = 0

    async def complete(self, request: Request, context: CallContext) -> Reply:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        return Reply("ok", self.name, Usage(1_000_000, 1_000_000))


async def test_the_cap_holds_in_each_loop() -> None:
    counting = Counting()
    capped = ConcurrencyLayer(counting, 2)
    await asyncio.gather(*(capped.complete(HELLO, HERE) for _ in range(8)))
    assert counting.most == 2


def test_every_wrapper_is_a_model_under_the_same_name() -> None:
    model = stacked(Member(PlainBackend(Counting()), ModelSettings(model="m", provider="given")))
    assert isinstance(model, Model)
    assert model.name == "counting"


async def test_who_would_wait_too_long_is_sent_away() -> None:
    counting = Counting()
    capped = ConcurrencyLayer(counting, 1, queue_s=0)
    outcomes = await asyncio.gather(*(capped.complete(HELLO, HERE) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Reply, CircuitOpen, CircuitOpen]
    assert (await capped.complete(HELLO, HERE)).text == "ok"
