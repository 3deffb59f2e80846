"""The checks of an endpoint, each a function that says what it saw.

The model must only be able to chat: where a check asks for a certain form, the form counts, not the sense.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import aiohttp

from ...state.errors import AuthenticationFailed, ModelError, ModelNotFound, ModelRefused
from ..backends.endpoint import Endpoint
from ..backends.http import HTTPStatusError, MalformedBody, choices_in
from ..model import Model, Reply, Request
from ..stack.tool_emulation import ToolEmulationLayer
from .probe import ANSWER_TOKENS, HELLO, SITE, CheckFailed, Probe, Unsupported

COUNT = ({"role": "user", "content": "Count from 1 to 100, one number after the other."},)
SCHEMA: Mapping[str, Any] = {
    "title": "Colour",
    "type": "object",
    "properties": {
        "colour": {"type": "string", "enum": ["red", "green", "blue"]},
        "warmth": {"type": "integer", "enum": [1, 2, 3]},
    },
    "required": ["colour", "warmth"],
    "additionalProperties": False,
}
WEATHER: Mapping[str, Any] = {
    "name": "get_weather",
    "description": "Return the weather of a city as it is now.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 40}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
ASK_WEATHER = ({"role": "user", "content": "What is the weather in Paris now? Use the tool."},)
LONG_PROMPT = ({"role": "user", "content": "The same words again. " * 150 + "Say hello."},)
SHORT = Request(HELLO, max_tokens=16)
FEW_TOKENS = 8
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details")

Check = Callable[[Probe], Awaitable[str]]
CHECKS: dict[str, Check] = {}


def check(name: str) -> Callable[[Check], Check]:
    """Add a check under a name; it returns what it saw, or raises Unsupported or CheckFailed."""

    def add(function: Check) -> Check:
        CHECKS[name] = function
        return function

    return add


def _first(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = choices_in(answer)
    if not choices:
        raise CheckFailed("the answer has no choices")
    return choices[0]


def _content(answer: Mapping[str, Any]) -> str:
    return str((_first(answer).get("message") or {}).get("content") or "")


def _refusal_text(refusal: HTTPStatusError) -> str:
    body = refusal.body.get("error", refusal.body) if isinstance(refusal.body, Mapping) else refusal.body
    message = body.get("message", body) if isinstance(body, Mapping) else body
    return f"HTTP {refusal.status}: {str(message)[:160]}"


def _fits(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(value, dict)
        and value.keys() == {"colour", "warmth"}
        and value["colour"] in SCHEMA["properties"]["colour"]["enum"]
        and value["warmth"] in SCHEMA["properties"]["warmth"]["enum"]
    )


@check("plain answer")
async def _plain(probe: Probe) -> str:
    reply = await probe.complete()
    if not reply.text.strip():
        raise CheckFailed(f"the answer is empty (finish_reason {reply.finish_reason!r})")
    return f"{reply.model} answered in {reply.latency_s:.2f} s"


@check("usage")
async def _usage(probe: Probe) -> str:
    usage = (await probe.complete()).usage
    if usage.input is None or usage.output is None:
        raise CheckFailed("the answer does not say how many tokens it took: its cost and budget are unknown")
    return f"{usage.input} + {usage.output} tokens"


@check("limit of tokens")
async def _limit(probe: Probe) -> str:
    kept, refused = [], []
    for name in ("max_tokens", "max_completion_tokens"):
        try:
            answer = await probe.ask(messages=COUNT, **{name: FEW_TOKENS})
        except HTTPStatusError as refusal:
            refused.append(f"{name}: {_refusal_text(refusal)}")
            continue
        tokens = (answer.get("usage") or {}).get("completion_tokens")
        within = isinstance(tokens, int) and tokens <= FEW_TOKENS + 1
        if within or _first(answer).get("finish_reason") == "length":
            kept.append(name)
    if not kept:
        raise CheckFailed(f"no limit is kept, so answers and budgets have no bound ({'; '.join(refused)})")
    wanted = "both" if len(kept) == 2 else kept[0]
    if refused and probe.endpoint.can.max_tokens not in kept:
        probe.suggested["max_tokens"] = wanted
    return ", ".join([*kept, *refused])


@check("JSON schema")
async def _schema(probe: Probe) -> str:
    form = {"type": "json_schema", "json_schema": {"name": "Colour", "schema": SCHEMA}}
    prompt = "Name one of the colours red, green, blue, and its warmth from 1 to 3. Answer in JSON."
    try:
        answer = await probe.ask(
            messages=[{"role": "user", "content": prompt}], response_format=form, **probe.limit()
        )
    except HTTPStatusError as refusal:
        probe.suggested["structured"] = "json_object"
        raise Unsupported(f"{_refusal_text(refusal)}; the schema goes into the prompt instead") from None
    if not _fits(_content(answer)):
        probe.suggested["schema_in_prompt"] = True
        raise Unsupported(
            f"taken, but not enforced: {_content(answer)[:80]!r}; it goes into the prompt as well"
        )
    return "enforced, as far as one answer shows"


@check("JSON mode")
async def _json_mode(probe: Probe) -> str:
    prompt = 'Name a colour as JSON: {"colour": "…"}'
    try:
        answer = await probe.ask(
            messages=[{"role": "user", "content": prompt}],
            response_format={"type": "json_object"},
            **probe.limit(),
        )
    except HTTPStatusError as refusal:
        if probe.suggested.get("structured") == "json_object":
            probe.suggested["structured"] = "prompt"
        raise Unsupported(_refusal_text(refusal)) from None
    try:
        json.loads(_content(answer))
    except (ValueError, RecursionError):
        raise Unsupported(f"taken, but the answer is not JSON: {_content(answer)[:80]!r}") from None
    return "the answer is JSON"


@check("structured answer as a workflow asks")
async def _structured(probe: Probe) -> str:
    messages = ({"role": "user", "content": "Name a colour and its warmth."},)
    request = Request(messages, schema=SCHEMA, max_tokens=ANSWER_TOKENS)
    reply = await probe.try_as(request, structured=None, capabilities=probe.suited)
    if not _fits(_unfenced(reply.text)):
        raise Unsupported(
            f"the answer does not fit: {reply.text[:80]!r}; a workflow asks again, with what is wrong"
        )
    return f"by {probe.suited.structured or probe.endpoint.can.structured}"


def _unfenced(text: str) -> str:
    text = text.strip()
    return text.strip("`").removeprefix("json").strip() if text.startswith("```") else text


@check("tools")
async def _tools(probe: Probe) -> str:
    tools = [{"type": "function", "function": WEATHER}]
    try:
        answer = await probe.ask(messages=ASK_WEATHER, tools=tools, **probe.limit())
    except HTTPStatusError as refusal:
        probe.suggested["tools"] = "emulated"
        raise Unsupported(f"{_refusal_text(refusal)}; tools are put as a JSON schema instead") from None
    calls = (_first(answer).get("message") or {}).get("tool_calls") or []
    if not calls:
        probe.suggested["tools"] = "emulated"
        raise Unsupported("taken, but none was called; tools are put as a JSON schema instead")
    function = calls[0].get("function") or {}
    try:
        arguments = json.loads(function.get("arguments") or "")
    except (ValueError, TypeError, RecursionError):
        raise CheckFailed(f"the arguments are not JSON: {str(function.get('arguments'))[:80]!r}") from None
    if function.get("name") != WEATHER["name"] or not isinstance(arguments, dict):
        raise CheckFailed(f"it called {function!r}")
    return f"it called get_weather({arguments})"


@check("tools as a workflow asks")
async def _tools_at_work(probe: Probe) -> str:
    emulated = probe.endpoint.tools == "emulated" or probe.suggested.get("tools") == "emulated"
    model = ToolEmulationLayer(probe.endpoint) if emulated else probe.endpoint
    request = Request(ASK_WEATHER, tools=(WEATHER,), max_tokens=ANSWER_TOKENS)
    reply = await model.complete(request, SITE)
    if not reply.tool_calls or reply.tool_calls[0].problem:
        raise Unsupported(f"no call that can be run: {(reply.tool_calls or reply.text)!r}"[:160])
    try:
        after = await _with_result(model, reply)
    except ModelRefused:
        if emulated:
            raise
        suited = {"structured": None, "capabilities": probe.suited.model_copy(update={"echo": _THOUGHTS})}
        model = Endpoint(probe.settings.model_copy(update=suited), api_key=probe.key)
        reply = await model.complete(request, SITE)
        if not reply.tool_calls or not reply.state:
            raise
        after = await _with_result(model, reply)
        probe.suggested["echo"] = tuple(reply.state)
    if not after.text.strip():
        raise CheckFailed("it did not answer once it had the tool's result")
    return "a call, its result, an answer" + (" (by a JSON schema)" if emulated else "")


async def _with_result(model: Model, reply: Reply) -> Reply:
    """Answer the reply's call as an agent does, with all that the endpoint wants back."""
    call = reply.tool_calls[0]
    function = {"name": call.name, "arguments": json.dumps(dict(call.arguments))}
    number = call.id or "call_1"
    call_message = {"role": "assistant", "content": None, **reply.state}
    call_message["tool_calls"] = [{"id": number, "type": "function", "function": function, **call.extra}]
    result = {"role": "tool", "tool_call_id": number, "content": "18 degrees, light rain"}
    request = Request(
        (*ASK_WEATHER, call_message, result), tools=(WEATHER,), tool_choice="none", max_tokens=ANSWER_TOKENS
    )
    return await model.complete(request, SITE)


@check("streaming")
async def _streaming(probe: Probe) -> str:
    pieces, finished, usage = 0, None, None
    options = {"stream_options": {"include_usage": True}} if probe.endpoint.can.stream_usage else {}
    body = {"model": probe.settings.model, "messages": COUNT, **probe.limit(64), **options}
    async with asyncio.timeout(probe.settings.timeout_s), aclosing(probe.wire.stream(body)) as chunks:
        async for chunk in chunks:
            usage = chunk.get("usage") or usage
            for choice in choices_in(chunk):
                pieces += bool((choice.get("delta") or {}).get("content"))
                finished = choice.get("finish_reason") or finished
    if pieces < 2:
        raise Unsupported(f"the answer came in {pieces} piece, not bit by bit")
    if finished is None:
        raise CheckFailed("the stream never says why it ends (finish_reason): a cut would look like an end")
    if usage is None:
        raise CheckFailed("the stream ends without usage: the cost of a streamed answer is unknown")
    return f"{pieces} pieces, finish_reason {finished}, with usage"


@check("reasoning text")
async def _reasoning(probe: Probe) -> str:
    reply = await probe.complete()
    if not reply.reasoning:
        raise Unsupported("none came; the model may not think, or keeps it to itself")
    return f"{len(reply.reasoning)} characters"


@check("cached tokens")
async def _cached(probe: Probe) -> str:
    await probe.complete(LONG_PROMPT, max_tokens=16)
    usage = (await probe.complete(LONG_PROMPT, max_tokens=16)).usage
    if not usage.cached:
        raise Unsupported("a repeated prompt is not reported as cached: its price counts in full")
    return f"{usage.cached} of {usage.input} tokens of a repeated prompt"


@check("own cost")
async def _cost(probe: Probe) -> str:
    reply = await probe.complete()
    if reply.cost_usd is None:
        raise Unsupported("it sends none; prices come from the settings or a list")
    return f"${reply.cost_usd:.6f} for one call"


@check("log-probabilities")
async def _logprobs(probe: Probe) -> str:
    try:
        answer = await probe.ask(logprobs=True, **probe.limit(16))
    except HTTPStatusError as refusal:
        raise Unsupported(_refusal_text(refusal)) from None
    if not (_first(answer).get("logprobs") or {}).get("content"):
        raise Unsupported("asked for, but none came")
    return "one for each token"


@check("error: wrong key")
async def _wrong_key(probe: Probe) -> str:
    try:
        await probe.try_as(SHORT, key="stepgraph-wrong-key")
    except AuthenticationFailed as error:
        return f"HTTP {error.status}"
    except ModelError as error:
        raise CheckFailed(f"the error does not say that the key is wrong: {error}") from None
    raise Unsupported("any key will do here")


@check("error: unknown model")
async def _wrong_model(probe: Probe) -> str:
    try:
        await probe.try_as(SHORT, model="stepgraph-no-such-model")
    except (ModelNotFound, ModelRefused) as error:
        return f"HTTP {error.status}"
    except AuthenticationFailed as error:
        raise Unsupported(f"the error says that the key is wrong (HTTP {error.status})") from None
    except ModelError as error:
        raise CheckFailed(f"the error names no unknown model, so the call is tried again: {error}") from None
    raise Unsupported("it answers whatever the model's name: a typo goes unseen")


@check("error: bad request")
async def _bad_request(probe: Probe) -> str:
    try:
        await probe.ask(messages="no list", **probe.limit(16))
    except HTTPStatusError as refusal:
        if 400 <= refusal.status < 500 and refusal.status != 429:
            return f"HTTP {refusal.status}"
        raise CheckFailed(
            f"a request that cannot be served looks like a passing fault: {_refusal_text(refusal)}"
        ) from None
    except (MalformedBody, aiohttp.ClientError) as error:
        raise CheckFailed(f"the refusal cannot be read: {error}") from None
    raise Unsupported("it takes messages that are no list")


@check("calls at once")
async def _at_once(probe: Probe) -> str:
    started = time.perf_counter()
    calls = (
        probe.complete(({"role": "user", "content": f"Say {number}."},), max_tokens=16)
        for number in range(probe.calls_at_once)
    )
    replies = await asyncio.gather(*calls, return_exceptions=True)
    failed = [reply for reply in replies if isinstance(reply, BaseException)]
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(replies)} failed, the first: {failed[0]}")
    return f"{len(replies)} answered in {time.perf_counter() - started:.2f} s"


@check("cancellation")
async def _cancel(probe: Probe) -> str:
    body = {"model": probe.settings.model, "messages": COUNT, **probe.limit()}
    async with asyncio.timeout(probe.settings.timeout_s), aclosing(probe.wire.stream(body)) as chunks:
        async for chunk in chunks:
            if choices_in(chunk):
                break
    started = time.perf_counter()
    await probe.complete(max_tokens=16)
    return f"the next call was answered {time.perf_counter() - started:.2f} s after one was broken off"
