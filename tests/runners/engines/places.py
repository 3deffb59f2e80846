"""Where the tests of engines run: one engine with a database, a worker, and the model that it asks."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph import RunHandle, ScriptedModel, asubmit, aworker
from stepgraph.providers.model import CallContext, Request
from stepgraph.runners.sessions import close_sessions
from stepgraph.state.errors import ModelRefused

from . import flows

MODULE = "tests.runners.engines.flows"
LIMIT_S = 60


class Model(ScriptedModel):
    """Answers at once, or holds a call back until it may; refuses what it is to refuse, once."""

    def __init__(self) -> None:
        super().__init__(self._say)
        self.asked: Counter[str] = Counter()
        self.refused: set[str] = set()
        self.held: dict[str, asyncio.Event] = {}

    def _say(self, request: Request, context: CallContext) -> Any:
        prompt = str(request.messages[-1]["content"])
        self.asked[prompt] += 1
        if prompt in self.refused:
            self.refused.remove(prompt)
            return ModelRefused("it will not do")
        return f"{prompt}, {self.asked[prompt]}"

    async def complete(self, request: Request, context: CallContext) -> Any:
        reply = await super().complete(request, context)
        held = self.held.get(str(request.messages[-1]["content"]))
        if held is not None:
            await held.wait()
        return reply


@dataclass
class Place:
    """One engine with a database, and the worker's model."""

    db: str | Path
    on: str
    model: Model

    async def submit(self, graph: str, to: str, **options: Any) -> RunHandle:
        name = f"{MODULE}:{graph}"
        return await asubmit(name, {"to": to}, db=self.db, on=self.on, thread_id=f"{graph}-{to}", **options)

    @asynccontextmanager
    async def worker(self, *graphs: str) -> AsyncIterator[asyncio.Task[None]]:
        names = [f"{MODULE}:{graph}" for graph in graphs]
        ready = asyncio.Event()
        serving = aworker(*names, db=self.db, on=self.on, models=self.model, ready=ready.set)
        task = asyncio.create_task(serving)
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        yield task
        if task.done() and not task.cancelled():
            await task
        await ended(task)


async def ended(task: asyncio.Task[None]) -> None:
    """End a worker as SIGTERM does, and wait until it has."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110  # a worker changes it
            await asyncio.sleep(0.05)


@pytest.fixture(
    params=[
        "local",
        "local on postgres",
        *(pytest.param(name, marks=pytest.mark.engine) for name in ("temporal", "dbos")),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    kind, _, where = request.param.partition(" on ")
    db: str | Path = tmp_path / "runs.sqlite"
    on = kind
    if where or kind == "dbos":
        db = request.getfixturevalue("postgres_url")
    if kind == "dbos":
        pytest.importorskip("dbos")
    if kind == "temporal":
        pytest.importorskip("temporalio")
        server = request.getfixturevalue("temporal_server")
        on = f"temporal://{server.address}?queue={secrets.token_hex(4)}"
    flows.FAILURES.clear()
    yield Place(db, on, Model())
    close_sessions()
