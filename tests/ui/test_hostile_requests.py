"""Requests that no browser sends from the pages."""

from __future__ import annotations

import asyncio
import http.client
import time
from contextlib import closing

import pytest

from stepgraph.ui.guarding import AccessGuard, Message

from .conftest import TOKEN, Served


async def status_of(cookie: bytes) -> int:
    """Return what the guard answers to a request with a cookie."""
    sent: list[Message] = []

    async def pages(_: object, __: object, send: object) -> None:
        sent.append({"type": "http.response.start", "status": 200})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:80"), (b"cookie", cookie)]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers}
    await AccessGuard(pages, TOKEN, 80)(scope, receive, send)
    status: int = sent[0]["status"]
    return status


@pytest.mark.parametrize("inner", [b"\\\\", b'\\"', b"\\101", b'"', b";", b"=", b" "])
def test_a_cookie_of_anybody_takes_no_time(inner: bytes) -> None:
    """The guard reads cookies before it knows who sent them, and while it reads nobody else is served."""
    began = time.process_time()
    assert asyncio.run(status_of(b'stepgraph_80="' + inner * 30_000 + b'"')) == 403
    assert time.process_time() - began < 5


def test_the_right_cookie_counts_beside_others() -> None:
    right = f"stepgraph_80={TOKEN}".encode()
    for others in (
        b"%s; a=b",
        b"a=b;%s",
        b"stepgraph_80=wrong; %s",
        b"%s; stepgraph_80=wrong",
        b'a="; %s; b="',
    ):
        assert asyncio.run(status_of(others % right)) == 200
    for wrong in (b"", b"x%s", b"a=%s", right[:-1], right + b"x", b"stepgraph_8=" + TOKEN.encode()):
        assert asyncio.run(status_of(wrong % right if b"%s" in wrong else wrong)) == 403


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Host", "example.org"),
        ("Origin", "https://example.org"),
        ("Content-Type", "text/plain"),
        ("Sec-Fetch-Site", "cross-site"),
    ],
)
def test_a_header_that_counts_once_counts_once(desk: Served, name: str, other: str) -> None:
    right = {
        "Host": f"127.0.0.1:{desk.port}",
        "Cookie": f"stepgraph_{desk.port}={TOKEN}",
        "Origin": desk.url,
        "Content-Type": "application/x-www-form-urlencoded",
        "Sec-Fetch-Site": "same-origin",
        "Content-Length": "0",
    }
    for first in (True, False):
        with closing(http.client.HTTPConnection("127.0.0.1", desk.port, timeout=30)) as connection:
            connection.putrequest("POST", "/decide", skip_host=True)
            for header, value in right.items():
                twice = [other, value] if first else [value, other]
                for each in twice if header == name else [value]:
                    connection.putheader(header, each)
            connection.endheaders()
            answer = connection.getresponse()
            answer.read()
        assert answer.status == 400
