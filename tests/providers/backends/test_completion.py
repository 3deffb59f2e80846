from __future__ import annotations

from typing import Any

import pytest

from stepgraph.providers.backends.completion import (
    PartialCompletion,
    ThoughtSplitter,
    read_completion,
    split_thought,
)
from stepgraph.providers.backends.endpoint import Endpoint
from stepgraph.providers.backends.http import MalformedBody
from stepgraph.providers.model import CallContext, Request, ToolCall
from stepgraph.providers.provider_table import (
    COMPATIBLE,
    REMOTE,
    Capabilities,
    Overrides,
    capabilities_of,
    provider_named,
)
from stepgraph.providers.settings import parse_spec

from ...servers import Answer, ChatServer

SCHEMA = {"title": "Grade", "type": "object", "properties": {"score": {"type": "integer"}}}
GRADE = Request(({"role": "user", "content": "Grade."},), schema=SCHEMA, max_tokens=9)


def answer(message: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **rest}


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "a", "reasoning_content": "b"}, "a", "b"),
        ({"content": "a", "reasoning": "b"}, "a", "b"),
        ({"content": "<think>b</think>a"}, "a", "b"),
        ({"content": "b\n</think>\n\na"}, "a", "b"),
        ({"content": "<think>never ends"}, "", "never ends"),
        ({"content": "a"}, "a", None),
        ({"content": None}, "", None),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab", None),
    ],
)
def test_text_and_reasoning_are_told_apart(message: dict[str, Any], text: str, reasoning: str | None) -> None:
    reply = read_completion(answer(message), COMPATIBLE, "asked")
    assert (reply.text, reply.reasoning, reply.model) == (text, reasoning, "asked")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    "text",
    [
        "<think>b < c</think> a",
        "<think>b</think>\n\na b  c",
        "  <think>b",
        "a <think> b",
        "a < b",
        "<",
        "</think>",
    ],
)
def test_a_stream_is_split_like_the_whole(text: str, size: int) -> None:
    splitter = ThoughtSplitter()
    parts = [p for i in range(0, len(text), size) for p in splitter.feed(text[i : i + size])] + [
        splitter.rest()
    ]
    said, meant = ("".join(column) for column in zip(*parts, strict=True))
    if text == "</think>":  # only the whole shows that a thought came before
        return
    assert (said.strip(), meant.strip()) == tuple(part.strip() for part in split_thought(text))


def test_a_refusal_is_told_from_an_answer() -> None:
    reply = read_completion(answer({"content": None, "refusal": "I cannot."}), COMPATIBLE, "m")
    assert (reply.text, reply.finish_reason) == ("I cannot.", "refusal")


def test_streamed_tool_calls_are_put_together() -> None:
    draft = PartialCompletion(COMPATIBLE, "m")
    first = {"index": 0, "id": "c1", "function": {"name": "find", "arguments": '{"q":'}}
    for call in (first, {"index": 0, "function": {"arguments": ' "tea"}'}}):
        draft.chunk({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
    assert draft.reply().tool_calls == (ToolCall("find", {"q": "tea"}, id="c1"),)


@pytest.mark.parametrize("arguments", ["{half", "[1]"])
def test_arguments_that_cannot_be_read_are_a_problem_of_the_call(arguments: str) -> None:
    message = {"tool_calls": [{"id": "c", "function": {"name": "find", "arguments": arguments}}]}
    (call,) = read_completion(answer(message), COMPATIBLE, "m").tool_calls
    assert call.problem
    assert call.arguments == {}


@pytest.mark.parametrize("bad", [{}, {"choices": []}, {"choices": [{"message": "text"}]}, {"choices": [3]}])
def test_what_is_no_answer_is_garbled(bad: dict[str, Any]) -> None:
    with pytest.raises(MalformedBody):
        read_completion(bad, COMPATIBLE, "m")


def test_the_providers_own_cost_and_cached_tokens_are_read() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "cost": 0.25, "prompt_cache_hit_tokens": 4}
    can = provider_named("openrouter").capabilities
    reply = read_completion(answer({"content": "a"}, usage=usage), can, "m")
    assert (reply.cost_usd, reply.usage.cached) == (0.25, 4)
    own = Capabilities(cost="billing.usd", cached=("hits",))
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "billing": {"usd": 0.5}, "hits": 3}
    reply = read_completion(answer({"content": "a"}, usage=usage), own, "m")
    assert (reply.cost_usd, reply.usage.cached) == (0.5, 3)


@pytest.mark.parametrize("provider", REMOTE)
async def test_each_provider_is_asked_in_its_own_way(
    server: ChatServer, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.will(Answer('{"score": 1}'))
    can = provider_named(provider).capabilities
    spec = server.spec(provider=provider, api_key_env="SOME_KEY")
    monkeypatch.setenv("SOME_KEY", "k")
    await Endpoint(parse_spec(spec, "here")).complete(GRADE, CallContext("s"))
    (body,) = server.bodies
    formats = {"json_schema": "json_schema", "json_object": "json_object", "prompt": None}
    assert body.get("response_format", {}).get("type") == formats[can.structured]
    in_prompt = can.structured != "json_schema" or can.schema_in_prompt
    assert ("score" in body["messages"][0]["content"]) is in_prompt
    both = {"max_tokens", "max_completion_tokens"}
    assert both & body.keys() == (both if can.max_tokens == "both" else {can.max_tokens})


def test_settings_say_otherwise() -> None:
    can = capabilities_of("deepseek", Overrides(structured="prompt", tools="emulated"))
    assert (can.structured, can.tools, can.max_tokens) == ("prompt", "emulated", "max_tokens")
    assert can.sources["tools"] == "the settings"
    spec = {
        "provider": "vllm",
        "model": "m",
        "structured": "prompt",
        "capabilities": {"max_tokens": "max_tokens"},
    }
    endpoint = Endpoint(parse_spec(spec, "here"))
    assert (endpoint.can.structured, endpoint.can.max_tokens) == ("prompt", "max_tokens")
