"""Calls with a shared prefix: one goes ahead until its answer begins; the others read it from the cache."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from stepgraph import Session, run, using
from stepgraph.providers.backends.backend import PlainBackend
from stepgraph.providers.model import CallContext, Reply, Request, Usage
from stepgraph.providers.settings import parse_spec
from stepgraph.providers.stack import prefix as module
from stepgraph.providers.stack.prefix import Prefixes, PrefixLayer
from stepgraph.providers.stack.redaction import RedactionLayer
from stepgraph.providers.stack.stack import member_of
from stepgraph.providers.stack.streaming import StreamingLayer
from stepgraph.state.errors import ModelUnavailable
from stepgraph.tracing.record.reads import read_calls

from ...caching_server import CHARS, CachingServer
from ...imitator import KEY
from ...imitators import OpenAI
from .prefix_cases import DOCUMENT, SHAPES, Contract, caching as caching

SHARED = Request(
    ({"role": "system", "content": DOCUMENT}, {"role": "user", "content": "Why?"}), prefix=(0, len(DOCUMENT))
)


HERE = CallContext("step")


@pytest.mark.parametrize(
    ("shape", "kind"),
    [("fan_out", "with a session"), ("nested", "streamed"), ("section", "plain"), ("vote", "plain")],
)
def test_branches_over_one_prefix_read_it_from_the_cache(
    shape: str, kind: str, caching: CachingServer, session: Session
) -> None:
    app = SHAPES[shape].compile()
    with using(caching.spec()):
        if kind == "plain":
            app.invoke(Contract())
        elif kind == "streamed":
            for _ in app.stream(Contract(), stream_mode="messages", subgraphs=True):
                pass
        else:
            assert run(app, Contract(), session, "t").status == "done"
            calls = read_calls(session.journal, "t")
            cached, given = (sum(call[n] for call in calls) for n in ("cached_tokens", "input_tokens"))
            assert (cached, given) == (caching.cached, caching.input)
    assert caching.before_first_token == 1
    document = len(DOCUMENT) // CHARS
    assert caching.input - caching.cached <= document + 200 * len(caching.bodies)  # it was read once
    assert caching.share >= 0.85 or len(caching.bodies) < 8
    fronts = {json.dumps(body["messages"])[: len(DOCUMENT)] for body in caching.bodies}
    assert len(fronts) == 1


class Served:
    """Answers as a test says, and keeps who was asked, and who is under way."""

    name = "served"
    streams = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.begin = asyncio.Event()
        self.end = asyncio.Event()
        self.failing = 0

    async def complete(self, request: Request, context: CallContext) -> Reply:
        self.asked.append(context.step)
        if self.failing:
            self.failing -= 1
            await asyncio.sleep(0)
            raise ModelUnavailable("out of order", status=500)
        if context.sink is not None:
            await self.begin.wait()
            await context.sink.emit("Be")
        await self.end.wait()
        return Reply("Because.", self.name, Usage(10, 1))


def layer(model: Any, prefixes: Prefixes | None = None) -> PrefixLayer:
    return PrefixLayer(model, prefixes or Prefixes(), PlainBackend(model))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 nobody tells
            await asyncio.sleep(0)


def ask(model: PrefixLayer, *names: str, request: Request = SHARED) -> list[asyncio.Task[Reply]]:
    return [asyncio.ensure_future(model.complete(request, replace(HERE, step=name))) for name in names]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_others_go_when_the_first_answer_begins_not_when_it_ends() -> None:
    served = Served()
    calls = ask(layer(served), "a", "b", "c")
    await settled()
    assert served.asked == ["a"]
    served.begin.set()
    await until(lambda: served.asked == ["a", "b", "c"])
    assert not calls[0].done()
    served.end.set()
    assert {(await call).text for call in calls} == {"Because."}


async def test_an_answer_that_begins_with_a_tool_call_begins_too() -> None:
    class Calling(Served):
        async def complete(self, request: Request, context: CallContext) -> Reply:
            self.asked.append(context.step)
            if context.sink is not None:
                await context.sink.emit()
            await self.end.wait()
            return Reply("", self.name, Usage(10, 1))

    served = Calling()
    model = PrefixLayer(StreamingLayer(RedactionLayer(served)), Prefixes(), PlainBackend(served))
    calls = ask(model, "a", "b")
    await until(lambda: served.asked == ["a", "b"])
    served.end.set()
    await asyncio.gather(*calls)


@pytest.mark.parametrize("client", ["http", "langchain"])
async def test_each_client_tells_when_a_tool_call_begins(
    client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    told: list[str] = []

    class Ear:
        listened = True

        async def emit(self, text: str = "", *, reasoning: str = "") -> None:
            told.append(text + reasoning)

    with OpenAI() as imitator:
        member = member_of(parse_spec(imitator.spec(client=client, timeout_s=60), "here"))
        weather = {"name": "weather", "description": "", "parameters": {"type": "object", "properties": {}}}
        asked = Request(({"role": "user", "content": "Weather?"},), tools=(weather,))
        reply = await member.backend.complete(asked, replace(HERE, sink=Ear()))
    assert reply.tool_calls
    assert told


async def test_a_model_that_does_not_stream_is_waited_for() -> None:
    served = Served()
    served.streams = False
    calls = ask(layer(served), "a", "b", "c")
    await settled()
    assert served.asked == ["a"]
    served.end.set()
    await asyncio.gather(*calls)
    assert served.asked == ["a", "b", "c"]


async def test_another_prefix_or_none_waits_for_nobody() -> None:
    served = Served()
    model = layer(served)
    another = replace(SHARED, messages=({"role": "system", "content": "Else."},), prefix=(0, 5))
    calls = [
        *ask(model, "a"),
        *ask(model, "another", request=another),
        *ask(model, "none", request=replace(SHARED, prefix=None)),
        *ask(model, "with tools", request=replace(SHARED, tools=({"name": "find"},))),
    ]
    await settled()
    assert served.asked == ["a", "another", "none", "with tools"]
    served.begin.set()
    served.end.set()
    await asyncio.gather(*calls)


async def test_a_leader_that_is_given_up_holds_nobody() -> None:
    served = Served()
    calls = ask(layer(served), "a", "b", "c")
    await settled()
    calls[1].cancel()
    calls[0].cancel()
    await until(lambda: served.asked == ["a", "c"])
    served.begin.set()
    served.end.set()
    assert (await calls[2]).text == "Because."


@pytest.mark.parametrize("failing", [1, 2, 3, 8])
async def test_leaders_that_fail_hold_nobody(failing: int) -> None:
    served = Served()
    served.failing = failing
    served.begin.set()
    served.end.set()
    outcomes = await asyncio.gather(*ask(layer(served), *"abcdefgh"), return_exceptions=True)
    assert sum(isinstance(outcome, ModelUnavailable) for outcome in outcomes) == failing
    assert len(served.asked) == 8


async def test_a_leader_that_hangs_holds_the_others_for_so_long_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LONGEST_WAIT_S", 0.05)
    served = Served()
    calls = ask(layer(served), "a", "b", "c")
    await until(lambda: served.asked == ["a", "b", "c"])
    served.begin.set()
    served.end.set()
    await asyncio.gather(*calls)


async def test_a_prefix_that_was_used_lately_is_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served()
    model = layer(served)
    served.begin.set()
    served.end.set()
    await asyncio.gather(*ask(model, "a"))
    served.end.clear()
    calls = ask(model, "b", "c")
    await until(lambda: served.asked == ["a", "b", "c"])
    served.end.set()
    await asyncio.gather(*calls)
    monkeypatch.setattr(module, "KEPT_S", 0.0)
    served.begin.clear()
    calls = ask(model, "d", "e")
    await settled()
    assert served.asked == ["a", "b", "c", "d"]
    served.begin.set()
    await asyncio.gather(*calls)


def test_event_loops_in_several_threads_share_one_leader() -> None:
    began, asked = threading.Event(), []

    class Slow:
        name = "slow"

        async def complete(self, request: Request, context: CallContext) -> Reply:
            asked.append(context.step)
            await asyncio.to_thread(began.wait, 60)
            return Reply("ok", self.name, Usage(1, 1))

    class Counted(Prefixes):
        waiting: list[str] = []  # noqa: RUF012

        async def turn(self, front: str) -> Any:
            self.waiting.append(front)
            return await super().turn(front)

    prefixes = Counted()
    slow = Slow()

    def call(name: str) -> Reply:
        model = layer(slow, prefixes)
        return asyncio.run(model.complete(SHARED, replace(HERE, step=name)))

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call, name) for name in "abcd"]
        while len(prefixes.waiting) < 4 or not asked:
            time.sleep(0.001)
        assert len(asked) == 1
        began.set()
        assert [call.result(60).text for call in calls] == ["ok"] * 4
    assert len(asked) == 4
