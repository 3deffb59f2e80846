from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from stepgraph import Ask, chain, step, using
from stepgraph.providers.backends.endpoint import Endpoint
from stepgraph.providers.model import CallContext, Request
from stepgraph.providers.testing.tape import Tape, _events
from stepgraph.state.errors import ModelError, ModelRefused, ModelUnavailable, ScriptError, SettingsError
from stepgraph.state.masking import EVERYTHING
from stepgraph.state.session.session import Session

from ...imitator import KEY, MODEL, Imitator
from ...imitators import IMITATORS, DeepSeek
from ...servers import Answer, ChatServer, Fault

SECRET = "sk-abcdefghijklmnop0123456789"


class Grade(BaseModel):
    score: int


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""
    grade: Grade | None = None


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write about {post.topic}.")


@step("grade")
def judge(post: Post) -> Ask[Grade]:
    return Ask(f"Grade: {post.draft}")


app = chain(write, judge).compile()


class Ear:
    listened = True

    def __init__(self) -> None:
        self.pieces: list[str] = []

    async def emit(self, text: str = "", *, reasoning: str = "") -> None:
        self.pieces.append(text or reasoning)


@pytest.mark.parametrize("kind", IMITATORS, ids=lambda kind: kind.provider)
async def test_what_each_provider_said_is_replayed_without_it(
    kind: type[Imitator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tapes" / "post.jsonl"
    hello = Request(({"role": "user", "content": "Say hello."},), max_tokens=20)
    seen = []
    monkeypatch.setenv("SOME_KEY", KEY)
    with kind() as server:
        spec = {"model": MODEL, "base_url": server.url, "api_key_env": "SOME_KEY"}
        for _ in range(2):
            ear = Ear()
            with Tape(path, spec) as tape:
                endpoint = Endpoint(tape.model)
                replies = [
                    await endpoint.complete(hello, CallContext("s")) if kind.provider != "openai" else None,
                    await endpoint.complete(Request(hello.messages), CallContext("s", sink=ear)),
                ]
                seen.append([(r.text, r.usage, r.reasoning, r.cost_usd) for r in replies if r] + [ear.pieces])
            calls = server.calls
            monkeypatch.delenv("SOME_KEY", raising=False)
    assert seen[0] == seen[1]
    assert tape.replays
    assert tape.left == 0
    assert calls == len([reply for reply in replies if reply])
    assert KEY not in path.read_text()


async def test_a_workflow_is_replayed_with_its_structured_answers(
    server: ChatServer, tmp_path: Path, session: Session
) -> None:
    path = tmp_path / "post.jsonl"
    server.will("Boil water.", '{"score": 4}')
    with Tape(path, server.spec()) as tape, using(tape.model):
        first = await app.ainvoke(Post())
    with Tape(path, server.spec()) as tape, using(tape.model):
        assert await app.ainvoke(Post(), session.config()) == first
    assert server.calls == 2
    (row,) = session.journal.query("SELECT sum(input_tokens) AS given FROM calls")
    assert row["given"] == 200


async def test_equal_requests_get_their_answers_in_order(server: ChatServer, tmp_path: Path) -> None:
    path = tmp_path / "post.jsonl"
    server.will("one", "two", "three")
    with Tape(path, server.spec()) as tape, using(tape.model):
        recorded = [await write.answer(Post()) for _ in range(3)]
    with Tape(path, server.spec()) as tape, using(tape.model):
        assert [await write.answer(Post()) for _ in range(3)] == recorded == ["one", "two", "three"]
        with pytest.raises(ModelRefused, match="no further answer to this request"):
            await write.answer(Post())


async def test_parallel_calls_find_their_own_answers(server: ChatServer, tmp_path: Path) -> None:
    path = tmp_path / "post.jsonl"
    topics = [Post(topic=str(number)) for number in range(20)]
    server.will(*(Answer(f"about {number}", delay_s=0.001) for number in range(20)))
    with Tape(path, server.spec(max_concurrency=1)) as tape, using(tape.model):
        recorded = [await write.answer(topic) for topic in topics]
    with Tape(path, server.spec()) as tape, using(tape.model):
        assert await asyncio.gather(*map(write.answer, topics)) == recorded


async def test_a_changed_prompt_is_told(server: ChatServer, tmp_path: Path) -> None:
    path = tmp_path / "post.jsonl"
    with Tape(path, server.spec()) as tape, using(tape.model):
        await write.answer(Post())
    with Tape(path, server.spec()) as tape, using(tape.model):
        with pytest.raises(ModelRefused, match=r"post\.jsonl has no answer.*parameters changed"):
            await write.answer(Post(topic="coffee"))
        assert tape.left == 1
    with Tape(path, server.spec(), record=True) as tape, using(tape.model):
        await write.answer(Post(topic="coffee"))
    assert "coffee" in path.read_text()


async def test_failures_are_on_tape_too(server: ChatServer, tmp_path: Path) -> None:
    path = tmp_path / "post.jsonl"
    server.will(Fault(429, headers={"Retry-After": "0"}), "Boil.")
    with Tape(path, server.spec(retries=1)) as tape, using(tape.model):
        await write.answer(Post())
    calls = server.calls
    with Tape(path, server.spec(retries=0)) as tape, using(tape.model):
        with pytest.raises(ModelUnavailable):
            await write.answer(Post())
        assert await write.answer(Post()) == "Boil."
    assert server.calls == calls


@pytest.mark.parametrize("body", [b"\xff\xfe not text", b"{}"])
async def test_bytes_that_are_no_text_are_kept(body: bytes, tmp_path: Path) -> None:
    from aiohttp import web

    async def serve(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    application = web.Application()
    application.router.add_post("/v1/chat/completions", serve)
    runner = web.AppRunner(application)
    await runner.setup()
    context = web.TCPSite(runner, "127.0.0.1", 0)
    await context.start()
    spec = {"model": "m", "base_url": f"http://127.0.0.1:{runner.addresses[0][1]}/v1", "retries": 0}
    told = []
    for _ in range(2):
        with Tape(tmp_path / "t.jsonl", spec) as tape:
            endpoint = Endpoint(tape.model)
            with pytest.raises(ModelError) as caught:
                await endpoint.complete(Request(({"role": "user", "content": "x"},)), CallContext("s"))
            told.append(str(caught.value).replace(tape.url, "here"))
    await runner.cleanup()
    assert told[0] == told[1]


async def test_keys_are_not_on_tape(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "post.jsonl"
    monkeypatch.setenv("SOME_KEY", "plain-Secret+key/1")
    echo = {"error": {"message": "no such key: plain-Secret+key/1", "url": "plain-Secret%2Bkey%2F1"}}
    server.will(Fault(401, body=json.dumps(echo), headers={"Set-Cookie": "session=abc"}), f"Use {SECRET}.")
    with Tape(path, server.spec(api_key_env="SOME_KEY", retries=0)) as tape, using(tape.model):
        with pytest.raises(ModelError):
            await write.answer(Post())
        await write.answer(Post(topic=f"the key {SECRET}"))
    text = path.read_text()
    for secret in ("plain-Secret", SECRET, "session=abc", "Authorization", "Bearer"):
        assert secret not in text
    monkeypatch.delenv("SOME_KEY")
    with Tape(path, server.spec(api_key_env="SOME_KEY", retries=0)) as tape, using(tape.model):
        with pytest.raises(ModelError):
            await write.answer(Post())
        assert "[key]" in await write.answer(Post(topic=f"the key {SECRET}"))


async def test_personal_data_is_masked_on_demand(server: ChatServer, tmp_path: Path) -> None:
    path = tmp_path / "post.jsonl"
    server.will("Write to ann@example.com.")
    for _ in range(2):
        with Tape(path, server.spec(), mask=EVERYTHING) as tape, using(tape.model):
            answer = await write.answer(Post(topic="bob@example.org"))
    assert "example" not in path.read_text()
    assert answer == "Write to [email]."


def test_a_tape_of_a_failed_block_is_not_written(server: ChatServer, tmp_path: Path) -> None:
    path = tmp_path / "post.jsonl"
    with pytest.raises(ZeroDivisionError), Tape(path, server.spec()) as tape, using(tape.model):
        _ = 1 / len(write.invoke(Post())["draft"].removeprefix("ok"))
    assert not path.exists()
    with pytest.raises(ScriptError, match="Nothing was asked"), Tape(path, server.spec()):
        pass


def test_an_unreachable_provider_is_told_and_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "post.jsonl"
    spec = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "retries": 0}
    unreachable = pytest.raises(ModelUnavailable, match=r"127\.0\.0\.1:9/v1 cannot be reached")
    with unreachable, Tape(path, spec) as tape, using(tape.model):
        write.invoke(Post())
    assert not path.exists()


def test_a_file_that_is_no_tape_is_told(tmp_path: Path) -> None:
    path = tmp_path / "post.jsonl"
    path.write_text('{"request": {}}\n')
    with pytest.raises(ScriptError, match=r"post\.jsonl, line 1 is no exchange"):
        Tape(path, {"model": "m", "base_url": "http://h/v1"})
    with pytest.raises(SettingsError, match="no provider whose traffic"):
        Tape(path, "local")


@pytest.mark.parametrize(
    ("spec", "spelling"), [("openai:gpt-5-mini", "max_completion_tokens"), ("deepseek:deepseek-chat", None)]
)
def test_a_provider_by_way_of_a_tape_keeps_its_record(
    spec: str, spelling: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "post.jsonl"
    path.write_text("")
    with Tape(path, spec) as tape:
        settings: Any = tape.model
        endpoint = Endpoint(settings)
        assert endpoint.can.max_tokens == (spelling or "max_tokens")
        assert endpoint.address == tape.url


def test_a_second_imitated_run_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "post.jsonl"
    monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)
    with DeepSeek() as server:
        spec = server.spec()
        with Tape(path, spec) as tape, using(tape.model):
            write.invoke(Post())
    monkeypatch.delenv("DEEPSEEK_API_KEY")
    with Tape(path, spec) as tape, using(tape.model):
        assert write.invoke(Post())["draft"] == "ok"


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("data: a\n\ndata: b\n\n", ["data: a\n\n", "data: b\n\n"]),
        ("\n: hi\n\ndata: a\n\ndata: cut", ["\n: hi\n\n", "data: a\n\n", "data: cut"]),
        ('{"text": "a\n\nb"}', ['{"text": "a\n\nb"}']),
    ],
)
def test_a_stream_is_kept_event_by_event(body: str, parts: list[str]) -> None:
    assert _events(body) == parts
