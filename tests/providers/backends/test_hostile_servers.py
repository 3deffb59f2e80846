"""A server that means harm: packed floods, endless lines, many small pieces, what no checkpoint can hold."""

from __future__ import annotations

import asyncio
import json
import re
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import compression_utils

from stepgraph import Ask, Session, agent, chain, step, using
from stepgraph.errors import MalformedResponse
from stepgraph.nodes.found_json import json_in
from stepgraph.providers.backends.completion import PartialCompletion, ThoughtSplitter
from stepgraph.providers.backends.http import ChatClient, HTTPStatusError, MalformedBody
from stepgraph.providers.backends.message_state import joined
from stepgraph.providers.backends.tool_calls import ToolCallDrafts, read_arguments
from stepgraph.providers.batches.web import BatchWeb
from stepgraph.providers.provider_table import capabilities_of
from stepgraph.providers.settings import ModelSettings
from stepgraph.state.json_text import MAX_NESTING, is_too_deep

from ...servers import Answer, ChatServer, Fault

HELLO = {"model": "m", "messages": []}
UNPACKED_MB = 40  # more than twice what an answer may have


def packed(kind: str) -> bytes:
    if kind in ("br", "zstd"):
        module: Any = __import__("brotli") if kind == "br" else __import__("backports.zstd").zstd
        return bytes(module.compress(b" " * (UNPACKED_MB << 20)))
    bits = {"gzip": 31, "deflate": 15, "raw deflate": -15}[kind]
    packer = zlib.compressobj(9, zlib.DEFLATED, bits)
    return b"".join(packer.compress(b" " * (1 << 20)) for _ in range(UNPACKED_MB)) + packer.flush()


@asynccontextmanager
async def serving(
    status: str, content: str, encoding: str, body: bytes, *, length: bool
) -> AsyncIterator[str]:
    """Serve the body, with its length or in chunks; yield the address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head.lower())
        await reader.readexactly(int(found[1]) if found else 0)
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: {content}\r\nContent-Encoding: {encoding}\r\n".encode()
        )
        if length:
            writer.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        else:
            writer.write(b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"


@pytest.mark.parametrize("kind", ["gzip", "deflate", "raw deflate", "br", "zstd"])
@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("place", ["answer", "stream", "error"])
async def test_limits_count_what_is_unpacked(kind: str, length: bool, place: str) -> None:
    known = {"br": compression_utils.HAS_BROTLI, "zstd": compression_utils.HAS_ZSTD}.get(kind, True)
    body = packed(kind) if known else b"something"
    content = "text/event-stream" if place == "stream" else "application/json"
    status = "500 No" if place == "error" else "200 OK"
    async with serving(status, content, kind.split()[-1], body, length=length) as address:
        client = ChatClient(address, None)
        if not known:  # what aiohttp cannot unpack is no answer
            with pytest.raises(aiohttp.ClientError):
                await client.ask(HELLO)
            return
        tracemalloc.start()
        try:
            if place == "error":
                with pytest.raises(HTTPStatusError):
                    await client.ask(HELLO)
            elif place == "answer":
                with pytest.raises(MalformedBody, match="more than 16 MiB"):
                    await client.ask(HELLO)
            else:
                stream = client.stream(HELLO)
                with pytest.raises(MalformedBody, match="more than 16 MiB"):
                    await anext(stream)
            assert tracemalloc.get_traced_memory()[1] < UNPACKED_MB << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
@pytest.mark.parametrize("status", [200, 500])
def test_the_bounds_hold_for_openais_client_too(
    session: Session, server: ChatServer, packing: str | None, status: int, streamed: bool
) -> None:
    """It would unpack a flood whole: what is packed is refused, and what is not is counted."""
    body = packed(packing) if packing else b" " * (UNPACKED_MB << 20)
    headers = {"Content-Encoding": packing} if packing else {}
    kind = "text/event-stream" if streamed else "application/json"
    server.always = Fault(status=status, body=body, headers=headers, content_type=kind)
    settings = ModelSettings(model="m", base_url=server.url, client="langchain", retries=0)
    app = chain(say).compile()

    def ask() -> None:
        if streamed:
            list(app.stream(Question("q"), session.config("t"), stream_mode="messages"))
        else:
            app.invoke(Question("q"), session.config("t"))

    tracemalloc.start()
    try:
        with using(settings), pytest.raises(MalformedResponse, match=r"more than 16 MiB|is packed"):
            ask()
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert packing is None or held < UNPACKED_MB << 20
    assert server.calls == 1


async def test_the_bounds_hold_for_a_batch_api_too() -> None:
    async with serving("200 OK", "application/json", "gzip", packed("gzip"), length=True) as address:
        with pytest.raises(MalformedBody, match="more than 16 MiB"):
            await BatchWeb(address, {}, 60).get("/batches/1")
    deep = (b'{"custom_id": "1", "response": ' + nested(101).encode() + b"}\n") * 2
    async with serving("200 OK", "application/jsonl", "identity", deep, length=False) as address:
        with pytest.raises(MalformedBody, match="nested more than 100 deep"):
            await BatchWeb(address, {}, 60).lines("/files/1/content")


async def test_a_packing_that_nobody_knows_is_a_broken_answer() -> None:
    async with serving("200 OK", "application/json", "gzip", b"no gzip", length=True) as address:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ChatClient(address, None).ask(HELLO)


def stream_of(pieces: int, piece: bytes) -> Any:
    """Return a response whose one line comes in pieces."""

    class Content:
        async def iter_any(self) -> AsyncIterator[bytes]:
            yield b"data: "
            for _ in range(pieces):
                yield piece
            yield b"\n\n"

    class Response:
        content = Content()

    return Response()


async def one_line() -> None:
    from stepgraph.providers.backends.http import events_in, lines_in

    events = [event async for event in events_in(lines_in(stream_of(75_000, b"x" * 200)))]
    assert [len(event) for event in events] == [15_000_000]


def tool_arguments() -> None:
    drafts = ToolCallDrafts()
    for number in range(1000):
        drafts.add({"index": number, "id": f"call-{number}", "function": {"name": "look"}})
    for number in range(60_000):
        drafts.add({"index": number % 1000, "id": "none", "function": {"arguments": "x" * 20}})
    assert sum(len(draft.pieces) for draft in drafts._drafts) == 60_000


def details() -> None:
    piece = [{"type": "reasoning.text", "index": 0, "text": "x" * 50}]
    assert len(joined([piece] * 60_000)[0]["text"]) == 3_000_000
    apart = [[{"type": "reasoning.text", "index": number, "text": "x"}] for number in range(60_000)]
    assert len(joined(apart)) == 60_000
    assert len(joined(["x" * 50] * 60_000)) == 3_000_000


def reasoning_fields() -> None:
    can = capabilities_of("openrouter")
    draft = PartialCompletion(can, "m")
    for _ in range(100_000):
        delta = dict.fromkeys(can.echo, "x" * 50)
        draft.chunk({"choices": [{"index": 0, "delta": delta}]})
    draft.chunk({"choices": [{"index": 0, "delta": {"content": "so"}, "finish_reason": "stop"}]})
    assert all(len(value) == 5_000_000 for value in draft.reply().state.values())


def blank_beginning() -> None:
    splitter = ThoughtSplitter()
    for _ in range(60_000):
        assert list(splitter.feed(" " * 50)) in ([], [("", "")])
    told = [*splitter.feed("so"), splitter.rest()]
    assert "".join(text for text, _ in told) == " " * 3_000_000 + "so"


def fences() -> None:
    for flood in (
        "```\n" + " " * 4 * 10**5,
        "```" + " " * 4 * 10**5,
        "``` " * 60_000,
        "```\n" * 60_000,
        "`" * 4 * 10**5,
    ):
        assert sum(1 for _ in json_in(flood)) >= 1


@pytest.mark.parametrize(
    "flood",
    [one_line, tool_arguments, details, reasoning_fields, blank_beginning, fences],
    ids=lambda f: f.__name__,
)
async def test_a_flood_costs_linear_time(flood: Callable[[], Any]) -> None:
    """Each takes about a second where time is linear in the flood, and many minutes where it is quadratic."""
    began = time.process_time()
    result = flood()
    if result is not None:
        await result
    assert time.process_time() - began < 30


def test_a_tools_name_does_not_grow_without_end() -> None:
    drafts = ToolCallDrafts()
    for number in range(100):
        drafts.add({"index": 0, "function": {"name": f"look{number}"}})
    with pytest.raises(MalformedBody, match="more than 1000 characters"):
        drafts.add({"index": 0, "function": {"name": "x" * 500}})


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (["a", "b"], "ab"),
        ([1, "b"], "b"),
        (["a", 1], 1),
        ([[1], "a", [2], [3]], [2, 3]),
        ([[{"index": 0, "text": "a"}], [{"index": 0, "text": "b", "id": "s"}], [{"index": 0, "text": "c"}]],
         [{"index": 0, "text": "abc", "id": "s"}]),
        ([[{"index": 0, "text": "a"}], [{"index": 1, "text": "b"}], [{"index": 1, "text": "c"}]],
         [{"index": 0, "text": "a"}, {"index": 1, "text": "bc"}]),
        ([[{"index": 0, "text": "a"}], [{"index": 0, "text": 7}], [{"index": 0, "text": "c"}]],
         [{"index": 0, "text": "c"}]),
        ([[{"index": 0, "text": "a"}, {"index": 0, "text": "b"}]],
         [{"index": 0, "text": "a"}, {"index": 0, "text": "b"}]),
    ],
)  # fmt: skip
def test_pieces_of_a_field_come_together(pieces: list[Any], whole: Any) -> None:
    before = json.dumps(pieces)
    assert joined(pieces) == whole
    assert json.dumps(pieces) == before


def nested(depth: int, left: str = "[", right: str = "]") -> str:
    return left * depth + right * depth


@pytest.mark.parametrize("depth", [MAX_NESTING, MAX_NESTING + 1, 300, 900])
def test_depth_is_told_exactly(depth: int) -> None:
    assert is_too_deep(json.loads(nested(depth))) == (depth > MAX_NESTING)
    assert is_too_deep(json.loads('{"a":' * depth + "1" + "}" * depth)) == (depth > MAX_NESTING)
    _, problem = read_arguments('{"x":' + nested(depth - 1) + "}")
    assert (problem is not None) == (depth > MAX_NESTING)


@dataclass
class Question:
    text: str
    answer: Any = None


def look(x: Any = None) -> str:
    """Look."""
    return "seen"


@step("answer")
def say(question: Question) -> Ask[str]:
    return Ask(question.text)


@step("answer")
def give(question: Question) -> Ask[dict[str, Any]]:
    return Ask(question.text)


def call_with(arguments: Any, **extra: Any) -> Fault:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": arguments}, **extra}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return Fault(body=json.dumps({"id": "1", "model": "m", "choices": [choice]}))


HOSTILE = {
    **{f"{depth} deep": '{"x": ' + nested(depth) + "}" for depth in (98, 101, 240, 300, 900, 100_000)},
    "a number of 4,000 digits": '{"x": ' + "9" * 4000 + "}",
    "a number of 5,000 digits": '{"x": ' + "9" * 5000 + "}",
    "2**64": '{"x": 18446744073709551616}',
    "no number": '{"x": NaN}',
    "half a surrogate pair": '{"x": "\\ud800", "\\udfff": 1}',
    "a zero byte": '{"x": "\\u0000"}',
    "a name twice": '{"x": 1, "x": 2}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_thread_goes_on_whatever_arguments_a_model_gives(
    session: Session, server: ChatServer, name: str
) -> None:
    server.will(call_with(HOSTILE[name]), Answer("done"))
    app = agent(say, tools=[look]).compile()
    with using(ModelSettings(base_url=server.url, model="m", retries=0)):
        assert app.invoke(Question("q"), session.config("t"))["answer"] == "done"
        assert app.invoke(None, session.config("t"))["answer"] == "done"
    assert server.calls == 2


@pytest.mark.parametrize("name", HOSTILE)
def test_a_thread_goes_on_whatever_answer_a_model_gives(
    session: Session, server: ChatServer, name: str
) -> None:
    """What does not fit is asked for again; what fits can be kept."""
    server.will(Answer(HOSTILE[name]), Answer('{"x": 1}'))
    app = chain(give).compile()
    with using(ModelSettings(base_url=server.url, model="m", retries=0)):
        answer = app.invoke(Question("q"), session.config("t"))["answer"]
        assert app.get_state(session.config("t")).values["answer"].keys() == answer.keys()


@pytest.mark.parametrize(
    "deep", [{"extra_content": json.loads(nested(500))}, {"index": json.loads(nested(101))}]
)
def test_a_deep_answer_is_refused_before_it_is_kept(session: Session, server: ChatServer, deep: Any) -> None:
    server.will(call_with("{}", **deep), Answer("done"))
    app = agent(say, tools=[look]).compile()
    with using(ModelSettings(base_url=server.url, model="m", retries=0)):
        with pytest.raises(MalformedResponse, match="nested more than 100 deep"):
            app.invoke(Question("q"), session.config("t"))
        assert app.invoke(None, session.config("t"))["answer"] == "done"
