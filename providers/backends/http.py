"""One chat-completions request over HTTP, whole or streamed: bytes in, JSON out, nothing taken on trust."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from ...state.event_loops import PerLoop
from ...state.json_text import MAX_NESTING, is_too_deep

MAX_ANSWER_BYTES = 16 * 2**20
MAX_ERROR_BYTES = 64 * 2**10
# Shorter than servers keep a connection (llama.cpp, uvicorn and Node: 5 s), so that a call does not go out on
# one that the server is closing: nobody could say whether it was answered, and paid for.
KEEP_ALIVE_S = 3.0
HTML_HELP = "an HTML page, as of a proxy or a login; is it an OpenAI-compatible chat endpoint?"


class HTTPStatusError(Exception):
    """The server says that it cannot answer: by its HTTP status, or in the body of a 200."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body
        self.headers = headers


class MalformedBody(Exception):
    """What came is no answer. `lasting` where it would be the same again."""

    def __init__(self, problem: str, *, lasting: bool = False) -> None:
        super().__init__(problem)
        self.lasting = lasting


class ChatClient:
    """The way to one endpoint. All share one HTTP client for each event loop, which is closed with it.

    Proxies come from the environment, certificates from the system (SSL_CERT_FILE names others).
    """

    def __init__(
        self,
        address: str,
        key: str | None,
        headers: Mapping[str, str] | None = None,
        *,
        path: str = "/chat/completions",
    ) -> None:
        parts = urlsplit(address)
        self.url = parts._replace(path=f"{parts.path.rstrip('/')}{path}").geturl()
        usual = {"Authorization": f"Bearer {key or 'none'}", "User-Agent": "stepgraph"}
        own = {name.lower() for name in headers or ()}
        self._headers = {name: value for name, value in usual.items() if name.lower() not in own}
        self._headers |= {"Content-Type": "application/json", **(headers or {})}
        self._proxy = proxy_for(address)

    async def ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the whole answer. Raises HTTPStatusError, MalformedBody, or what aiohttp raises."""
        async with self._post(body) as response:
            return json_object(await read_body(response), response)

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the chunks of a streamed answer; a server that does not stream yields one whole answer.

        Raises as `ask` does, and MalformedBody if the stream ends before `[DONE]` or a finish_reason.
        """
        async with self._post({**body, "stream": True}) as response:
            if response.content_type != "text/event-stream":
                yield json_object(await read_body(response), response)
                return
            finished = False
            async for data in _events(response):
                if data == b"[DONE]":
                    return
                chunk = json_object(data, response)
                finished = finished or any(c.get("finish_reason") for c in choices_in(chunk))
                yield chunk
            if not finished:
                raise MalformedBody("the stream ended before the answer did")

    @asynccontextmanager
    async def _post(self, request: Mapping[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        client = await clients.get()
        data = json.dumps(request, ensure_ascii=False).encode("utf-8", "replace")
        async with await self._sent(client, data) as response:
            if response.status >= 300:
                raise HTTPStatusError(response.status, await error_body(response), response.headers)
            yield response

    async def _sent(self, client: aiohttp.ClientSession, data: bytes) -> aiohttp.ClientResponse:
        """Send the request; once more if the server had closed the kept connection before it was whole."""
        options: Any = {"headers": self._headers, "proxy": self._proxy, "allow_redirects": False}
        try:
            return await client.post(self.url, data=data, **options)
        except aiohttp.ClientOSError as error:
            if "write request body" not in str(error):
                raise
        return await client.post(self.url, data=data, **options)


class _Response(aiohttp.ClientResponse):
    """Gives its connection up after an error.

    A server that refuses a request before it has read all of it closes the connection without saying so, and
    the next call would go out on it.
    """

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        await super().start(connection)
        if self.status >= 300:
            if self.connection is None:  # the answer is all here: the connection was kept, in this very step
                protocol.close()
            else:
                protocol.force_close()
        return self


async def _open() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        response_class=_Response,
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
    )


clients: PerLoop[aiohttp.ClientSession] = PerLoop(_open, aiohttp.ClientSession.close)


def choices_in(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the choices of an answer or a chunk that have the form of one."""
    choices = answer.get("choices")
    return [c for c in choices if isinstance(c, Mapping)] if isinstance(choices, list) else []


async def read_body(response: aiohttp.ClientResponse, limit: int = MAX_ANSWER_BYTES) -> bytes:
    """Return the body, as it is unpacked: a small one may unpack to gigabytes."""
    length = response.content_length
    if length is not None and length <= limit and "Content-Encoding" not in response.headers:
        return await response.read()
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            raise MalformedBody(f"the answer has more than {limit >> 20} MiB", lasting=True)
        parts.append(part)
    return b"".join(parts)


async def error_body(response: aiohttp.ClientResponse) -> Any:
    """Return what the server says about its error: JSON, or else the beginning of the text."""
    try:
        data = await response.content.read(MAX_ERROR_BYTES)
    except aiohttp.ClientError:
        return ""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode("utf-8", "replace").strip()


def json_object(data: bytes, response: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        answer = json.loads(data)
    except UnicodeDecodeError:
        raise MalformedBody("the answer is not valid UTF-8") from None
    except (ValueError, RecursionError) as error:
        if data.lstrip()[:1] == b"<" or response.content_type == "text/html":
            raise MalformedBody(HTML_HELP, lasting=True) from None
        raise MalformedBody(f"{response.content_type}, not valid JSON: {error}") from None
    check_nesting(data, answer)
    if not isinstance(answer, dict):
        raise MalformedBody(f"a JSON {type(answer).__name__} where an object should be")
    fault = answer.get("error") or next((c["error"] for c in choices_in(answer) if c.get("error")), None)
    if fault:
        raise HTTPStatusError(status_in(fault), {"error": fault}, response.headers)
    return answer


def check_nesting(data: bytes, value: Any) -> None:
    """Raise MalformedBody for what the data holds if it is nested deeper than a checkpoint surely keeps."""
    if data.count(b"[") + data.count(b"{") > MAX_NESTING and is_too_deep(value):
        raise MalformedBody(f"the answer is nested more than {MAX_NESTING} deep")


def status_in(fault: Any) -> int:
    """Return the HTTP status that an error body names, 502 where it names none."""
    code = fault.get("code", fault.get("status")) if isinstance(fault, dict) else None
    try:
        status = int(code or 0)
    except (TypeError, ValueError, OverflowError):
        status = 0
    return status if 400 <= status < 600 else 502


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the data of each server-sent event."""
    data: list[bytes] = []
    async for line in lines_in(response):
        if line.startswith(b"data:"):
            data.append(line[5:].strip())
        elif not line and data:
            yield b"\n".join(data)
            data = []
    if data and data != [b""]:
        yield b"\n".join(data)


async def lines_in(response: aiohttp.ClientResponse, limit: int = MAX_ANSWER_BYTES) -> AsyncIterator[bytes]:
    """Yield the lines of a body, each of which may come in any number of pieces."""
    pieces: list[bytes] = []  # of a line that has not ended
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            raise MalformedBody(f"the stream has more than {limit >> 20} MiB", lasting=True)
        *ends, rest = part.split(b"\n")
        for end in ends:
            yield b"".join((*pieces, end)).rstrip(b"\r")
            pieces.clear()
        pieces.append(rest)
    if last := b"".join(pieces):
        yield last


def proxy_for(address: str) -> str | None:
    """Return the proxy that the environment names for an address."""
    parts = urlsplit(address)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    proxy = getproxies().get(parts.scheme)
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"
