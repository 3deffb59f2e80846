"""One chat-completions request over HTTP, whole or streamed: bytes in, JSON out, nothing taken on trust."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from ...state.errors import SettingsError
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
        async with await self._post(body) as response:
            return json_object(await read_body(response), response)

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the chunks of a streamed answer; a server that does not stream yields one whole answer.

        Raises as `ask` does, and MalformedBody if the stream ends before `[DONE]` or a finish_reason.
        """
        async with await self._post({**body, "stream": True}) as response:
            if response.content_type == "text/event-stream":
                lines = lines_in(response)
            else:
                whole = await read_body(response)
                if not is_event_stream(whole):
                    yield json_object(whole, response)
                    return
                lines = lines_of(one_part(whole))
            finished = False
            async for data in events_in(lines):
                if data == b"[DONE]":
                    return
                chunk = json_object(data, response)
                finished = finished or any(c.get("finish_reason") for c in choices_in(chunk))
                yield chunk
            if not finished:
                raise MalformedBody("the stream ended before the answer did")

    async def _post(self, request: Mapping[str, Any]) -> aiohttp.ClientResponse:
        """Return the response to a request. Raises HTTPStatusError for one that is no answer."""
        data = json.dumps(request, ensure_ascii=False).encode("utf-8", "replace")
        response = await self._sent(await clients.get(), data)
        if response.status < 300:
            return response
        async with response:
            raise HTTPStatusError(response.status, await error_body(response), response.headers)

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
    """Gives its connection up after an error, and after a stream without TLS.

    A server that refuses a request before it has read all of it closes the connection without saying so, and
    so does llama.cpp after each stream: the next call would go out on it. A new connection to a server nearby
    costs next to nothing.
    """

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        await super().start(connection)
        is_stream = self.url.scheme == "http" and self.content_type == "text/event-stream"
        if self.status >= 300 or is_stream:
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
    check_fault(answer, response.headers)
    return answer


def check_fault(answer: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """Raise HTTPStatusError for an answer or a chunk that says that something went wrong."""
    fault = answer.get("error") or next((c["error"] for c in choices_in(answer) if c.get("error")), None)
    if not fault and answer.get("object") == "error":  # vLLM's flat form
        fault = {name: answer[name] for name in ("message", "type", "param", "code") if name in answer}
    if fault:
        raise HTTPStatusError(status_in(fault), {"error": fault}, headers)


def check_nesting(data: bytes, value: Any) -> None:
    """Raise MalformedBody for what the data holds if it is nested deeper than a checkpoint surely keeps."""
    if data.count(b"[") + data.count(b"{") > MAX_NESTING and is_too_deep(value):
        raise MalformedBody(f"the answer is nested more than {MAX_NESTING} deep")


# The words of OpenAI, vLLM and Anthropic (https://platform.claude.com/docs/en/api/errors) for their statuses.
_NAMED: Final = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "BadRequestError": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "NotFoundError": 404,
    "request_too_large": 413,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def status_in(fault: Any) -> int:
    """Return the HTTP status that an error body names, by a number or by a word; 502 where it names none."""
    words = ("code", "status", "type")
    named: list[Any] = [fault.get(word) for word in words] if isinstance(fault, Mapping) else []
    for name in named:
        try:
            status = int(name)
        except (TypeError, ValueError, OverflowError):
            status = _NAMED.get(name, 0) if isinstance(name, str) else 0
        if 400 <= status < 600:
            return status
    return 502


_BOM: Final = b"\xef\xbb\xbf"


def is_event_stream(body: bytes) -> bool:
    """Tell whether a body holds server-sent events, whatever its headers say."""
    return body.removeprefix(_BOM).lstrip().startswith((b"data:", b"event:", b":"))


async def events_in(lines: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the data of each server-sent event that has some."""
    data: list[bytes] = []
    async for whole in lines:
        # A lone carriage return ends a line as well, and a stream may begin with a mark of its byte order.
        for line in whole.split(b"\r") if b"\r" in whole else (whole,):
            if line.startswith((b"data:", b"\xef\xbb\xbfdata:")):
                data.append(line[line.index(b":") + 1 :].strip())
            elif not line and data:
                if any(data):
                    yield b"\n".join(data)
                data = []
    if any(data):
        yield b"\n".join(data)


def lines_in(response: aiohttp.ClientResponse, limit: int = MAX_ANSWER_BYTES) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a body, each of which may come in any number of pieces."""
    return lines_of(response.content.iter_any(), limit)


async def lines_of(parts: AsyncIterator[bytes], limit: int = MAX_ANSWER_BYTES) -> AsyncGenerator[bytes, None]:
    """Yield the lines that the parts hold."""
    pieces: list[bytes] = []  # of a line that has not ended
    size = 0
    async for part in parts:
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


async def one_part(data: bytes) -> AsyncIterator[bytes]:
    yield data


def proxy_for(address: str) -> str | None:
    """Return the proxy that the environment names for an address. Raises SettingsError for no HTTP proxy."""
    parts = urlsplit(address)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    proxy = getproxies().get(parts.scheme)
    if not proxy:
        return None
    scheme, separator, _ = proxy.partition("://")
    if not separator:
        return f"http://{proxy.lstrip('/')}"
    if scheme.lower() not in ("http", "https"):
        raise SettingsError(
            f"The environment names a {scheme} proxy for {parts.hostname}; only HTTP proxies can be used. "
            f"Set {parts.scheme}_proxy to one, or add {parts.hostname} to no_proxy."
        )
    return proxy
