"""Kept connections: one that the server may be closing is not used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from stepgraph.providers.backends import http
from stepgraph.providers.backends.http import ChatClient, HTTPStatusError

HELLO = {"model": "m", "messages": []}


@asynccontextmanager
async def server(
    status: str, body: bytes, content_type: str = "application/json"
) -> AsyncIterator[tuple[str, list[int]]]:
    """Serve one answer on kept connections; yield the address, and how often each connection was asked."""
    asked: list[int] = []

    open_writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(asked)
        asked.append(0)
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            asked[number] += 1
            writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n".encode())
            writer.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            open_writers.append(writer)
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(quietly, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", asked
        for writer in open_writers:
            writer.close()
            await writer.wait_closed()


async def test_a_connection_is_kept_for_the_next_call() -> None:
    async with server("200 OK", b'{"choices": []}') as (address, asked):
        client = ChatClient(address, None)
        for _ in range(3):
            await client.ask(HELLO)
        assert asked == [3]


async def test_a_connection_that_brought_an_error_is_not_used_again() -> None:
    """llama.cpp refuses a wrong key before it reads the request, and then closes the connection unsaid."""
    async with server("401 Unauthorized", b'{"error": {"message": "no"}}') as (address, asked):
        client = ChatClient(address, None)
        for _ in range(3):
            with pytest.raises(HTTPStatusError):
                await client.ask(HELLO)
        assert asked == [1, 1, 1]


async def test_a_connection_that_brought_a_stream_is_not_used_again() -> None:
    """llama.cpp closes it then, unsaid."""
    chunk = b'data: {"choices": [{"delta": {"content": "yes"}, "finish_reason": "stop"}]}'
    async with server("200 OK", chunk + b"\n\ndata: [DONE]\n\n", "text/event-stream") as (address, asked):
        client = ChatClient(address, None)
        for _ in range(3):
            assert len([part async for part in client.stream(HELLO)]) == 1
        assert asked == [1, 1, 1]


async def test_a_connection_is_given_up_before_servers_close_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert http.KEEP_ALIVE_S < 5
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.05)
    async with server("200 OK", b'{"choices": []}') as (address, asked):
        client = ChatClient(address, None)
        await client.ask(HELLO)
        await asyncio.sleep(0.2)
        await client.ask(HELLO)
        assert asked == [1, 1]
