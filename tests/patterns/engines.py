"""What becomes of every pattern on an engine whose workers are processes, one of which is killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stepgraph import Budget, RunHandle, RunResult, Session, asubmit
from stepgraph.errors import RunFailed

from ..servers import ChatServer
from .cases import CASES, answer_to
from .living import label, threads
from .told import Told

ROOT = Path(__file__).parents[2]
LIMIT_S = 300
AT_ONCE = 8  # clients that speak to an engine


@dataclass
class Ran:
    """What became of one thread."""

    results: list[RunResult] = field(default_factory=list)
    answered: int = 0
    failure: str = ""

    @property
    def last(self) -> RunResult:
        return self.results[-1]

    async def drive(self, run: RunHandle, clients: asyncio.Semaphore) -> None:
        """Answer whatever is asked, until the run stops for another reason."""
        while True:
            self.results.append(await run.aresult(LIMIT_S))
            if self.last.status != "interrupted":
                return
            self.answered += len(self.last.waiting)
            async with clients:
                await run.aanswer(answers={item.id: answer_to(item.value) for item in self.last.waiting})


@dataclass
class Played:
    """How many answers the model server gave, by thread, and what became of the threads."""

    answered: dict[str, int]
    ran: dict[str, Ran]


@dataclass(frozen=True)
class Stage:
    """One engine with its database, and a model server."""

    on: str
    session: Session
    url: str
    server: ChatServer
    clients: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def play(self) -> Played:
        """Kill -9 the worker of all threads, each in another call; another goes on, and does all the rest."""
        told = Told(self.server)
        killed = {label(*thread): thread[0] for thread in threads()}
        ran = {thread: Ran() for thread in killed}
        async with self._worker() as first:
            begun = (self._submit("killed", name, thread) for thread, name in killed.items())
            runs = await asyncio.gather(*begun)
            driven = [asyncio.ensure_future(ran[run.thread_id].drive(run, self.clients)) for run in runs]
            async with asyncio.timeout(LIMIT_S):
                while not await asyncio.to_thread(self._is_still, told):
                    assert first.poll() is None, "it ended before it was killed"
                    for run, drive in zip(runs, driven, strict=True):
                        assert not drive.done(), (run, drive.exception(), ran[run.thread_id])
                    await asyncio.sleep(0.2)
            first.kill()
        told.holding = False
        for part in ("asked", "poor", "failing"):
            for name in CASES:
                thread = named(part, name)
                ran[thread] = Ran()
                driven.append(asyncio.ensure_future(self._live(part, name, thread, ran[thread])))
        async with self._worker() as second:
            await _while_alive(asyncio.gather(*driven), second)
        assert second.returncode == 0  # it was told to end, and did
        return Played(dict(told.answered), ran)

    async def _live(self, part: str, name: str, thread: str, ran: Ran) -> None:
        budget = Budget(calls=CASES[name].calls() - 1) if part == "poor" else None
        run = await self._submit(part, name, thread, budget)
        try:
            await ran.drive(run, self.clients)
        except RunFailed as failed:
            ran.failure = failed.kind
            await run.aresume()
            await ran.drive(run, self.clients)
        if part == "poor":
            await run.aresume(budget=Budget())
            await ran.drive(run, self.clients)

    async def _submit(self, part: str, name: str, thread: str, budget: Budget | None = None) -> RunHandle:
        graph, given = f"{part}/{name}", {"text": thread}
        async with self.clients:
            return await asubmit(graph, given, db=self.session, on=self.on, thread_id=thread, budget=budget)

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[subprocess.Popen[bytes]]:
        with served(self.server.url, self.url, self.on) as process:
            yield process

    def _is_still(self, told: Told) -> bool:
        (row,) = self.session.journal.query("SELECT count(*) AS n FROM calls WHERE status = 'answered'")
        return told.is_still(row["n"])


def named(part: str, name: str) -> str:
    """Return the thread of a pattern around a part: one word, since it is a word of each prompt."""
    return f"{part}-{name.replace(' ', '-')}"


@contextmanager
def served(model_url: str, database: str, on: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker of all patterns; in the end it is told to end, as a deploy does, and ends."""
    command = [sys.executable, "-m", "tests.patterns.served", model_url, database, on]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            yield process
            process.terminate()
            process.wait(LIMIT_S)
        finally:
            process.kill()


async def _while_alive(work: asyncio.Future[list[None]], process: subprocess.Popen[bytes]) -> None:
    """Wait for some work, unless the process that does it ends."""
    while not work.done():
        await asyncio.wait({work}, timeout=0.5)
        if process.poll() is not None:
            work.cancel()
            raise AssertionError("The worker ended before its work did.")
    work.result()
