"""The real classes end odd answers in the right one or a typed error: and so do models handed over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from stepgraph.providers.backends.heard_chunks import HeardChunks
from stepgraph.providers.backends.http import MalformedBody
from stepgraph.providers.backends.langchain_endpoint import LangChainEndpoint
from stepgraph.providers.model import CallContext, Model, Reply, Request
from stepgraph.providers.provider_table import capabilities_of
from stepgraph.providers.settings import parse_spec
from stepgraph.providers.stack.stack import member_of
from stepgraph.state.errors import ModelError

from ...imitator import KEY
from ...servers import ChatServer, Fault
from .native_wires import WIRES
from .test_clients_agree import HELLO, Ear

pytestmark = pytest.mark.filterwarnings(  # of google-genai, twice, and of OpenAI's package
    "ignore:Inheritance class Aiohttp:DeprecationWarning",
    "ignore:.* is not a valid FinishReason:UserWarning",
    "ignore:Pydantic serializer warnings",
)
TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
REQUEST = Request(HELLO, tools=(TOOL,))
COMPLETION = {"id": "1", "object": "chat.completion", "model": "m"}
MODELS = {"anthropic": "claude-haiku-4-5", "google_genai": "gemini-3.5-flash", "responses": "gpt-5-mini"}


class Anywhere(ChatServer):
    paths = ("/{path:.*}",)
    root = ""


@pytest.fixture
def anywhere() -> Iterator[Anywhere]:
    with Anywhere() as server:
        yield server


def from_settings(wire: str, url: str) -> Model:
    spec: dict[str, Any] = {"provider": wire, "model": MODELS[wire], "base_url": url, "timeout_s": 60}
    if wire == "responses":
        spec |= {"provider": "openai", "client": "langchain", "params": {"use_responses_api": True}}
    return LangChainEndpoint(parse_spec(spec, "here"))


async def made(model: Model, server: ChatServer, fault: Fault, expected: Any, *, streamed: bool) -> Any:
    """Return what a model makes of an answer, in the form of what is expected."""
    server.always = fault
    context = replace(CallContext("here"), sink=Ear() if streamed else None)
    try:
        reply: Reply = await model.complete(REQUEST, context)
    except ModelError as caught:
        return type(caught)
    if isinstance(expected, list):
        return [(call.name, None if call.problem else dict(call.arguments)) for call in reply.tool_calls]
    told = {"text": reply.text, "finish": reply.finish_reason}
    return {name: told[name] for name in expected} if isinstance(expected, dict) else told


@pytest.mark.parametrize("wire", WIRES)
async def test_an_odd_answer_is_right_or_an_error(
    anywhere: Anywhere, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI", "ANTHROPIC", "GOOGLE"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    model = from_settings(wire, anywhere.url)
    wrong = {}
    for name, (whole, streamed, expected) in WIRES[wire].items():
        for fault, way in ((whole, False), (streamed, True)):
            if fault is not None:
                found = await made(model, anywhere, fault, expected, streamed=way)
                if found != expected:
                    wrong[name, "streamed" if way else "whole"] = found
    assert wrong == {}


def chunk(content: str = "", *, args: str | None = None, **told: Any) -> ChatGenerationChunk:
    call = {"name": "f", "args": args, "id": "c1", "index": 0, "type": "tool_call_chunk"}
    calls = [] if args is None else [call]
    message = AIMessageChunk(content, tool_call_chunks=calls, response_metadata=told)  # type: ignore[arg-type]
    return ChatGenerationChunk(message=message)


async def test_what_was_heard_of_a_model_that_was_handed_over_counts() -> None:
    """LangChain makes arguments that were cut none, and a reason that came twice one that nobody knows."""
    heard = HeardChunks("m", capabilities_of("anthropic"), None)
    await heard.take(chunk("Ye", stop_reason="max_tokens"))
    await heard.take(chunk("s", args='{"city": "Par', stop_reason="max_tokens"))
    merged = AIMessage("Yes", response_metadata={"stop_reason": "max_tokensmax_tokens"})
    reply = heard.reply(merged)
    assert (reply.text, reply.finish_reason) == ("Yes", "length")
    assert [bool(call.problem) for call in reply.tool_calls] == [True]


@pytest.mark.parametrize(
    ("provider", "told", "expected"),
    [
        ("anthropic", {"stop_reason": "max_tokens"}, "length"),
        ("anthropic", {"stop_reason": "tool_use"}, MalformedBody),
        ("anthropic", {"stop_reason": "pause_turn"}, MalformedBody),
        ("anthropic", {}, MalformedBody),
        ("google_genai", {"finish_reason": "SAFETY"}, "content_filter"),
        ("google_genai", {"finish_reason": "OTHER"}, MalformedBody),
        (None, {"finish_reason": "its own word"}, "its own word"),
        (None, {}, None),
    ],
)
def test_a_whole_message_of_a_model_that_was_handed_over(
    provider: str | None, told: dict[str, Any], expected: Any
) -> None:
    heard = HeardChunks("m", None if provider is None else capabilities_of(provider), None)
    message = AIMessage("Yes", response_metadata=told)
    if expected is MalformedBody:
        with pytest.raises(MalformedBody):
            heard.reply(message)
    else:
        assert heard.reply(message).finish_reason == expected


async def test_a_cut_call_of_a_chat_completion_has_a_problem(anywhere: Anywhere) -> None:
    """Also one of which only the name had come."""
    for arguments, expected in (
        ("", None),
        ('{"city": "Par', None),
        ('{"city": "Paris"}', {"city": "Paris"}),
    ):
        call = {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
        anywhere.will(Fault(body=_completion(call)))
        spec = {"model": "m", "base_url": anywhere.url}
        backend = member_of(parse_spec(spec, "here")).backend
        (found,) = (await backend.complete(REQUEST, CallContext("here"))).tool_calls
        assert (None if found.problem else found.arguments) == expected


def _completion(call: dict[str, Any]) -> str:
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    return json.dumps({**COMPLETION, "choices": [choice]})
