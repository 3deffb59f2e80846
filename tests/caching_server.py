"""A chat endpoint on loopback that caches prompts as the providers do, and counts what it read anew.

What a request has in common with an earlier one is read from the cache, in blocks: 1,024 tokens, then 128
more each. Nobody sees a prompt before the first token of its answer. With `marks`, only what a part with
`cache_control` ends is kept, as Anthropic does. A token is four characters.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from aiohttp import web

from .servers import new_listener

FIRST_BLOCK, BLOCK, CHARS = 1024, 128, 4
WORDS = ("It ", "says ", "so.")


class CachingServer:
    """Serves /v1/chat/completions; `first_token_s` passes before each answer.

    `fate` decides by the number of a request what becomes of it: "fail", "hang", or None for an answer.
    """

    def __init__(self, first_token_s: float = 0.05, *, marks: bool = False) -> None:
        self.first_token_s = first_token_s
        self.marks = marks
        self.fate: Callable[[int], str | None] = lambda number: None
        self.bodies: list[dict[str, Any]] = []
        self.asked_at: list[float] = []
        self.before_first_token = 0  # requests that came while nothing was in the cache
        self.disconnects = 0
        self.input = self.cached = 0
        self._kept: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def share(self) -> float:
        """How much of all input was read from the cache."""
        return self.cached / self.input

    def spec(self, **settings: Any) -> dict[str, Any]:
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
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        listener = new_listener()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        await web.SockSite(self._runner, listener).start()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        number = len(self.bodies)
        self.bodies.append(body)
        self.asked_at.append(time.monotonic())
        self.before_first_token += not self._kept
        text, ends = rendered(body)
        cached = self._cached(text, ends)
        try:
            return await self._answer(request, body, number, text, ends, cached)
        except asyncio.CancelledError:
            self.disconnects += 1
            raise

    async def _answer(
        self,
        request: web.Request,
        body: Mapping[str, Any],
        number: int,
        text: str,
        ends: list[int],
        cached: int,
    ) -> web.StreamResponse:
        fate = self.fate(number)
        if fate == "hang":
            await asyncio.Event().wait()
        streamed = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        if body.get("stream") and fate is None:
            await streamed.prepare(request)
            await _send(streamed, {"role": "assistant", "content": ""})  # which says nothing yet
        await asyncio.sleep(self.first_token_s)
        if fate == "fail":
            return web.json_response({"error": {"message": "out of order"}}, status=500)
        self._kept.append(text if not self.marks else text[: max(ends, default=0)])
        usage = self._usage(text, cached)
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({"model": "served", "choices": [choice], "usage": usage})
        for word in WORDS:
            await _send(streamed, {"content": word})
        await _send(streamed, {}, finish_reason="stop")
        await _write(streamed, {"model": "served", "choices": [], "usage": usage})
        await streamed.write(b"data: [DONE]\n\n")
        return streamed

    def _cached(self, text: str, ends: list[int]) -> int:
        most = max((_in_common(kept, text) for kept in self._kept), default=0)
        if self.marks:
            return max((end for end in ends if end <= most), default=0) // CHARS
        tokens = most // CHARS
        return 0 if tokens < FIRST_BLOCK else FIRST_BLOCK + (tokens - FIRST_BLOCK) // BLOCK * BLOCK

    def _usage(self, text: str, cached: int) -> dict[str, Any]:
        tokens = len(text) // CHARS
        self.input += tokens
        self.cached += cached
        return {
            "prompt_tokens": tokens,
            "completion_tokens": len(WORDS),
            "total_tokens": tokens + len(WORDS),
            "prompt_tokens_details": {"cached_tokens": cached},
        }


def _in_common(one: str, other: str) -> int:
    """Return how many characters are equal at the front."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if one.startswith(other[:middle]) else (least, middle - 1)
    return least


def rendered(body: Mapping[str, Any]) -> tuple[str, list[int]]:
    """Return a request as the text that a model reads, and where its marked parts end."""
    text, ends = json.dumps(body.get("tools", [])), []
    for message in body["messages"]:
        text += f"<|{message['role']}|>"
        for said, marked in _parts(message.get("content")):
            text += said
            if marked:
                ends.append(len(text))
    return text, ends


def _parts(content: Any) -> Iterator[tuple[str, bool]]:
    if isinstance(content, str):
        yield content, False
        return
    for part in content or ():
        other = {name: value for name, value in part.items() if name != "cache_control"}
        yield part.get("text", json.dumps(other)), "cache_control" in part


async def _send(response: web.StreamResponse, delta: Mapping[str, Any], **more: Any) -> None:
    await _write(response, {"model": "served", "choices": [{"index": 0, "delta": delta, **more}]})


async def _write(response: web.StreamResponse, chunk: Mapping[str, Any]) -> None:
    await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
