"""A desk that asks a shop's tools, which a server has."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from stepgraph import (
    Ask,
    MCPServer,
    RunResult,
    ScriptedModel,
    Session,
    agent,
    mcp,
    run,
    step,
    using,
)

from ..mcp_server import served

SERVER = Path(__file__).parents[1] / "mcp_server.py"


@dataclass
class Ticket:
    text: str = "Where is A?"
    reply: str = ""


@step("reply")
def assist(ticket: Ticket) -> Ask[str]:
    return Ask(ticket.text)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture(scope="module")
def served_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server over HTTP, for all tests that need no process of its own: its address, and what it logs."""
    log = tmp_path_factory.mktemp("shop") / "log"
    server = uvicorn.Server(uvicorn.Config(served(log).streamable_http_app(), log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", log
        server.should_exit = True
        thread.join()


class Shop:
    """The server over HTTP, as one test sees it."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log
        log.write_text("")

    def __call__(self, **options: Any) -> MCPServer:
        return mcp(self.url, **{"name": "shop", **options})

    @property
    def calls(self) -> list[str]:
        return lines(self._log)


@pytest.fixture
def shop(served_shop: tuple[str, Path]) -> Shop:
    return Shop(*served_shop)


@pytest.fixture
def stdio(log: Path) -> Callable[..., MCPServer]:
    def make(mode: str = "plain", **options: Any) -> MCPServer:
        return mcp([sys.executable, str(SERVER), str(log), mode], **{"name": "shop", **options})

    return make


class Desk:
    """Runs an agent on a thread, and keeps what its model was shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shown: list[dict[str, Any]] = []

    def __call__(
        self, tools: Any, script: Sequence[Any], given: Any = None, thread: str = "t", **options: Any
    ) -> RunResult[Any]:
        model = ScriptedModel(script)
        with Session(self.folder / "runs.sqlite") as session, using(model):
            try:
                return run(
                    agent(assist, tools=tools, **options).compile(), given or Ticket(), session, thread
                )
            finally:
                self.shown = [dict(m) for m in model.asks[-1][1].messages] if model.asks else []

    def results(self) -> list[Any]:
        return [message["content"] for message in self.shown if message["role"] == "tool"]

    def decisions(self) -> list[str]:
        with Session(self.folder / "runs.sqlite") as session:
            rows = session.journal.query("SELECT reason FROM decisions WHERE kind = 'tool'", ())
            return [row["reason"] for row in rows]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
