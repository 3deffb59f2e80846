"""Tokens counted before a request is sent: by the server that will answer it, or by OpenAI's tokenizer."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, strategies as st
from langchain_openai import ChatOpenAI

from stepgraph import Ask, Budget, Session, chain, step, using
from stepgraph.providers.backends import token_counts
from stepgraph.providers.backends.endpoint import Endpoint
from stepgraph.providers.backends.langchain import ChatModel
from stepgraph.providers.backends.ondevice import OnDevice
from stepgraph.providers.backends.token_counts import openai_encoding, openai_tokens
from stepgraph.providers.model import CallContext, Reply, Request, Usage
from stepgraph.providers.prices import Price
from stepgraph.providers.settings import parse_spec
from stepgraph.providers.stack.prompt_bound import text_bound

TEXTS = {
    "English": "The kettle does not switch off any more, and it smells of burnt plastic. ",
    "German": "Der Wasserkocher schaltet sich nicht mehr ab und riecht nach verbranntem Kunststoff. ",
    "Greek": "Ο βραστήρας δεν σβήνει πια και μυρίζει καμένο πλαστικό. ",
    "Hindi": "केतली अब बंद नहीं होती और उसमें से जले हुए प्लास्टिक की गंध आती है। ",
    "Chinese": "我上周买的水壶关不掉了,而且有烧焦塑料的味道。",
    "Python": "def total(items):\n    return sum(item.price for item in items)  # in cents\n",
    "emoji": "😀👍🏽🎉❤️‍🔥🇩🇪",
}
HI = Request(({"role": "system", "content": "You are kind."}, {"role": "user", "content": "Hi " * 200}))


@asynccontextmanager
async def server(**routes: Callable[[dict[str, Any]], Any]) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve POST routes; yield the base URL, and which ones were asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        name = request.path.strip("/").replace("-", "_")
        asked.append(name)
        if name not in routes:
            return web.json_response({"detail": "Not Found"}, status=404)
        found = routes[name](await request.json())
        return found if isinstance(found, web.Response) else web.json_response(found)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    try:
        yield f"http://127.0.0.1:{port}/v1", asked
    finally:
        await runner.cleanup()


def endpoint(url: str, tokenizer: str, **settings: Any) -> Endpoint:
    return Endpoint(
        parse_spec({"base_url": url, "model": "m", "capabilities": {"tokenizer": tokenizer}, **settings}, "x")
    )


async def test_vllm_counts_messages_and_tools() -> None:
    seen: list[Any] = []
    async with server(tokenize=lambda body: seen.append(body) or {"count": 77, "tokens": []}) as (url, _):
        tool = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
        request = Request(HI.messages, tools=(tool,))
        assert await endpoint(url, "vllm").count_tokens(request) == 77
    assert seen[0]["messages"] == [dict(message) for message in HI.messages]
    assert (seen[0]["model"], seen[0]["add_generation_prompt"]) == ("m", True)
    assert seen[0]["tools"] == [{"type": "function", "function": tool}]


async def test_llama_cpp_counts_what_its_template_makes() -> None:
    def tokenize(body: dict[str, Any]) -> dict[str, Any]:
        return {"tokens": body["content"].split()} if body["add_special"] and body["parse_special"] else {}

    def template(body: dict[str, Any]) -> dict[str, Any]:
        return {"prompt": " ".join(f"<{m['role']}> {m['content']}" for m in body["messages"])}

    async with server(apply_template=template, tokenize=tokenize) as (url, _):
        assert await endpoint(url, "llama.cpp").count_tokens(HI) == 2 + 3 + 200


@pytest.mark.parametrize(
    ("answer", "asked_again"),
    [
        (lambda _: web.json_response({}, status=404), False),
        (lambda _: web.json_response({"error": "what?"}, status=400), False),
        (lambda _: web.Response(text="<html>Log in</html>", content_type="text/html"), False),
        (lambda _: web.json_response({}, status=503), True),
        (lambda _: {"count": "many"}, True),
        (lambda _: {"count": 0}, True),
        (lambda _: {}, True),
    ],
)
async def test_a_server_that_cannot_tell_leaves_it_to_the_bytes(answer: Any, asked_again: bool) -> None:
    async with server(tokenize=answer) as (url, asked):
        here = endpoint(url, "vllm")
        assert [await here.count_tokens(HI), await here.count_tokens(HI)] == [None, None]
    assert len(asked) == 1 + asked_again
    assert await here.count_tokens(HI) is None  # nobody is there


async def test_no_server_is_asked_that_is_not_known_to_count() -> None:
    async with server(tokenize=lambda _: {"count": 3}) as (url, asked):
        assert await Endpoint(parse_spec({"base_url": url, "model": "gpt-5"}, "x")).count_tokens(HI) is None
    assert asked == []


@dataclass
class Letter:
    to: str
    text: str = ""


@step("text")
def write(letter: Letter) -> Ask[str]:
    return Ask("Write to " + letter.to * 100, max_tokens=10)


class Counting:
    """Counts words, as its server does."""

    name, price = "counting", Price(input=1, output=1)

    async def complete(self, request: Request, context: CallContext) -> Reply:
        return Reply("Dear Bo", self.name, Usage(await self.count_tokens(request), 2))

    async def count_tokens(self, request: Request) -> int:
        return sum(len(message["content"].split()) for message in request.messages)


async def test_a_budget_reserves_what_was_counted(session: Session) -> None:
    with using(Counting()):
        result = chain(write).compile().invoke(Letter("Bo "), session.config("t", budget=Budget(tokens=200)))
    (call,) = session.journal.query("SELECT reserved, input_tokens FROM calls")
    assert result["text"] == "Dear Bo"
    assert json.loads(call["reserved"])["tokens"] == call["input_tokens"] + 10 == 112


@pytest.mark.local
@pytest.mark.xdist_group("local")
@pytest.mark.parametrize("language", TEXTS)
async def test_a_prompt_is_reserved_at_no_less_than_it_has_and_at_most_twice(language: str) -> None:
    model = OnDevice()
    request = Request(({"role": "user", "content": TEXTS[language]},), max_tokens=1)
    reply = await model.complete(request, CallContext("x"))
    counted = await model.count_tokens(request)
    assert counted is not None
    assert reply.usage.input is not None
    assert reply.usage.input <= counted <= 2 * reply.usage.input
    assert counted <= text_bound(request)


class Words:
    def encode_ordinary(self, text: str) -> Sequence[int]:
        return range(len(text.split()))


@given(st.lists(st.text("ab ü你", max_size=80), min_size=1, max_size=6))
async def test_openais_count_is_never_less_than_its_rule_and_at_most_twice(texts: list[str]) -> None:
    messages = tuple({"role": "user", "content": text} for text in texts)
    least = 3 + sum(4 + len(text.split()) for text in texts)
    counted = token_counts._openai_tokens(Request(messages), Words())
    assert least <= counted <= 2 * least


def test_all_that_a_request_holds_is_counted() -> None:
    base = token_counts._openai_tokens(Request(({"role": "user", "content": "a b"},)), Words())
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": "x"}'}}
    more: list[Request] = [
        Request(({"role": "user", "content": [{"type": "text", "text": "a b c"}]},)),
        Request(({"role": "user", "content": "a b", "name": "Bo"},)),
        Request(({"role": "assistant", "content": None, "tool_calls": [call]},)),
        Request(({"role": "user", "content": "a b"},), schema={"type": "object"}),
        Request(({"role": "user", "content": "a b"},), tools=({"name": "look"},)),
    ]
    assert all(token_counts._openai_tokens(request, Words()) > base for request in more)


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-5-mini", "o200k_base"),
        ("openai/gpt-4o", "o200k_base"),
        ("o3", "o200k_base"),
        ("ft:gpt-4o-mini:acme", "o200k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-7", None),
        ("openai/gpt-oss-20b", None),
        ("anthropic/claude-opus-4", None),
        ("mistral-o3", None),
    ],
)
def test_openais_models_are_told_by_their_names(model: str, encoding: str | None) -> None:
    assert openai_encoding(model) == encoding


async def test_only_a_model_at_openai_has_openais_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_counts, "_encoding", lambda name: Words())
    here = ChatModel(ChatOpenAI(model="gpt-4o", api_key="x"))
    elsewhere = ChatModel(ChatOpenAI(model="gpt-4o", api_key="x", base_url="http://localhost:8000/v1"))
    assert await here.count_tokens(HI) == 6 * 3 + 203
    assert await elsewhere.count_tokens(HI) is None
    at_openai = Endpoint(parse_spec("openai:gpt-4o", "x"), api_key="x")
    assert await at_openai.count_tokens(HI) == 6 * 3 + 203


@pytest.mark.skipif(importlib.util.find_spec("bpe_openai") is None, reason="bpe-openai is not installed")
@pytest.mark.parametrize("language", TEXTS)
async def test_openais_tokens_are_fewer_than_bytes(language: str) -> None:
    request = Request(({"role": "user", "content": TEXTS[language] * 3 + "<|endoftext|> \ud800"},))
    counted = await openai_tokens(request, "gpt-5")
    assert counted is not None
    assert 10 < counted < text_bound(request) / 2


async def test_without_the_tokenizer_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    token_counts._encoding.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert await openai_tokens(HI, "gpt-5") is None
    token_counts._encoding.cache_clear()
