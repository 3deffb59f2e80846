"""An OpenAI-compatible chat endpoint that counts every call it gets; a process of its own.

It prints its port, and ends when its standard input does. `POST /RUN/ARRIVAL/v1/chat/completions` is
answered at once (`burst`), after 5 to 80 ms (`spread`) or together with all others at the next beat
(`volley`). The answer is what the prompt says after "Say ", or else a digest of it; the model `weak` answers
with what fits nothing but text. Who may call tools calls the first one, twice at a time, until it has
TOOL_CALLS results.
`GET /counts/RUN` tells how often each prompt was asked in that run, answered or not.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
from collections import Counter, defaultdict
from typing import Any

BEAT_S = 0.05
TOOL_CALLS = 6
ASKED: defaultdict[str, Counter[str]] = defaultdict(Counter)


class Chat(asyncio.Protocol):
    """One connection that stays open; a client sends its next request after the answer."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank or len(body) < _length(head):
            return
        self._received = b""
        method, path, _ = head.split(b" ", 2)
        run, arrival = path.decode().split("/")[1:3]
        if method == b"GET":
            self._send(ASKED[arrival])
            return
        asked = json.loads(body)
        prompt = str(asked["messages"][-1]["content"])
        ASKED[run][f"{asked['model']}: {prompt}"] += 1
        loop = asyncio.get_running_loop()
        loop.call_later(_delay(arrival, loop.time()), self._send, _completion(asked, prompt))

    def _send(self, value: object) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


def _delay(arrival: str, now: float) -> float:
    """Return in how many seconds a call that came now is answered."""
    if arrival == "spread":
        return random.uniform(0.005, 0.08)
    return BEAT_S - now % BEAT_S if arrival == "volley" else 0.0


def _completion(asked: dict[str, Any], prompt: str) -> dict[str, object]:
    _, said, text = prompt.rpartition("Say ")
    weak = asked["model"] == "weak"
    message: dict[str, Any] = {"role": "assistant", "content": text if said and not weak else digest(prompt)}
    results = [each for each in asked["messages"] if each["role"] == "tool"]
    if asked.get("tools") and len(results) < TOOL_CALLS:
        name = asked["tools"][0]["function"]["name"]
        message["tool_calls"] = [
            {
                "id": f"call{number:05d}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps({"query": digest(f"{prompt} {number}")})},
            }
            for number in range(len(results), len(results) + 2)
        ]
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "stub-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }


def digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:12]


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Chat, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
