"""Servers of tools that fail, hang, or are not there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stepgraph import (
    MCPServer,
    ScriptedModel,
    Session,
    ToolCall,
    agent,
    arun,
    mcp,
    using,
)
from stepgraph.errors import MCPServerFailed, SettingsError
from stepgraph.nodes.mcp_sessions import ServerSession, _ServerLog

from .mcp_cases import (
    SERVER,
    Desk,
    Shop,
    Ticket,
    assist,
    desk as desk,
    lines,
    log as log,
    served_shop as served_shop,
    shop as shop,
    stdio as stdio,
)

SILENT = "import time; print('Welcome!', flush=True); time.sleep(3600)"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ([str(SERVER), "LOG"], "ended while die was called. Its last lines on stderr:\nout of stock, ***"),
        (["-c", "exit('the database is gone')"], "the database is gone"),
        (["-S", "-c", SILENT], "within 3 s. On stdout it wrote what is not the protocol: 'Welcome!'"),
    ],
)
def test_a_server_that_fails_is_named_with_its_last_words(
    command: list[str], told: str, desk: Desk, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "swordfish")
    words = [sys.executable, *(str(log) if word == "LOG" else word for word in command)]
    wait = 3 if SILENT in command else 60
    server = mcp(words, name="shop", start_s=wait, env={"SHOP_KEY": "$THE_KEY"})
    with pytest.raises(MCPServerFailed) as failed:
        desk(server, [ToolCall("die", {})])
    assert "MCP server 'shop'" in str(failed.value)
    assert told in str(failed.value)
    assert failed.value.server == "shop"


@pytest.mark.parametrize(("code", "is_doubtful"), [(-32601, False), (-32602, False), (-32603, True)])
def test_an_error_of_the_protocol_is_no_end_of_the_connection(
    code: int, is_doubtful: bool, desk: Desk, stdio: Callable[..., MCPServer]
) -> None:
    """What the server has no tool or no fitting arguments for did not happen; anything else may have."""
    desk(stdio(str(code)), [ToolCall("refund", {"order": "A"}), "ok"])
    (result,) = desk.results()
    assert "not like this" in result
    assert ("Nobody knows whether it took effect" in result) == is_doubtful


def test_a_variable_that_is_not_set_is_named(desk: Desk, stdio: Callable[..., MCPServer]) -> None:
    with pytest.raises(SettingsError, match="MISSING_KEY is not set"):
        desk(stdio(env={"X": "$MISSING_KEY"}), [])


def test_a_call_that_hangs_is_left_and_its_server_told(desk: Desk, shop: Shop) -> None:
    desk(shop(), [ToolCall("hang", {}), ToolCall("count", {}), "enough"], timeout_s=0.3)
    assert desk.results()[0] == "hang failed: it was stopped after 0.3 s."
    until(lambda: "hang was cancelled" in shop.calls)


@pytest.mark.parametrize("server", ["nonsense-command", "http://127.0.0.1:9/mcp"])
def test_a_server_that_is_not_there_fails_before_any_call(server: str, desk: Desk) -> None:
    with pytest.raises(MCPServerFailed, match=r"command 'nonsense-command'|did not start"):
        desk(mcp(server, name="shop"), [])


def test_a_killed_run_leaves_no_server_behind(tmp_path: Path, log: Path) -> None:
    script = tmp_path / "stopped.py"
    script.write_text(
        "import sys\n"
        "from dataclasses import dataclass\n"
        "from stepgraph import Ask, ScriptedModel, Session, ToolCall, agent, mcp, run, step, using\n"
        "@dataclass\n"
        "class Ticket:\n    reply: str = ''\n"
        "@step('reply')\n"
        "def assist(ticket: Ticket) -> Ask[str]:\n    return Ask('?')\n"
        f"graph = agent(assist, tools=mcp([sys.executable, {str(SERVER)!r}, {str(log)!r}])).compile()\n"
        "model = ScriptedModel([ToolCall('hang', {})])\n"
        f"with Session({str(tmp_path / 'runs.sqlite')!r}) as session, using(model):\n"
        "    run(graph, Ticket(), session, 't')\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    until(lambda: "hang" in lines(log))
    process.kill()
    process.wait()
    until(lambda: lines(log)[-1] == "end")


async def test_a_cancelled_run_closes_its_servers(
    stdio: Callable[..., MCPServer], log: Path, tmp_path: Path
) -> None:
    graph = agent(assist, tools=stdio()).compile()
    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel([ToolCall("hang", {})])):
        running = asyncio.create_task(arun(graph, Ticket(), session, "t"))
        await asyncio.to_thread(until, lambda: "hang" in lines(log))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.with_suffix(".pid").read_text()), 0)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


class Unanswering:
    """A client whose server's list cannot be read: such an answer is dropped."""

    async def list_tools(self, **_: object) -> None:
        await asyncio.Event().wait()


def test_a_list_of_tools_that_cannot_be_read_is_not_waited_for_without_end() -> None:
    server = mcp(["shop"], name="shop", start_s=0.05)
    told = _ServerLog([])
    session = ServerSession(server, told)
    session.client = Unanswering()  # type: ignore[assignment]
    with told.file, pytest.raises(MCPServerFailed, match=r"did not list its tools within 0\.05 s"):
        asyncio.run(session.tools())
