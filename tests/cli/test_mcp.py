"""`stepgraph mcp` against a real client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult

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
async def over_http(url: str, *, can_ask: bool) -> AsyncIterator[Client]:
    client = Client(None)
    asked = client.elicited if can_ask else None
    async with (
        streamable_http_client(url) as (reading, writing, _),
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


def started(command: list[str], folder: Path) -> subprocess.Popen[str]:
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=nothing, text=True)


async def test_over_http_a_run_waits_for_who_answers_later(folder: Path) -> None:
    command = [sys.executable, "-m", "stepgraph", "mcp", "post.py:letters", "--http"]
    process = started(command, folder)
    try:
        assert process.stdout is not None
        url = next(line.strip() for line in process.stdout if line.startswith("http"))
        assert url.startswith("http://127.0.0.1:")
        async with over_http(url, can_ask=False) as client:
            waiting = await client.call("letters", to="Ada")
            assert waiting["status"] == "interrupted"
            assert "Send this to Ada?" in waiting["waiting"][0]["question"]
            assert client.heard[0] == "write"
        async with over_http(url, can_ask=True) as client:  # who declines to say has not answered
            again = await client.call("resume_letters", thread_id=waiting["thread_id"])
            assert (again["status"], len(client.asked)) == ("interrupted", 1)
            done = await client.call("resume_letters", thread_id=waiting["thread_id"], answer="approve")
            assert (done["status"], done["output"]["sent"]) == ("done", True)
    finally:
        process.terminate()
        process.communicate()
