"""An OpenAI-compatible chat endpoint that answers at once, always the same, at as little CPU as it can.

Run it as a process of its own: it prints its port, and ends when its standard input does. An argument
gives the seconds that it waits before each answer.
"""

from __future__ import annotations

import asyncio
import json
import sys

ANSWER = "A short answer of some forty tokens, as a model gives it to a plain question. " * 4
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "stub-1",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}},
    ],
    "usage": {"prompt_tokens": 120, "completion_tokens": 40, "total_tokens": 160},
}
BODY = json.dumps(COMPLETION).encode()
HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
LATENCY_S = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
RESPONSE = HEAD.encode() + BODY


class Chat(asyncio.Protocol):
    """Answers each complete request on a connection that stays open."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if blank and len(body) >= _length(head):
            self._received = b""
            assert self._transport is not None
            if LATENCY_S:
                asyncio.get_running_loop().call_later(LATENCY_S, self._transport.write, RESPONSE)
            else:
                self._transport.write(RESPONSE)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Chat, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
