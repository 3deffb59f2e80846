"""What imitated providers have in common: a model that answers by rule, over OpenAI's chat completions."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from aiohttp import web

from .servers import ChatServer, Fault, _fail, _least

KEY = "right-key"
MODEL = "imitated-model"
THOUGHT = "The user greets me."
WINDOW = 4000
_SCHEMA_IN_PROMPT = re.compile(r"JSON schema:\n(\{.*\})", re.DOTALL)


@dataclass(frozen=True)
class Deviation:
    """Something that this provider does otherwise, and who says so."""

    what: str
    source: str


@dataclass(frozen=True)
class Said:
    """What the imitated model answers."""

    text: str | None
    tool_call: tuple[str, dict[str, Any]] | None = None
    finish_reason: str = "stop"


def error(status: int, body: Mapping[str, Any], **headers: str) -> Fault:
    return Fault(status, json.dumps(body), headers=headers)


class Imitator(ChatServer):
    """What all of them have in common: OpenAI's chat completions, whole and streamed."""

    provider: ClassVar[str]
    model: ClassVar[str] = MODEL
    deviations: ClassVar[tuple[Deviation, ...]] = ()
    takes_any_key: ClassVar[bool] = False
    limits: ClassVar[tuple[str, ...]] = ("max_tokens", "max_completion_tokens")
    reasoning_field: ClassVar[str | None] = None
    streams_usage: ClassVar[str] = "if asked"  # or: always
    comment: ClassVar[str | None] = None
    enforces_schema: ClassVar[bool] = True
    reports_overflow: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.gone = threading.Event()  # a client went away before its answer ended
        self.slow_s = 0.0
        self.thought = THOUGHT
        self._seen: set[str] = set()

    # What the providers differ in

    def refuse(self, body: Mapping[str, Any]) -> Fault | None:
        """Return why the provider rejects a request that others take."""
        return None

    def denied(self, key: str) -> Fault:
        raise NotImplementedError

    def missing(self, model: str) -> Fault:
        raise NotImplementedError

    def too_long(self, tokens: int) -> Fault:
        raise NotImplementedError

    def busy(self) -> Fault:
        raise NotImplementedError

    def broke(self) -> Fault | None:
        """Return how it says that the account has no money left, if it ever does."""
        return None

    def usage(self, given: int, answered: int, cached: int, thought: int) -> dict[str, Any]:
        return {
            "prompt_tokens": given,
            "completion_tokens": answered,
            "total_tokens": given + answered,
        }

    def finish(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Return a choice with what the provider adds to it."""
        return choice

    def read(self, body: dict[str, Any], request: web.Request) -> dict[str, Any]:
        """Return a request as OpenAI's chat completions have it."""
        return body

    def key_in(self, request: web.Request) -> str:
        return request.headers.get("Authorization", "").removeprefix("Bearer ")

    # What is common

    def spec(self, **settings: Any) -> dict[str, Any]:
        return {"provider": self.provider, "model": self.model, "base_url": self.url, **settings}

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = self.read(await request.json(), request)
        self.bodies.append(body)
        self.asked.set()
        key = self.key_in(request)
        self.keys.append(key)
        fault = self._next.popleft() if self._next else self._refusal(body, key)
        if isinstance(fault, Fault):
            return await _fail(request, fault)
        try:
            if self.slow_s:
                await asyncio.sleep(self.slow_s)
            if body.get("stream"):
                return await self._stream_out(request, body)
            return web.Response(
                text=self.padding() + json.dumps(self._whole(body)), content_type="application/json"
            )
        except ConnectionError:
            self.gone.set()
            return web.Response()
        except asyncio.CancelledError:
            self.gone.set()
            raise

    def padding(self) -> str:
        return ""

    def _refusal(self, body: Mapping[str, Any], key: str) -> Fault | None:
        if key != KEY and not self.takes_any_key:
            return self.denied(key)
        if body["model"] != self.model:
            return self.missing(body["model"])
        if not isinstance(body.get("messages"), list) or not body["messages"]:
            return self.invalid("messages must be a list that is not empty")
        tokens = tokens_of(body["messages"])
        if tokens > WINDOW and self.reports_overflow:
            return self.too_long(tokens)
        return self.refuse(body)

    def invalid(self, message: str) -> Fault:
        return error(
            400,
            {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}},
        )

    def _say(self, body: Mapping[str, Any]) -> Said:
        messages = body["messages"]
        asks_tool = body.get("tools") and body.get("tool_choice", "auto") != "none"
        if asks_tool and messages[-1]["role"] != "tool":
            function = body["tools"][0]["function"]
            parameters = function.get("parameters") or {"type": "object"}
            return Said(None, (function["name"], _least(parameters, parameters)), "tool_calls")
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        if schema is None or not self.enforces_schema:
            found = _SCHEMA_IN_PROMPT.search(" ".join(str(m.get("content")) for m in messages))
            schema = json.loads(found.group(1)) if found else None
        if schema is not None:
            return Said(json.dumps(_least(schema, schema)))
        if body.get("response_format", {}).get("type") == "json_object":
            return Said('{"answer": "ok"}')
        limit = next((body[name] for name in self.limits if name in body), None)
        words = [str(n) for n in range(1, 101)] if "Count" in str(messages[-1].get("content")) else ["ok"]
        if limit is not None and len(words) > limit:
            return Said(" ".join(words[:limit]), finish_reason="length")
        return Said(" ".join(words))

    def _counts(self, body: Mapping[str, Any], said: Said) -> dict[str, Any]:
        given = min(tokens_of(body["messages"]), WINDOW)
        prompt = json.dumps(body["messages"])
        cached = given // 64 * 64 if prompt in self._seen else 0
        self._seen.add(prompt)
        answered = len((said.text or json.dumps(said.tool_call)).split())
        thought = len(self.thought.split()) if self.reasoning_field else 0
        return self.usage(given, answered + thought, cached, thought)

    def _whole(self, body: Mapping[str, Any]) -> dict[str, Any]:
        said = self._say(body)
        message: dict[str, Any] = {"role": "assistant", "content": said.text}
        if self.reasoning_field:
            message[self.reasoning_field] = self.thought
        if said.tool_call:
            message["tool_calls"] = [call_of(said.tool_call)]
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": said.finish_reason}
        if body.get("logprobs"):
            choice["logprobs"] = _logprobs(said.text or "")
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": f"{MODEL}-2026-10-01",
            "choices": [self.finish(choice)],
            "usage": self._counts(body, said),
        }

    async def _stream_out(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        said = self._say(body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if self.comment:
            await response.write(f"{self.comment}\n\n".encode())
        for chunk in self.chunks(said, body):
            whole = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, **chunk}
            await response.write(f"data: {json.dumps(whole)}\n\n".encode())
            await asyncio.sleep(self.slow_s)
        await response.write(b"data: [DONE]\n\n")
        return response

    def chunks(self, said: Said, body: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
        """Yield what a stream consists of."""
        yield delta_of({"role": "assistant", "content": ""})
        if self.reasoning_field:
            yield delta_of({self.reasoning_field: ""})
            for word in self.thought.split():
                yield delta_of({self.reasoning_field: f"{word} "})
        if said.tool_call:
            yield from self.call_chunks(said.tool_call)
        for word in re.findall(r"\S+\s*", said.text or ""):
            yield delta_of({"content": word})
        yield {"choices": [self.finish({"index": 0, "delta": {}, "finish_reason": said.finish_reason})]}
        if self.streams_usage == "always" or (body.get("stream_options") or {}).get("include_usage"):
            yield {"choices": [], "usage": self._counts(body, said)}

    def call_chunks(self, call: tuple[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
        """Yield a tool call piece by piece: first id and name, then the arguments."""
        whole = call_of(call)
        arguments = whole["function"]["arguments"]
        start = {**whole, "index": 0, "function": {"name": call[0], "arguments": ""}}
        yield delta_of({"tool_calls": [start]})
        for at in range(0, len(arguments), 5):
            yield delta_of({"tool_calls": [{"index": 0, "function": {"arguments": arguments[at : at + 5]}}]})


def tokens_of(messages: Iterable[Mapping[str, Any]]) -> int:
    return sum(1 + len(str(message.get("content") or "").split()) for message in messages)


def call_of(call: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    function = {"name": call[0], "arguments": json.dumps(call[1])}
    return {"id": "call_1", "type": "function", "function": function}


def delta_of(delta: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def _logprobs(text: str) -> dict[str, Any]:
    return {"content": [{"token": word, "logprob": -0.1, "top_logprobs": []} for word in text.split()]}
