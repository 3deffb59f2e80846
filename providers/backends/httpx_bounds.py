"""The bounds of an answer for the clients of OpenAI's and Anthropic's packages, which have none of their own.

They unpack a packed answer whole, and a small one may unpack to gigabytes. So they ask for answers as they
are, refuse packed ones, and count what comes. The events of a chat completion are told apart as in our own
client, because OpenAI's drops what it cannot read: a first event behind a mark of its byte order, a last one
without an empty line, a whole answer where a stream was asked for.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import cache
from typing import Any, Final

from .fit_bodies import BodyFitter
from .http import MAX_ANSWER_BYTES, MalformedBody, events_in, is_event_stream, lines_of, one_part

UNPACKED: Final = {"Accept-Encoding": "identity"}
UNFINISHED: Final = "stepgraph_unfinished"
"""The field of a last chunk that says that the server sent no [DONE]."""
_EVENTS: Final = "text/event-stream"


async def bound(response: Any) -> None:
    """Bound what an answer may have, before any of it is read: a hook of httpx, in either version."""
    packed = response.headers.get("content-encoding", "identity")
    if packed.lower() != "identity":
        raise MalformedBody(
            f"the answer is packed ({packed[:20]}), though it was asked for as it is", lasting=True
        )
    kinds = _kinds(type(response).__module__.partition(".")[0])
    response.stream = kinds["counted"](response.stream)
    if response.status_code >= 300:
        return
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.request.url.path.endswith("/chat/completions"):
        if _asks_for_chunks(response.request):
            response.stream = kinds["events"](response.stream, content_type == _EVENTS)
    elif content_type == _EVENTS or content_type.endswith("json"):
        response.stream = kinds["fit"](response.stream, content_type == _EVENTS)


def _asks_for_chunks(request: Any) -> bool:
    return b'"stream":' in request.content and bool(json.loads(request.content).get("stream"))


async def _counted(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    size = 0
    async for part in parts:
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise MalformedBody(f"the answer has more than {MAX_ANSWER_BYTES >> 20} MiB", lasting=True)
        yield part


async def _events(parts: AsyncIterator[bytes], are_events: bool) -> AsyncGenerator[bytes, None]:
    """Yield one line with an empty one behind it for each event, and for a whole answer."""
    if not are_events:
        whole = b"".join([part async for part in parts])
        if not is_event_stream(whole):
            yield _event(whole) + _event(b"[DONE]")
            return
        parts = one_part(whole)
    async with aclosing(events_in(lines_of(parts))) as events:
        async for data in events:
            yield _event(data)
            if data == b"[DONE]":
                return
    yield _event(json.dumps({UNFINISHED: True, "choices": []}).encode())


async def _fit(parts: AsyncIterator[bytes], are_events: bool) -> AsyncGenerator[bytes, None]:
    """Yield a whole answer, or the lines of a stream, made fit for the class that reads it."""
    fitter = BodyFitter()
    if not are_events:
        yield fitter.fit(b"".join([part async for part in parts]))
        return
    async with aclosing(lines_of(parts)) as lines:
        async for line in lines:
            is_data = line.startswith(b"data:") and any(word in line for word in _TOLD)
            yield b"data: " + fitter.fit(line[5:]) + b"\n" if is_data else line + b"\n"
    yield b"\n"


_TOLD: Final = (b'"usage"', b'"error"')  # in the events that are looked into


def _event(data: bytes) -> bytes:
    return b"data: " + b" ".join(data.splitlines()) + b"\n\n"


@cache
def _kinds(package: str) -> dict[str, Any]:
    base: Any = importlib.import_module(package).AsyncByteStream

    def kind(read: Any) -> Any:
        class Stream(base):  # type: ignore[misc]
            def __init__(self, stream: Any, *rest: Any) -> None:
                self._stream = stream
                self._rest = rest

            async def __aiter__(self) -> AsyncIterator[bytes]:
                async with aclosing(read(aiter(self._stream), *self._rest)) as parts:
                    async for part in parts:
                        yield part

            async def aclose(self) -> None:
                await self._stream.aclose()

        return Stream

    return {"counted": kind(_counted), "events": kind(_events), "fit": kind(_fit)}
