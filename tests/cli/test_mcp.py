"""`stepgraph mcp` against a real client."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import ElicitResult

from .conftest import Command

WORKFLOW = '''
"""Prints, as careless code does."""
import sys
from dataclasses import dataclass
from stepgraph import chain, review

print("loading")


@dataclass
class Letter:
    """A letter, written and approved."""

    to: str
    text: str = ""
    sent: bool = False


def write(letter: Letter) -> dict[str, str]:
    print("writing", flush=True)
    if letter.to == "nobody":
        raise ValueError("there is nobody")
    return {"text": f"Dear {letter.to}"}


@review("text")
def look(letter: Letter) -> str:
    return f"Send this to {letter.to}?"


def send(letter: Letter) -> dict[str, bool]:
    assert sys.stdin.read() == ""
    return {"sent": True}


letters = chain(write, look, send, name="letters")
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "post.py").write_text(WORKFLOW)
    return tmp_path


class Client:
    """A client that answers what it is asked, and hears of progress."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.heard: list[str | None] = []
        self.session: ClientSession

    async def elicited(self, _: Any, params: Any) -> ElicitResult:
        self.asked.append(params.message)
        return ElicitResult(action="accept" if self.answer else "decline", content=self.answer)

    async def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        async def progress(_: float, __: float | None, message: str | None) -> None:
            self.heard.append(message)

        result = await self.session.call_tool(name, arguments, progress_callback=progress)
        assert json.loads(result.content[0].text) == result.structuredContent
        return {**result.structuredContent, "is_error": result.isError}


@asynccontextmanager
async def over_stdio(folder: Path, answer: Any) -> AsyncIterator[Client]:
    client = Client(answer)
    process = StdioServerParameters(
        command=sys.executable,
        args=["-m", "stepgraph", "mcp", "post.py:letters"],
        cwd=folder,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    async with (
        stdio_client(process) as (reading, writing),
        ClientSession(reading, writing, elicitation_callback=client.elicited) as client.session,
    ):
        await client.session.initialize()
        yield client


@asynccontextmanager
async def over_http(url: str, *, can_ask: bool, bearer: str) -> AsyncIterator[Client]:
    client = Client(None)
    asked = client.elicited if can_ask else None
    async with (
        create_mcp_http_client(headers={"Authorization": bearer}) as web,
        streamable_http_client(url, http_client=web) as (reading, writing, _),
        ClientSession(reading, writing, elicitation_callback=asked) as client.session,
    ):
        await client.session.initialize()
        yield client


async def test_a_workflow_is_a_tool_whose_review_asks_the_clients_user(folder: Path) -> None:
    async with over_stdio(folder, {"decision": "edit", "value": "Hello Ada"}) as client:
        tools = {tool.name: tool for tool in (await client.session.list_tools()).tools}
        assert list(tools) == ["letters", "resume_letters"]
        assert tools["letters"].inputSchema["required"] == ["to"]
        assert tools["letters"].inputSchema["properties"]["sent"]["type"] == "boolean"
        assert "A letter, written and approved." in tools["letters"].description

        done = await client.call("letters", to="Ada", thread_id="t1")
        assert (done["thread_id"], done["status"]) == ("t1", "done")
        assert done["output"] == {"to": "Ada", "text": "Hello Ada", "sent": True}
        assert client.asked == ['Send this to Ada?\ntext: "Dear Ada"']
        assert client.heard == ["write", "look", "send"]

        wrong = await client.call("letters", to="nobody")
        assert (wrong["is_error"], wrong["status"]) == (True, "failed")
        assert wrong["message"] == "ValueError: there is nobody"


async def test_the_workers_on_code_are_tools_of_one_folder(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "totals.py").write_text("def total(items):\n    return sum(items)\n")
    (tmp_path / "outside.py").write_text("x = 1\n")
    process = StdioServerParameters(
        command=sys.executable,
        args=["-m", "stepgraph", "mcp", "code-tools", "--folder", "shop", "--write"],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    async with (
        stdio_client(process) as (reading, writing),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        reads = {name: tool.annotations.readOnlyHint for name, tool in tools.items() if tool.annotations}
        assert reads == {"search_code": True, "compress_code": True, "apply_edit": False}

        found = await session.call_tool("search_code", {"query": "the total of the items"})
        assert "totals.py:1-2" in found.content[0].text
        change = {"file": "totals.py", "snippet": "def total(items):\n    return 2 * sum(items)\n"}
        assert (await session.call_tool("apply_edit", change)).content[0].text.startswith("Written:")
        assert "2 * sum" in (shop / "totals.py").read_text()
        for wrong in ({"file": "../outside.py", "snippet": "x = 2\n"}, {"file": "totals.py"}):
            assert (await session.call_tool("apply_edit", wrong)).isError
        assert (tmp_path / "outside.py").read_text() == "x = 1\n"


def test_the_options_of_the_workers_go_with_them(command: Command, folder: Path) -> None:
    done = command("mcp", "post.py:letters", "--folder", ".")
    assert (done.code, "--folder goes with code-tools" in done.err) == (2, True)


@contextmanager
def served(folder: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
    """Serve the workflow over HTTP; yield the address and the header that it prints."""
    command = [sys.executable, "-m", "stepgraph", "mcp", "post.py:letters", "--http", *options]
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    process = subprocess.Popen(
        command, cwd=folder, stdout=pipe, stderr=nothing, text=True, env={**os.environ, **(env or {})}
    )
    try:
        assert process.stdout is not None
        url = next(line.strip() for line in process.stdout if line.startswith("http"))
        yield url, next(process.stdout).strip().removeprefix("Authorization: ")
    finally:
        process.terminate()
        process.communicate()


def asked(url: str, headers: Mapping[str, str]) -> int:
    """Return the status of a request to begin a session."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    form = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    return httpx.post(url, json=body, headers={**form, **headers}).status_code


def test_over_http_only_who_has_the_token_can_call(folder: Path) -> None:
    with served(folder) as (url, bearer):
        assert re.fullmatch(r"Bearer [\w-]{43}", bearer)
        assert asked(url, {"Authorization": bearer}) == 200
        for wrong in ("", "Bearer", "Bearer x", f"Basic {bearer[7:]}", bearer[:-1], bearer + "x"):
            assert asked(url, {"Authorization": wrong} if wrong else {}) == 401, wrong
        assert asked(url, {"Authorization": bearer, "Origin": "https://evil.example"}) == 403
        assert asked(url, {"Authorization": bearer, "Host": "evil.example"}) == 421


def test_the_token_may_be_that_of_a_variable(folder: Path) -> None:
    token = "a-token-of-ones-own-0123"
    with served(folder, "--token-env", "OWN_TOKEN", env={"OWN_TOKEN": token}) as (url, told):
        assert token not in told
        assert asked(url, {"Authorization": f"Bearer {token}"}) == 200
        assert asked(url, {"Authorization": "Bearer another-token-0123456"}) == 401


@pytest.mark.parametrize(
    ("options", "value", "told"),
    [
        (("--http", "--token-env", "OWN_TOKEN"), None, "OWN_TOKEN is not set"),
        (("--http", "--token-env", "OWN_TOKEN"), "short", "at least 16 characters"),
        (("--token-env", "OWN_TOKEN"), "a-token-of-ones-own-0123", "--token-env goes with --http"),
    ],
)
def test_a_token_that_cannot_be_is_told(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, options: Any, value: Any, told: str
) -> None:
    monkeypatch.delenv("OWN_TOKEN", raising=False)
    if value:
        monkeypatch.setenv("OWN_TOKEN", value)
    done = command("mcp", "post.py:letters", *options)
    assert done.code == 2
    assert told in done.err


async def test_over_http_a_run_waits_for_who_answers_later(folder: Path) -> None:
    with served(folder) as (url, bearer):
        async with over_http(url, can_ask=False, bearer=bearer) as client:
            waiting = await client.call("letters", to="Ada")
            assert waiting["status"] == "interrupted"
            assert "Send this to Ada?" in waiting["waiting"][0]["question"]
            assert client.heard[0] == "write"
        async with over_http(url, can_ask=True, bearer=bearer) as client:  # who declines has not answered
            again = await client.call("resume_letters", thread_id=waiting["thread_id"])
            assert (again["status"], len(client.asked)) == ("interrupted", 1)
            done = await client.call("resume_letters", thread_id=waiting["thread_id"], answer="approve")
            assert (done["status"], done["output"]["sent"]) == ("done", True)
