"""Calls with a shared prefix: one goes ahead until its answer begins; the others read it from the cache."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from stepgraph import Ask, Budget, Session, agent, chain, estimate, fan_out, run, section, step, using, vote
from stepgraph.providers.backends.backend import PlainBackend
from stepgraph.providers.model import CallContext, Reply, Request, Usage
from stepgraph.providers.settings import parse_spec
from stepgraph.providers.stack import prefix as module, stack
from stepgraph.providers.stack.prefix import Prefixes, PrefixLayer
from stepgraph.providers.stack.redaction import RedactionLayer
from stepgraph.providers.stack.stack import member_of
from stepgraph.providers.stack.streaming import StreamingLayer
from stepgraph.state.errors import ModelUnavailable
from stepgraph.tracing import fork
from stepgraph.tracing.record.reads import read_calls

from ...caching_server import CHARS, CachingServer
from ...imitator import KEY
from ...imitators import OpenAI
from ...servers import Answer, ChatServer, Fault

DOCUMENT = "".join(f"Clause {number}: nobody owes anybody anything. " for number in range(2000))[:80_000]
SHARED = Request(
    ({"role": "system", "content": DOCUMENT}, {"role": "user", "content": "Why?"}), prefix=(0, len(DOCUMENT))
)
HERE = CallContext("step")


@dataclass
class Clause:
    number: int
    note: str = ""


@dataclass
class Contract:
    count: int = 32
    clauses: list[Clause] = field(default_factory=list)
    first: str = ""
    second: str = ""


def split(contract: Contract) -> list[Clause]:
    return [Clause(number) for number in range(contract.count)]


@step("note")
def read(clause: Clause) -> Ask[str]:
    return Ask(f"What does clause {clause.number} say?", prefix=DOCUMENT)


@step("first")
def one(contract: Contract) -> Ask[str]:
    return Ask("Who signs?", prefix=DOCUMENT)


@step("second")
def other(contract: Contract) -> Ask[str]:
    return Ask("Until when?", system="Answer with a date.", prefix=DOCUMENT)


SHAPES: dict[str, Any] = {
    "fan_out": fan_out(split, read, into="clauses"),
    "section": section({"one": one, "other": other}),
    "nested": chain(fan_out(split, chain(read), into="clauses"), section({"one": one, "other": other})),
    "vote": chain(vote(one, 5, uncertain=""), other),
}


@pytest.fixture
def caching() -> Iterator[CachingServer]:
    with CachingServer() as server:
        yield server


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
    async with asyncio.timeout(10):
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
        member = member_of(parse_spec(imitator.spec(client=client, timeout_s=10), "here"))
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
            await asyncio.to_thread(began.wait, 10)
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
        while len(prefixes.waiting) < 4:
            time.sleep(0.001)
        assert len(asked) == 1
        began.set()
        assert [call.result(10).text for call in calls] == ["ok"] * 4
    assert len(asked) == 4


def test_a_leader_that_fails_on_the_wire_leads_no_more(caching: CachingServer) -> None:
    caching.fate = lambda number: "fail" if number == 0 else None
    with using(caching.spec(retries=2)):
        app = SHAPES["fan_out"].compile()
        assert len(app.invoke(Contract(8))["clauses"]) == 8
    assert caching.before_first_token == 2  # the one that failed, and the next
    assert caching.cached >= 0.97 * len(DOCUMENT) / CHARS * 7


def test_a_budget_counts_the_calls_as_they_are(caching: CachingServer, session: Session) -> None:
    """Whoever waits for the prefix holds no part of a budget, and the last call that fits is made."""
    with using(caching.spec()):
        result = run(SHAPES["fan_out"].compile(), Contract(8), session, "t", budget=Budget(calls=5))
    assert (result.status, result.spent.calls, len(caching.bodies)) == ("partial", 5, 5)
    with using(caching.spec()):
        result = run(SHAPES["fan_out"].compile(), None, session, "t", budget=Budget(calls=8))
    assert (result.status, len(caching.bodies)) == ("done", 8)
    assert caching.before_first_token == 1


def test_a_hedge_is_for_the_call_not_for_its_wait(caching: CachingServer) -> None:
    caching.first_token_s = 0.3
    with using(caching.spec(hedge_after_s=20)):
        SHAPES["section"].compile().invoke(Contract())
    assert len(caching.bodies) == 2


def test_a_server_that_does_not_stream_is_asked_without_and_learnt_once(server: ChatServer) -> None:
    refused = []

    def decide() -> Answer | Fault:
        if server.bodies[-1].get("stream"):
            refused.append(len(server.bodies))
            return Fault(400, '{"error": {"message": "streaming is not supported"}}')
        return Answer(cached=90)

    server.decide = decide
    with using(server.spec()):
        app = SHAPES["fan_out"].compile()
        assert len(app.invoke(Contract(4))["clauses"]) == 4
        forget_prefixes()
        app.invoke(Contract(4))
    assert refused == [1]
    assert len(server.bodies) == 9


def test_a_stream_that_does_not_count_its_tokens_is_not_asked_for_again(server: ChatServer) -> None:
    server.decide = lambda: Answer(usage=not server.bodies[-1].get("stream"))
    with using(server.spec()):
        app = SHAPES["section"].compile()
        app.invoke(Contract())
        forget_prefixes()
        app.invoke(Contract())
    assert [bool(body.get("stream")) for body in server.bodies] == [True, False, False, False]


def forget_prefixes() -> None:
    """Forget what is in caches, but not what was learnt of the endpoints."""
    for prefixes in stack._caches.values():
        prefixes._used_at.clear()


CLIENTS: dict[str, Callable[[str], Any]] = {
    "langchain": lambda url: {"model": "served", "base_url": url, "client": "langchain"},
    "object": lambda url: ChatOpenAI(model="served", base_url=url, api_key=SecretStr("k"), stream_usage=True),
    "object that does not stream": lambda url: ChatOpenAI(
        model="served", base_url=url, api_key=SecretStr("k"), disable_streaming=True
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_langchains_classes_lead_too(client: str, caching: CachingServer) -> None:
    with using(CLIENTS[client](caching.url)):
        SHAPES["fan_out"].compile().invoke(Contract(8))
    assert caching.before_first_token == 1
    assert caching.share >= 0.8
    assert bool(caching.bodies[0].get("stream")) == ("not" not in client)
    assert not any(body.get("stream") for body in caching.bodies[1:])


def test_answers_on_record_serve_whoever_asks_again(caching: CachingServer, session: Session) -> None:
    """A resume, the cache and a fork find the answers under the same key, and wait for nobody."""
    app = SHAPES["fan_out"].compile()
    with using(caching.spec()):
        done = run(app, Contract(4), session, "t", cache_s=3600)
        again = run(app, Contract(4), session, "other", cache_s=3600)
        forked = fork(session, "t", new_thread="copy")
        copied = run(app, None, session, forked)
    assert len(caching.bodies) == 4
    assert done.value == again.value == copied.value
    with using(caching.spec()):
        run(
            fan_out(split, read.on("default"), into="clauses", name="fan_out").compile(),
            Contract(5),
            session,
            "t2",
        )
    assert len(caching.bodies) == 9


def test_equal_questions_are_asked_once(caching: CachingServer, session: Session) -> None:
    @step("note")
    def same(clause: Clause) -> Ask[str]:
        return Ask("Who signs?", prefix=DOCUMENT)

    with using(caching.spec()):
        run(fan_out(split, same, into="clauses").compile(), Contract(6), session, "t")
    assert len(caching.bodies) == 1


def test_an_estimate_has_the_prefix_in_every_call() -> None:
    with using({"model": "m", "base_url": "http://127.0.0.1:9/v1", "max_tokens": 10}):
        found = estimate(SHAPES["section"], Contract())
    assert found.tokens is not None
    assert found.tokens >= 2 * len(DOCUMENT)


def test_the_next_model_has_a_leader_of_its_own(caching: CachingServer, server: ChatServer) -> None:
    server.always = Fault(status=401)
    with using([server.spec(), caching.spec()]):
        SHAPES["fan_out"].compile().invoke(Contract(8))
    assert caching.before_first_token == 1
    assert caching.share >= 0.8


def test_an_agent_keeps_the_prefix_through_its_turns(caching: CachingServer) -> None:
    @step("first")
    def helper(contract: Contract) -> Ask[str]:
        return Ask("Who signs?", prefix=[HumanMessage(DOCUMENT)])

    def look_up(name: str) -> str:
        """Look a name up."""
        return name

    with using(caching.spec(capabilities={"prefix_mark": "cache_control"})):
        agent(helper, tools=[look_up]).compile().invoke(Contract())
    (part, question) = caching.bodies[0]["messages"][0]["content"]
    assert part == {"type": "text", "text": DOCUMENT, "cache_control": {"type": "ephemeral"}}
    assert question["text"] == "\n\nWho signs?"
