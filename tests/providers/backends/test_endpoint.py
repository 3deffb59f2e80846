from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from stepgraph import Ask, Session, chain, step, using
from stepgraph.providers.backends.endpoint import Endpoint
from stepgraph.providers.backends.http import clients
from stepgraph.providers.model import CallContext, Request
from stepgraph.providers.provider_table import provider_named
from stepgraph.providers.settings import ModelSettings, parse_spec

from ...servers import Answer, ChatServer


class Grade(BaseModel):
    score: int


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""
    grade: Grade | None = None


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("Write.", max_tokens=77, temperature=0.5)


@step("grade")
def judge(post: Post) -> Ask[Grade]:
    return Ask("Grade.", system="Be strict.")


HELLO = Request(({"role": "user", "content": "Hello"},))


async def test_text_comes_with_usage_reasoning_and_the_name_of_who_answered(server: ChatServer) -> None:
    server.will(Answer("Boil.", reasoning="Hm.", cached=40, finish_reason="length"))
    reply = await Endpoint(parse_spec(server.spec(), "here")).complete(HELLO, CallContext("s"))
    assert (reply.text, reply.model, reply.reasoning) == ("Boil.", "served-2026", "Hm.")
    assert (reply.usage.input, reply.usage.output, reply.usage.cached) == (100, 20, 40)
    assert reply.finish_reason == "length"
    assert reply.latency_s > 0
    assert server.keys == ["Bearer none"]


async def test_the_limits_of_the_question_go_over_the_wire(server: ChatServer) -> None:
    with using(server.spec(max_tokens=5, temperature=0)):
        await write.answer(Post())
        await judge.answer(Post())
    sent = [(b["max_tokens"], b["max_completion_tokens"], b["temperature"]) for b in server.bodies]
    assert sent == [(77, 77, 0.5), (5, 5, 0.0)]
    assert server.bodies[1]["messages"][0] == {"role": "system", "content": "Be strict."}


async def test_without_limits_none_are_sent(server: ChatServer) -> None:
    with using(server.spec()):
        await judge.answer(Post())
    assert not {"max_tokens", "max_completion_tokens", "temperature", "n"} & server.bodies[0].keys()


@pytest.mark.parametrize("mode", ["json_schema", "json_object", "prompt"])
async def test_each_way_to_ask_for_json(server: ChatServer, mode: str) -> None:
    server.will(Answer('{"score": 4}'))
    with using(server.spec(structured=mode)):
        assert await judge.answer(Post()) == Grade(score=4)
    (body,) = server.bodies
    schema = {"type": "json_schema", "json_schema": {"name": "Grade", "schema": Grade.model_json_schema()}}
    formats = {"json_schema": schema, "json_object": {"type": "json_object"}, "prompt": None}
    assert body.get("response_format") == formats[mode]
    system = body["messages"][0]["content"]
    assert system.startswith("Be strict.")
    assert ('"score"' in system) is (mode != "json_schema")


async def test_a_server_that_enforces_the_schema_answers_it(server: ChatServer) -> None:
    with using(server.spec()):
        assert await judge.answer(Post()) == Grade(score=1)


@pytest.mark.parametrize(
    ("price", "answer", "cost"),
    [
        (None, Answer("x"), None),
        ({"input": 1, "output": 10}, Answer("x"), 300e-6),
        ({"input": 1, "output": 10}, Answer("x", cached=50), 300e-6),
        ({"input": 1, "output": 10, "cached": 0.1}, Answer("x", cached=50), 255e-6),
        ({"input": 1, "output": 10}, Answer("x", usage=False), None),
        ({"input": 0, "output": 0}, Answer("x", usage=False), 0.0),
    ],
)
async def test_the_cost_is_reckoned_or_unknown(
    server: ChatServer, session: Session, price: Any, answer: Answer, cost: float | None
) -> None:
    server.will(answer)
    with using(server.spec(price=price)):
        await chain(write).compile().ainvoke(Post(), session.config())
    (call,) = session.journal.query("SELECT cost_usd FROM calls")
    assert call["cost_usd"] == (cost if cost is None else pytest.approx(cost))


async def test_the_cap_on_calls_at_once_is_kept(server: ChatServer) -> None:
    server.always = Answer(delay_s=0.03, once=lambda: server.most_in_flight >= 3)
    with using(server.spec(max_concurrency=3)):
        await asyncio.gather(*(write.answer(Post()) for _ in range(12)))
    assert (server.calls, server.most_in_flight) == (12, 3)


def test_the_key_comes_from_the_environment(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-somebody-else")
    monkeypatch.setenv("SOME_KEY", "mine")
    with using(server.spec(api_key_env="SOME_KEY")):
        write.invoke(Post())
    with using(server.spec()):
        write.invoke(Post())
    assert server.keys == ["Bearer mine", "Bearer none"]


def test_presets_know_address_key_and_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "k")
    endpoint = Endpoint(ModelSettings(provider="deepseek", model="deepseek-chat"))
    assert endpoint.address == provider_named("deepseek").base_url
    assert endpoint.can.structured == "json_object"


def test_a_client_is_closed_with_its_loop(server: ChatServer) -> None:
    endpoint = Endpoint(parse_spec(server.spec(), "here"))

    async def use() -> Any:
        await asyncio.gather(*(endpoint.complete(HELLO, CallContext("s")) for _ in range(3)))
        return await clients.get()

    first, second = asyncio.run(use()), asyncio.run(use())
    assert first is not second
    assert first.closed
    assert second.closed
    assert {first, second}.isdisjoint(client.result() for client in clients._held.values())


async def test_calls_of_many_loops_do_not_meet(server: ChatServer) -> None:
    with using(server.spec()):
        here = await write.answer(Post())
        there = await asyncio.to_thread(lambda: asyncio.run(write.answer(Post())))
        sync = await asyncio.to_thread(lambda: write.invoke(Post())["draft"])
        nested = write.invoke(Post())["draft"]
    assert (here, there, sync, nested) == ("ok", "ok", "ok", "ok")


async def test_a_prompt_reaches_the_server_as_it_was_written(server: ChatServer) -> None:
    @step("draft")
    def odd(post: Post) -> Ask[str]:
        return Ask('Tea — "ча́й" {x}\n\t🍵')

    with using(server.spec()):
        await odd.answer(Post())
    assert server.bodies[0]["messages"] == [{"role": "user", "content": 'Tea — "ча́й" {x}\n\t🍵'}]
    assert json.dumps(server.bodies[0]).count("served") == 1
