from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import Any

import pytest

from stepgraph.providers.backends.http import ChatClient
from stepgraph.providers.backends.ondevice import shipped_weights, start_server
from stepgraph.providers.provider_table import provider_named
from stepgraph.providers.settings import ModelSettings
from stepgraph.providers.testing.checks import CHECKS
from stepgraph.providers.testing.conformance import ConformanceFinding, examine

from ...imitator import KEY, MODEL, Imitator
from ...imitators import IMITATORS, VLLM, DeepSeek, Ollama, OpenAI, Together
from ...openrouter_imitator import OpenRouter
from ...servers import CUT, HTML, Answer, ChatServer, Fault

LACKS = {
    OpenAI: {"reasoning text", "own cost"},
    VLLM: {"error: wrong key", "own cost"},
    DeepSeek: {"JSON schema", "own cost"},
    Together: {"JSON schema", "cached tokens", "own cost"},
    OpenRouter: set(),
    Ollama: {"error: wrong key", "cached tokens", "own cost"},
}


async def examined(server: Imitator, **settings: Any) -> tuple[dict[str, ConformanceFinding], dict[str, Any]]:
    values = {"model": "imitated-model", "base_url": server.url, "timeout_s": 10, "api_key": KEY, **settings}
    found, suggested = await examine(ModelSettings(**values))
    return {finding.check: finding for finding in found}, suggested


def lacking(found: dict[str, ConformanceFinding]) -> set[str]:
    return {name for name, finding in found.items() if finding.outcome == "unsupported"}


@pytest.mark.parametrize("kind", IMITATORS, ids=lambda kind: kind.provider)
async def test_what_each_provider_lacks_is_found(kind: type[Imitator]) -> None:
    with kind() as server:
        # The address is the imitator's own, so OpenAI's record must be told apart from a proxy for it.
        record = provider_named(server.provider).capabilities
        capabilities = {"max_tokens": record.max_tokens} if kind is OpenAI else None
        found, _ = await examined(server, provider=server.provider, capabilities=capabilities)
    assert [f.why for f in found.values() if f.outcome == "fail"] == []
    assert list(found) == list(CHECKS)
    assert lacking(found) == LACKS[kind]


async def test_settings_that_suit_an_unknown_endpoint_are_proposed() -> None:
    with DeepSeek() as server:
        found, suggested = await examined(server)
    assert suggested == {"structured": "json_object", "echo": ("reasoning_content",)}
    assert "response_format type is unavailable" in found["JSON schema"].why
    with VLLM(tool_parser=False) as server:
        found, suggested = await examined(server)
    assert suggested == {"tools": "emulated"}
    assert "--enable-auto-tool-choice" in found["tools"].why
    assert found["tools as a workflow asks"].outcome == "pass"
    with Together() as server:
        _, suggested = await examined(server)
    assert suggested == {"schema_in_prompt": True}


async def test_an_endpoint_that_never_answers_is_asked_no_further(server: ChatServer) -> None:
    server.always = HTML
    (finding,), _ = await examine(ModelSettings(model="m", base_url=server.url))
    assert (finding.check, finding.outcome, server.calls) == ("plain answer", "fail", 1)
    assert "HTML page" in finding.why


@pytest.mark.parametrize(
    ("outcome", "check", "problem"),
    [
        (Answer("hello", usage=False), "usage", "does not say how many tokens"),
        (Answer("hello", usage=False), "limit of tokens", "no limit is kept"),
        (Answer("hello", usage=False), "streaming", "without usage|in 1 piece"),
        (Answer("a b c", finish_reason=""), "streaming", "finish_reason|ended before"),
        (Answer("hello"), "error: unknown model", "a typo goes unseen"),
        (Answer("hello"), "error: bad request", "messages that are no list"),
    ],
)
async def test_what_is_wrong_is_named(server: ChatServer, outcome: Answer, check: str, problem: str) -> None:

    server.always = outcome
    findings, _ = await examine(ModelSettings(model="m", base_url=server.url), calls_at_once=2)
    found = {finding.check: finding for finding in findings}
    assert re.search(problem, found[check].why)
    assert found[check].outcome != "pass"


async def test_a_check_that_breaks_does_not_stop_the_others(server: ChatServer) -> None:
    server.will(Answer("hello"), CUT, Fault(500))
    findings, _ = await examine(ModelSettings(model="m", base_url=server.url), calls_at_once=2)
    assert len(findings) == len(CHECKS)
    assert findings[1].outcome == "fail"


@pytest.mark.local
async def test_llama_cpp_itself() -> None:
    running = start_server(shipped_weights())
    values: dict[str, Any] = {"base_url": f"{running.address}/v1", "api_key": running.key}
    findings, suggested = await examine(ModelSettings(model="m", **values), calls_at_once=2)
    found = {finding.check: finding for finding in findings}
    assert [f"{f.check}: {f.why}" for f in findings if f.outcome == "fail"] == []
    for name in (
        "usage",
        "limit of tokens",
        "JSON schema",
        "streaming",
        "log-probabilities",
        "error: wrong key",
    ):
        assert found[name].outcome == "pass", found[name]
    assert suggested == {"tools": "emulated"}


async def test_a_stream_that_is_broken_off_ends_at_the_server_too() -> None:
    with VLLM() as server:
        server.slow_s = 0.01
        wire = ChatClient(server.url, None)
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Count to 100."}]}
        async with aclosing(wire.stream(body)) as chunks:
            assert await anext(chunks)
        assert await asyncio.to_thread(server.gone.wait, 5)
