"""What an endpoint can do, each found out by asking it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from stepgraph import Ask, step, using
from stepgraph.providers.backends.backend import Backend
from stepgraph.providers.backends.endpoint import Endpoint
from stepgraph.providers.backends.langchain_endpoint import LangChainEndpoint
from stepgraph.providers.backends.ondevice import CONTEXT_TOKENS, bounded
from stepgraph.providers.chat_classes import CHAT_CLASSES
from stepgraph.providers.model import CallContext, Model, Reply, Request
from stepgraph.providers.provider_table import provider_named
from stepgraph.providers.settings import ModelSettings
from stepgraph.providers.stack.fallbacks import RefusalLayer
from stepgraph.providers.stack.pricing import FROM_PROVIDER, PricingLayer
from stepgraph.providers.stack.tool_emulation import ToolEmulationLayer
from stepgraph.state.errors import (
    AuthenticationFailed,
    ContextTooLong,
    ModelError,
    ModelFiltered,
    ModelNotFound,
    ModelRefused,
    ModelUnavailable,
)

from ..imitator import MODEL, WINDOW, Imitator
from ..imitators import OpenAI
from ..imitators_of_classes import THINKING, Responses

SITE = CallContext("matrix")


YES, NO = "yes", "–"


ENOUGH = 16  # tokens of an answer that only has to come


PATIENCE_S = 600  # a real model on a busy machine; a server that is gone says so at once


HELLO = ({"role": "user", "content": "Say hello."},)


LONG = ({"role": "user", "content": "The same words again. " * 150 + "Say hello."},)


TOOL = {
    "name": "get_weather",
    "description": "Return the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
    },
}


class Colour(BaseModel):
    colour: Literal["red", "green"]
    warmth: Literal[1, 2]


@dataclass
class Shade:
    colour: Colour | None = None


@step("colour")
def pick(shade: Shade) -> Ask[Colour]:
    return Ask("Name a colour and its warmth as JSON.")


class Ear:
    listened = True

    def __init__(self) -> None:
        self.text = self.reasoning = ""

    async def emit(self, text: str = "", *, reasoning: str = "") -> None:
        self.text += text
        self.reasoning += reasoning


class Subject:
    """A provider as the toolkit sees it: its record, and a server that behaves like it."""

    def __init__(self, provider: str, url: str, key: str, server: Imitator | None) -> None:
        self.provider = provider
        self.can = provider_named(provider).capabilities
        self.url = url
        self.key = key
        self.server = server

    by_class = False

    @property
    def limit(self) -> str:
        return self.can.max_tokens.replace("both", "max_tokens")

    def endpoint(self, *, key: str | None = None, model: str = MODEL, **can: Any) -> Backend:
        settings = ModelSettings(model=model, base_url=self.url, timeout_s=PATIENCE_S, temperature=0)
        return Endpoint(settings, api_key=key or self.key, can=replace(self.can, **can))

    async def ask(self, messages: Any = HELLO, context: CallContext = SITE, **more: Any) -> Reply:
        request = Request(messages, **{"max_tokens": ENOUGH, **more})
        endpoint = self.endpoint()
        model = ToolEmulationLayer(endpoint) if endpoint.tools == "emulated" else endpoint
        return await PricingLayer(model, None).complete(request, context)


class ByClass(Subject):
    """A provider that LangChain's class asks."""

    by_class = True

    @property
    def limit(self) -> str:
        return CHAT_CLASSES[self.provider].limit

    def endpoint(self, *, key: str | None = None, model: str | None = None, **can: Any) -> Backend:
        assert self.server is not None
        values = {"provider": self.provider, "model": model or self.server.model, "base_url": self.url}
        values |= THINKING.get(self.provider, {}) if type(self.server) is not OpenAI else {}
        settings = ModelSettings(**values, client="langchain", timeout_s=PATIENCE_S, api_key=key or self.key)
        return LangChainEndpoint(settings, replace(self.can, **can))


async def structured(subject: Subject) -> str:
    with using(subject.endpoint()):
        answer = await pick.answer(Shade())
    assert isinstance(answer, Colour)
    way = {"json_schema": "JSON schema", "json_object": "JSON mode and prompt", "prompt": "prompt"}
    return way[subject.can.structured] + (" and prompt" if subject.can.schema_in_prompt else "")


async def json_mode(subject: Subject) -> str:
    if subject.by_class and not isinstance(subject.server, OpenAI):
        return NO
    if isinstance(subject.server, Responses):
        return NO
    schema = bounded(Colour.model_json_schema())
    reply = await subject.endpoint(structured="json_object").complete(
        Request(HELLO, schema=schema, max_tokens=ENOUGH), SITE
    )
    if subject.server is not None:
        assert subject.server.bodies[-1]["response_format"] == {"type": "json_object"}
    assert reply.text.strip().startswith("{")
    return YES


async def tools(subject: Subject) -> str:
    ask = ({"role": "user", "content": "What is the weather in Paris? Use the tool."},)
    reply = await subject.ask(ask, tools=(TOOL,), max_tokens=64)
    if not reply.tool_calls and subject.provider == "local":
        return "emulated"  # a model of this size may answer at once
    (call,) = reply.tool_calls
    assert (call.name, call.problem) == ("get_weather", None)
    assert call.arguments["city"] in ("Paris", "Rome")
    return subject.can.tools


async def streamed_tools(subject: Subject) -> str:
    if subject.can.tools == "emulated":
        return "emulated"
    reply = await subject.ask(context=replace(SITE, sink=Ear()), tools=(TOOL,))
    assert [(call.name, dict(call.arguments)) for call in reply.tool_calls] == [
        ("get_weather", {"city": "Paris"})
    ]
    return YES


async def streamed_usage(subject: Subject) -> str:
    ear = Ear()
    reply = await subject.ask(context=replace(SITE, sink=ear))
    assert ear.text == reply.text != ""
    assert reply.usage.input
    assert reply.usage.output
    return YES


async def reasoning(subject: Subject) -> str:
    ear = Ear()
    whole = await subject.ask()
    streamed = await subject.ask(context=replace(SITE, sink=ear))
    assert bool(whole.reasoning) == bool(streamed.reasoning) == bool(ear.reasoning)
    if whole.reasoning:
        assert streamed.reasoning is not None
        assert streamed.reasoning.strip() == whole.reasoning
        return YES
    return f"{NO}, counted" if whole.usage.reasoning else NO


async def shared_prefix(subject: Subject) -> str:
    text = "The same words again. "
    messages = ({"role": "system", "content": text}, *HELLO)
    await subject.ask(messages, prefix=(0, len(text)))
    sent = json.dumps(subject.server.bodies[-1]) if subject.server is not None else ""
    marks = ("cache_control", "prompt_cache_key")
    return next((f"its {mark}" for mark in marks if f'"{mark}"' in sent), "its beginning")


async def cached(subject: Subject) -> str:
    await subject.ask(LONG, max_tokens=8)
    usage = (await subject.ask(LONG, max_tokens=8)).usage
    return YES if usage.cached and usage.input and usage.cached <= usage.input else NO


async def own_cost(subject: Subject) -> str:
    replies = [await subject.ask(), await subject.ask(context=replace(SITE, sink=Ear()))]
    sources = {reply.price_source for reply in replies}
    assert len(sources) == 1
    return YES if sources == {FROM_PROVIDER} else NO


async def logprobs(subject: Subject) -> str:
    endpoint = subject.endpoint()
    if not isinstance(endpoint, Endpoint):
        return NO
    wire = endpoint._wire
    answer = await wire.ask({"model": MODEL, "messages": HELLO, "logprobs": True, subject.limit: 8})
    return YES if answer["choices"][0]["logprobs"]["content"] else NO


async def limit_kept(subject: Subject) -> str:
    count = ({"role": "user", "content": "Count from 1 to 100."},)
    reply = await subject.ask(count, max_tokens=5)
    assert reply.finish_reason == "length"
    return subject.limit


async def goes_back(subject: Subject) -> str:
    """A tool's result is sent with all that the provider wants back; the imitators refuse it otherwise."""
    if subject.can.tools == "emulated":
        return NO
    asked: Any = ({"role": "user", "content": "What is the weather in Paris? Use the tool."},)
    reply = await subject.ask(asked, tools=(TOOL,))
    (call,) = reply.tool_calls
    function = {"name": call.name, "arguments": json.dumps(dict(call.arguments))}
    said = {"role": "assistant", "content": None, **reply.state}
    said["tool_calls"] = [{"id": call.id, "type": "function", "function": function, **call.extra}]
    result = {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}
    assert (await subject.ask((*asked, said, result), tools=(TOOL,))).text
    return YES if reply.state else NO


async def strict(subject: Subject) -> str:
    if not subject.can.strict or subject.server is None:
        return NO
    await subject.ask(schema=Colour.model_json_schema())
    assert '"strict": true' in json.dumps(subject.server.bodies[-1])
    return YES


async def cancelled(subject: Subject) -> str:
    if subject.server is None:
        return NO
    subject.server.asked.clear()
    subject.server.slow_s = 30
    asked = asyncio.create_task(subject.ask())
    assert await asyncio.to_thread(subject.server.asked.wait, 10)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    subject.server.slow_s = 0
    return YES if await asyncio.to_thread(subject.server.gone.wait, 10) else NO


async def filtered(subject: Subject) -> str:
    fault = getattr(subject.server, "filtered", None)
    if subject.server is None or fault is None:
        return NO
    subject.server.will(fault())
    error = await failed(RefusalLayer(subject.endpoint()))
    assert type(error) is ModelFiltered
    return "ModelFiltered"


async def failed(model: Model, messages: Any = HELLO) -> ModelError | None:
    try:
        await model.complete(Request(messages, max_tokens=8), SITE)
    except ModelError as error:
        return error
    return None


async def wrong_key(subject: Subject) -> str:
    error = await failed(subject.endpoint(key="sk-wrong-key-0123456789"))
    assert error is None or type(error) is AuthenticationFailed
    assert "0123456789" not in str(error)
    return "any key will do" if error is None else type(error).__name__


async def unknown_model(subject: Subject) -> str:
    error = await failed(subject.endpoint(model="no-such-model"))
    assert error is None or type(error) in (ModelNotFound, ModelRefused)
    return "any name will do" if error is None else type(error).__name__


async def too_long(subject: Subject) -> str:
    words = (WINDOW if subject.server else CONTEXT_TOKENS) + 500
    error = await failed(subject.endpoint(), ({"role": "user", "content": "word " * words},))
    assert error is None or type(error) is ContextTooLong
    return "cut without a word" if error is None else type(error).__name__


async def busy(subject: Subject) -> str:
    if subject.server is None:
        return NO
    subject.server.will(subject.server.busy())
    error = await failed(subject.endpoint())
    assert type(error) is ModelUnavailable
    assert not error.lasting
    return "ModelUnavailable"


async def broke(subject: Subject) -> str:
    fault = subject.server.broke() if subject.server else None
    if subject.server is None or fault is None:
        return NO
    subject.server.will(fault)
    error = await failed(subject.endpoint())
    assert type(error) is ModelUnavailable
    assert error.lasting  # so it is not tried again
    return "ModelUnavailable, lasting"


FEATURES: dict[str, Callable[[Subject], Awaitable[str]]] = {
    "structured answers, by": structured,
    "JSON mode": json_mode,
    "tools": tools,
    "tools, streamed": streamed_tools,
    "token limit, as": limit_kept,
    "usage in a stream": streamed_usage,
    "reasoning text, streamed or not": reasoning,
    "cached tokens": cached,
    "a shared prefix, known by": shared_prefix,
    "reasoning goes back with a tool's result": goes_back,
    "strict schemas": strict,
    "own cost": own_cost,
    "log-probabilities": logprobs,
    "wrong key": wrong_key,
    "unknown model": unknown_model,
    "prompt too long": too_long,
    "too many requests": busy,
    "prompt filtered": filtered,
    "empty account": broke,
    "a cancelled call ends at the server": cancelled,
}
