"""The real classes end odd answers in the right one or a typed error: from settings, and handed over made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI

from stepgraph.providers.backends.langchain import ChatModel
from stepgraph.providers.backends.langchain_endpoint import LangChainEndpoint
from stepgraph.providers.model import CallContext, Model, Reply, Request
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


def handed_over(wire: str, url: str) -> Model:
    own: dict[str, Any] = {"model": MODELS[wire], "base_url": url, "api_key": KEY, "max_retries": 0}
    chat: BaseChatModel
    if wire == "anthropic":
        chat = ChatAnthropic(**own)
    elif wire == "google_genai":
        chat = ChatGoogleGenerativeAI(**{**own, "max_retries": 1})  # which is how often it asks
    else:
        chat = ChatOpenAI(**own, use_responses_api=True)
    return ChatModel(chat)


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


@pytest.mark.parametrize("make", [from_settings, handed_over])
@pytest.mark.parametrize("wire", WIRES)
async def test_an_odd_answer_is_right_or_an_error(
    anywhere: Anywhere, wire: str, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI", "ANTHROPIC", "GOOGLE"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    model = make(wire, anywhere.url)
    wrong = {}
    for name, (whole, streamed, expected) in WIRES[wire].items():
        for fault, way in ((whole, False), (streamed, True)):
            if fault is not None:
                found = await made(model, anywhere, fault, expected, streamed=way)
                if found != expected:
                    wrong[name, "streamed" if way else "whole"] = found
    assert wrong == {}


async def test_a_made_class_at_another_address_may_say_no_reason(anywhere: Anywhere) -> None:
    """OpenAI's class is used for compatible servers, not all of which say why an answer ends."""
    chat = ChatOpenAI(model="m", base_url=anywhere.url, api_key=KEY, max_retries=0)  # type: ignore[arg-type]
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes"}}
    fault = Fault(body=json.dumps({**COMPLETION, "choices": [choice]}))
    found = await made(ChatModel(chat), anywhere, fault, {"text": "Yes"}, streamed=False)
    assert found == {"text": "Yes"}


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
