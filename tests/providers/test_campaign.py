"""Everything that can go wrong on the wire, once with another model to fall back on and once without."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from stepgraph import Ask, Session, chain, step, using
from stepgraph.state.errors import MalformedResponse, ModelError, ModelUnavailable, ModelUnreachable

from ..servers import (
    CUT,
    EMPTY_CHOICES,
    ERROR_BODY,
    HALF_JSON,
    HTML,
    Answer,
    ChatServer,
    Fault,
    unused_url,
)

KEY = "plugh-0123456789-xyzzy"
RUNS = int(os.environ.get("STEPGRAPH_CAMPAIGN_RUNS", "100"))
EVENT_STREAM = "text/event-stream"


def event(delta: str, finish: str = "null") -> str:
    return (
        f'data: {{"id": "1", "choices": [{{"index": 0, "delta": {delta}, "finish_reason": {finish}}}]}}\n\n'
    )


HELLO, WORLD, END = event('{"content": "Hello "}'), event('{"content": "world"}'), event("{}", '"stop"')

FAULTS: dict[str, tuple[Fault, type[ModelError]]] = {
    "reset before the answer": (Fault(reset=True), ModelUnreachable),
    "reset during the answer": (CUT, ModelUnreachable),
    "slow drip": (Fault(body='{"id": "1", "choices": [' * 9, drip_s=0.05), ModelUnreachable),
    "half a JSON": (HALF_JSON, MalformedResponse),
    "wrong content type": (Fault(body="ok", content_type="text/plain"), MalformedResponse),
    "200 with an error body": (ERROR_BODY, ModelUnavailable),
    "HTML of a proxy": (HTML, MalformedResponse),
    "429 with Retry-After": (Fault(429, headers={"Retry-After": "0"}), ModelUnavailable),
    "429 without": (Fault(429, f'{{"error": "limit of {KEY}"}}'), ModelUnavailable),
    "500": (Fault(500, f"Traceback: Authorization: Bearer {KEY}", "text/plain"), ModelUnavailable),
    "empty choices": (EMPTY_CHOICES, MalformedResponse),
    "choices of another type": (Fault(body='{"choices": {"0": {}}}'), MalformedResponse),
    "a list": (Fault(body="[]"), MalformedResponse),
    "invalid UTF-8": (Fault(body=b'{"choices": [{"message": {"content": "\xff\xfe"}}]}'), MalformedResponse),
    "more than can be": (Fault(body=b" " * (17 << 20)), MalformedResponse),
}
STREAM_FAULTS: dict[str, tuple[str, bool, type[ModelError]]] = {
    "cut": (HELLO, True, ModelUnreachable),
    "ends early": (HELLO, False, MalformedResponse),
    "half a chunk": (HELLO + 'data: {"choices": [{"del\n\n', False, MalformedResponse),
    "an error in mid-stream": (HELLO + 'data: {"error": {"message": "gone"}}\n\n', False, ModelUnavailable),
    "no choices at all": ("data: [DONE]\n\n", False, MalformedResponse),
}


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write about {post.topic}")


app = chain(write).compile()


@pytest.fixture(autouse=True)
def _nothing_tells_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Look for the key in every log and in every file that a test leaves."""
    monkeypatch.setenv("SOME_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    yield
    assert KEY not in caplog.text
    for file in tmp_path.iterdir():
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


@pytest.fixture
def other() -> Iterator[ChatServer]:
    with ChatServer() as other:
        other.always = Answer("from the other")
        yield other


def spec(server: ChatServer, **settings: Any) -> dict[str, Any]:
    drips = isinstance(server.always, Fault) and server.always.drip_s
    return server.spec(api_key_env="SOME_KEY", retries=0, timeout_s=1 if drips else 60, **settings)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_ends_in_a_typed_error(server: ChatServer, session: Session, name: str) -> None:
    server.always, kind = FAULTS[name]
    with using(spec(server)), pytest.raises(kind) as caught:
        await app.ainvoke(Post(), session.config())
    told = str(caught.value)
    assert told.startswith(f"Step 'write': served at {server.url}")
    assert KEY not in told
    (call,) = session.journal.query("SELECT status, attempt, problem, latency_s FROM calls")
    assert (call["status"], call["attempt"]) == ("failed", 1)
    assert call["latency_s"] > 0
    assert kind.__name__ in call["problem"]


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_fallen_back_from(
    server: ChatServer, other: ChatServer, session: Session, name: str
) -> None:
    server.always, kind = FAULTS[name]
    with using([spec(server), spec(other)]):
        assert (await app.ainvoke(Post(), session.config()))["draft"] == "from the other"
    calls = session.journal.query("SELECT status, attempt, reason FROM calls ORDER BY attempt")
    assert [(call["status"], call["attempt"]) for call in calls] == [("failed", 1), ("answered", 2)]
    assert calls[1]["reason"].startswith(f"fallback: served failed ({kind.__name__}")


@pytest.mark.parametrize("name", STREAM_FAULTS)
async def test_a_broken_stream_is_redone_by_the_other_and_says_so(
    server: ChatServer, other: ChatServer, session: Session, name: str
) -> None:
    body, cut, kind = STREAM_FAULTS[name]
    server.always = Fault(body=body, content_type=EVENT_STREAM, cut=cut)
    with using([spec(server), spec(other)]):
        stream = app.astream(Post(), session.config(), stream_mode="messages")
        chunks = [message async for message, _ in stream]
    text: dict[str, str] = {}
    for chunk in chunks:
        text[chunk.id] = text.get(chunk.id, "") + chunk.text
        if "broken" in chunk.response_metadata.get("stepgraph", {}):
            del text[chunk.id]
    assert "".join(text.values()).split() == ["from", "the", "other"]
    calls = session.journal.query("SELECT status, problem FROM calls ORDER BY attempt")
    assert [call["status"] for call in calls] == ["failed", "answered"]
    assert kind.__name__ in calls[0]["problem"]


async def test_where_nobody_listens_the_other_is_asked(other: ChatServer) -> None:
    nowhere = {"base_url": unused_url(), "model": "m", "retries": 0}
    with using([nowhere, spec(other)]):
        assert await write.answer(Post()) == "from the other"


async def test_a_certificate_that_nobody_vouches_for(
    other: ChatServer, tmp_path: Path, session: Session
) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {cert}"
    )
    await asyncio.to_thread(subprocess.run, command.split(), check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    untrusted = {"base_url": f"https://127.0.0.1:{port}/v1", "model": "m"}
    try:
        with using(untrusted), pytest.raises(ModelUnreachable, match=r"cannot be trusted .*SSL_CERT_FILE"):
            await app.ainvoke(Post(), session.config())
        assert len(session.journal.query("SELECT id FROM calls")) == 1  # not tried again
        with using([untrusted, spec(other)]):
            assert await write.answer(Post()) == "from the other"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("usage", "known"),
    [
        (None, (None, None)),
        ('{"prompt_tokens": -5, "completion_tokens": "many"}', (None, None)),
        ('{"prompt_tokens": 7, "completion_tokens": 0}', (7, None)),
        ('{"prompt_tokens": true, "completion_tokens": 1.5}', (1, None)),
        ("[1, 2]", (None, None)),
    ],
)
async def test_a_usage_that_cannot_be_is_unknown(
    server: ChatServer, session: Session, usage: str | None, known: tuple[int | None, int | None]
) -> None:
    extra = f', "usage": {usage}' if usage else ""
    server.always = Fault(body=f'{{"choices": [{{"message": {{"content": "ok"}}}}]{extra}}}')
    with using(spec(server)):
        assert (await app.ainvoke(Post(), session.config()))["draft"] == "ok"
    (call,) = session.journal.query("SELECT input_tokens, output_tokens, cost_usd FROM calls")
    assert (call["input_tokens"], call["output_tokens"], call["cost_usd"]) == (*known, None)


async def test_ten_megabytes_are_taken(server: ChatServer) -> None:
    server.always = Answer("x" * (10 << 20))
    with using(server.spec(timeout_s=300)):
        assert len(await write.answer(Post())) == 10 << 20


async def test_a_burst_of_errors_passes(server: ChatServer, session: Session) -> None:
    server.will(Fault(500), Fault(503), Fault(429, headers={"Retry-After": "0.1"}), Answer("Boil."))
    with using(server.spec(retries=3)):
        assert (await app.ainvoke(Post(), session.config()))["draft"] == "Boil."
    assert [c["attempt"] for c in session.journal.query("SELECT attempt FROM calls")] == [1, 2, 3, 4]


async def test_a_call_that_is_cancelled_reaches_the_socket(server: ChatServer, session: Session) -> None:
    server.always = Answer(delay_s=30)
    with using(server.spec(timeout_s=60)):
        run = asyncio.create_task(app.ainvoke(Post(), session.config()))
        await asyncio.wait_for(asyncio.to_thread(server.asked.wait), 20)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    for _ in range(500):
        if server.disconnects:
            break
        await asyncio.sleep(0.01)
    assert server.disconnects == 1
    (call,) = session.journal.query("SELECT status, problem FROM calls")
    assert call["status"] == "failed"


async def test_many_runs_over_an_endpoint_that_fails_now_and_then(
    server: ChatServer, other: ChatServer, session: Session
) -> None:
    """30 % of the first endpoint's calls fail; every run completes, and no call is made without need."""
    dice, failures = random.Random(7), 0

    def decide() -> Answer | Fault:
        nonlocal failures
        if dice.random() >= 0.3:
            return Answer("ok")
        failures += 1
        return dice.choice([Fault(500), Fault(429), HALF_JSON, CUT, Fault(reset=True)])

    server.decide = decide
    gate = asyncio.Semaphore(50)

    async def run() -> str:
        async with gate:
            return str((await app.ainvoke(Post(), session.config()))["draft"])

    patient = {"timeout_s": 60}  # 50 at a time on a busy machine
    with using([{**spec(server), **patient}, {**spec(other), **patient}]):
        drafts = await asyncio.gather(*(run() for _ in range(RUNS)))
    assert drafts.count("ok") + drafts.count("from the other") == RUNS
    assert server.calls <= RUNS
    assert other.calls == RUNS - drafts.count("ok")
    assert server.calls + other.calls <= RUNS + failures
    recorded = session.journal.query("SELECT status, count(*) AS n FROM calls GROUP BY status")
    assert {row["status"]: row["n"] for row in recorded} == {"answered": RUNS, "failed": failures}
