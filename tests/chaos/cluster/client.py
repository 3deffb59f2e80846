"""The model of the kill matrix, as a run sees it, and the server behind it, as the matrix sees it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepgraph import Reply, Request, ScriptedModel, ToolCall
from stepgraph.providers.model import CallContext
from stepgraph.providers.prices import Price

from ..compositions.model import checked_at, looked_at

ROOT = Path(__file__).parents[3]
PRICE = Price(input=1.0, output=1.0)


@dataclass(frozen=True)
class Models:
    """The server."""

    port: int

    def arm(self, run: str, life: int, number: int, signal: int) -> None:
        """Have the process of a life sent a signal when its so manieth question comes in."""
        self._tell({"arm": run, "life": life, "number": number, "signal": int(signal)})

    def asked(self, run: str) -> list[dict[str, Any]]:
        """Return all questions of a run, in the order in which they came in."""
        lines: list[dict[str, Any]] = self._tell({"asked": run})
        return lines

    def _tell(self, said: dict[str, Any]) -> Any:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(json.dumps(said).encode() + b"\n")
            with connection.makefile("rb") as lines:
                return json.loads(lines.readline())


@contextmanager
def serving() -> Iterator[Models]:
    """Start the server, in a process of its own."""
    command = [sys.executable, "-m", "tests.chaos.cluster.server"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        try:
            yield Models(int(process.stdout.readline()))
        finally:
            process.kill()


class RemoteModel(ScriptedModel):
    """Asks the server, on a connection for each question."""

    def __init__(self, port: int, run: str, seed: int, rich: bool, life: int, delay_s: float = 0.012) -> None:
        super().__init__(lambda *_: "", price=PRICE)
        self._port = port
        self._told = {"ask": run, "seed": seed, "rich": rich, "life": life, "delay_s": delay_s}

    async def complete(self, request: Request, context: CallContext) -> Reply:
        assert context.key is not None
        said = {
            **self._told,
            "pid": os.getpid(),
            "thread": context.key.thread_id,
            "call": [context.key.task, context.key.request_hash, context.key.occurrence],
            "step": context.step,
            "looked": looked_at.get(),
            "checked": checked_at.get(),
            "request": {
                "messages": [dict(message) for message in request.messages],
                "tools": bool(request.tools),
                "sample": request.sample,
            },
        }
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**26)
        try:
            writer.write(json.dumps(said, default=str).encode() + b"\n")
            heard = json.loads(await reader.readline())
        finally:
            writer.close()
        answer = ToolCall(heard["tool"], heard["arguments"]) if "tool" in heard else heard["answer"]
        return await ScriptedModel(lambda *_: answer, price=PRICE).complete(request, context)
