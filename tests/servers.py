"""An OpenAI-compatible chat endpoint on loopback that answers, or fails, as a test tells it to."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from aiohttp import web


@dataclass(frozen=True)
class Answer:
    """A good answer; without a text, the least that fits the asked-for schema, else "ok"."""

    text: str | None = None
    reasoning: str | None = None
    input_tokens: int = 100
    output_tokens: int = 20
    cached: int | None = None
    usage: bool = True
    finish_reason: str = "stop"
    delay_s: float = 0.0
    tool_calls: tuple[tuple[str, str], ...] = ()  # names, and arguments as JSON
    once: Callable[[], bool] | None = None  # it comes when this holds, or a minute has passed


@dataclass(frozen=True)
class Fault:
    """Anything else that can come over the wire.

    `cut` breaks the connection in mid-body, `reset` before any answer; `drip_s` is the pause between bytes.
    """

    status: int = 200
    body: str | bytes = '{"error": {"message": "out of order"}}'
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    reset: bool = False
    drip_s: float = 0.0


ERROR_BODY = Fault(body='{"error": {"message": "upstream is gone", "code": 502}}')
HTML = Fault(body="<html><body>Please log in</body></html>", content_type="text/html")
EMPTY_CHOICES = Fault(body='{"id": "1", "object": "chat.completion", "model": "m", "choices": []}')
HALF_JSON = Fault(body='{"id": "1", "object": "chat.completion", "choices": [{"ind')
CUT = Fault(body='{"id": "1", "choices": [', cut=True)


class ChatServer:
    """Serves /v1/chat/completions from a thread of its own, and keeps what it was sent."""

    paths: ClassVar[tuple[str, ...]] = ("/v1/chat/completions",)
    root: ClassVar[str] = "/v1"

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.headers: list[dict[str, str]] = []
        self.most_in_flight = 0
        self.always: Answer | Fault = Answer()
        self.decide: Callable[[], Answer | Fault] | None = None
        self.disconnects = 0
        self.asked = threading.Event()
        self._next: deque[Answer | Fault] = deque()
        self._in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def calls(self) -> int:
        return len(self.bodies)

    def will(self, *outcomes: Answer | Fault | str) -> None:
        """Say how the next calls end; the ones after end as `always` says."""
        self._next.extend(Answer(o) if isinstance(o, str) else o for o in outcomes)

    def spec(self, **settings: Any) -> dict[str, Any]:
        """Return the model settings that lead here."""
        return {"model": "served", "base_url": self.url, **settings}

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        for path in self.paths:
            app.router.add_post(path, self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        listener = new_listener()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}{self.root}"
        await web.SockSite(self._runner, listener).start()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.asked.set()
        self.keys.append(request.headers.get("Authorization"))
        self.headers.append(dict(request.headers))
        later = self.always if self.decide is None else self.decide()
        outcome = self._next.popleft() if self._next else later
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            if isinstance(outcome, Fault):
                return await _fail(request, outcome)
            await asyncio.sleep(outcome.delay_s)
            await _until(outcome.once)
            if body.get("stream"):
                return await _stream(request, body, outcome)
            return web.json_response(_completion(body, outcome))
        except asyncio.CancelledError:
            self.disconnects += 1
            raise
        finally:
            self._in_flight -= 1


_used_ports: set[int] = set()


def new_listener() -> socket.socket:
    """Return a socket that listens on loopback, at a port that no other server of this process had.

    The system gives ports again. What is known of an address, or still on its way to it, is another test's.
    """
    refused: list[socket.socket] = []
    while True:
        listener = socket.create_server(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        if port not in _used_ports:
            break
        refused.append(listener)
    _used_ports.add(port)
    for other in refused:
        other.close()
    return listener


def free_port() -> int:
    """Return a port of loopback where nobody listens, for a server that must be told one.

    It lies below those that the system gives to whoever asks for any, so nobody takes it in the meantime.
    """
    while True:
        port = 16_000 + secrets.randbelow(16_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def unused_url() -> str:
    """Return an address on loopback where nobody listens."""
    return f"http://127.0.0.1:{free_port()}/v1"


async def _until(holds: Callable[[], bool] | None) -> None:
    ends = time.monotonic() + 60
    while holds is not None and not holds() and time.monotonic() < ends:  # noqa: ASYNC110 nobody tells
        await asyncio.sleep(0.005)


async def _fail(request: web.Request, fault: Fault) -> web.StreamResponse:
    assert request.transport is not None
    body = fault.body if isinstance(fault.body, bytes) else fault.body.encode()
    headers = {**fault.headers, "Content-Type": fault.content_type}
    if fault.reset:
        request.transport.abort()
        return web.Response()
    if not fault.cut and not fault.drip_s:
        return web.Response(status=fault.status, body=body, headers=headers)
    response = web.StreamResponse(headers={"Content-Length": "9999", **headers})
    await response.prepare(request)
    for number in range(len(body)) if fault.drip_s else ():
        await response.write(body[number : number + 1])
        await asyncio.sleep(fault.drip_s)
    if not fault.drip_s:
        await response.write(body)
    request.transport.abort()
    return response


def _completion(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": _text(body, answer)}
    if answer.tool_calls:
        message["content"] = answer.text
        message["tool_calls"] = [
            {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(answer.tool_calls)
        ]
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
    completion = {"id": "1", "object": "chat.completion", "created": 1, "model": "served-2026"}
    usage = {"usage": _usage(answer)} if answer.usage else {}
    return {**completion, "choices": [choice], **usage}


async def _stream(request: web.Request, body: Mapping[str, Any], answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    start = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "served-2026"}

    async def send(**chunk: Any) -> None:
        await response.write(f"data: {json.dumps({**start, **chunk})}\n\n".encode())

    if answer.reasoning:
        await send(choices=[{"index": 0, "delta": {"reasoning_content": answer.reasoning}}])
    for word in _text(body, answer).split(" "):
        await send(choices=[{"index": 0, "delta": {"role": "assistant", "content": f"{word} "}}])
    await send(choices=[{"index": 0, "delta": {}, "finish_reason": answer.finish_reason}])
    if answer.usage and body.get("stream_options", {}).get("include_usage"):
        await send(choices=[], usage=_usage(answer))
    await response.write(b"data: [DONE]\n\n")
    return response


def _usage(answer: Answer) -> dict[str, Any]:
    total = answer.input_tokens + answer.output_tokens
    usage: dict[str, Any] = {"prompt_tokens": answer.input_tokens, "completion_tokens": answer.output_tokens}
    if answer.cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": answer.cached}
    return {**usage, "total_tokens": total}


def _text(body: Mapping[str, Any], answer: Answer) -> str:
    if answer.text is not None:
        return answer.text
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    return "ok" if schema is None else json.dumps(_least(schema, schema))


def _least(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return a small value that fits a JSON schema of the kind that pydantic writes."""
    if "$ref" in schema:
        return _least(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if "anyOf" in schema or "oneOf" in schema:
        return _least(schema.get("anyOf", schema.get("oneOf"))[0], root)
    if schema.get("type") == "object":
        return {name: _least(part, root) for name, part in schema.get("properties", {}).items()}
    return {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "array": []}.get(schema["type"])
