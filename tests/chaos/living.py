"""One life of a workflow: a forked process that runs it, or goes on with it, until its end or a kill."""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import random
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from langgraph.types import Command
from pydantic_core import to_jsonable_python

from stepgraph import Session, using

from .scenarios import SCENARIOS, Scenario

LIFE_LIMIT_S = 90
MAX_RESUMES = 5
THREAD = "t"
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Server:
    """The stub server, as the campaign sees it."""

    port: int

    def model(self, run: str, arrival: str, how: Scenario) -> dict[str, Any]:
        """Return the model settings of a run."""
        url = f"http://127.0.0.1:{self.port}/{run}/{arrival}/v1"
        models = [
            {"model": name, "base_url": url, "max_concurrency": how.cap, "retries": 0} for name in how.models
        ]
        return models[0] if len(models) == 1 else {"models": models, "on": ["invalid", "unreachable"]}

    def asked(self, run: str) -> Counter[str]:
        """Return how often each prompt came in, once all has been read that the dead had sent."""
        before, now = None, self._asked(run)
        for _ in range(50):
            if now == before:
                break
            time.sleep(0.01)
            before, now = now, self._asked(run)
        return now

    def _asked(self, run: str) -> Counter[str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", f"/counts/{run}")
            return Counter(json.loads(connection.getresponse().read()))
        finally:
            connection.close()


@contextmanager
def serving() -> Iterator[Server]:
    """Start the stub server, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()))
        finally:
            process.kill()


@contextmanager
def forked(work: Callable[..., None], *arguments: Any) -> Iterator[tuple[Any, Connection]]:
    """Run a function, given a pipe and the arguments, in a forked process, dead after the block."""
    ours, theirs = FORK.Pipe()

    def child() -> None:
        ours.close()
        signal.alarm(LIFE_LIMIT_S)  # nobody outlives a campaign that was killed itself
        work(theirs, *arguments)

    process = FORK.Process(target=child, daemon=True)
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def received(pipe: Connection) -> Any:
    """Return what a child sends. Raises RuntimeError where it died or fell silent."""
    try:
        if pipe.poll(LIFE_LIMIT_S):
            return pipe.recv()
    except EOFError:
        pass
    raise RuntimeError("The workflow's process failed; its error is above.")


def live(
    scenario: str, file: Path, model: dict[str, Any], kill_after_s: float | None = None
) -> tuple[dict[str, Any] | None, float]:
    """Run the workflow on the file, and return its final values and how long it took in seconds.

    With `kill_after_s` the process is killed so long after it was ready; None says that this hit.
    """
    with ExitStack() as stack:
        if SCENARIOS[scenario].locked:
            stack.enter_context(forked(_lock_often, file))
        process, pipe = stack.enter_context(forked(_life, SCENARIOS[scenario], file, model))
        assert received(pipe) == "ready"
        started = time.perf_counter()
        if kill_after_s is not None and not pipe.poll(kill_after_s):
            process.kill()
            process.join()
            if process.exitcode == -signal.SIGKILL:
                return None, kill_after_s
        values: dict[str, Any] = received(pipe)
        return values, time.perf_counter() - started


def _life(pipe: Connection, scenario: Scenario, file: Path, model: dict[str, Any]) -> None:
    with Session(file) as session, using(model):
        app = scenario.graph()
        run = _run_sync if scenario.sync else lambda *arguments: asyncio.run(_run(*arguments))
        pipe.send(run(app, scenario.given(), session, pipe))


def _lock_often(pipe: Connection, file: Path) -> None:
    """Hold the write lock most of the time, until killed."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=LIFE_LIMIT_S)) as connection:
        for _ in range(LIFE_LIMIT_S * 10):
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(random.uniform(0.02, 0.1))
            connection.execute("ROLLBACK")
            time.sleep(random.uniform(0.01, 0.1))
    pipe.close()


async def _run(app: Any, given: Any, session: Session, pipe: Connection | None = None) -> Any:
    config = session.config(THREAD)
    snapshot = await app.aget_state(config)
    if pipe is not None:
        pipe.send("ready")
    for _ in range(MAX_RESUMES):
        await app.ainvoke(_given(snapshot, given), config)
        snapshot = await app.aget_state(config)
        if not snapshot.next:
            return to_jsonable_python(snapshot.values)
    raise RuntimeError("The workflow does not end.")


def _run_sync(app: Any, given: Any, session: Session, pipe: Connection) -> Any:
    config = session.config(THREAD)
    snapshot = app.get_state(config)
    pipe.send("ready")
    for _ in range(MAX_RESUMES):
        app.invoke(_given(snapshot, given), config)
        snapshot = app.get_state(config)
        if not snapshot.next:
            return to_jsonable_python(snapshot.values)
    raise RuntimeError("The workflow does not end.")


def _given(snapshot: Any, given: Any) -> Any:
    """Return what the graph is called with, to begin or to go on from where it is."""
    if snapshot.created_at is None:
        return given
    interrupts = {interrupt.id: "yes" for task in snapshot.tasks for interrupt in task.interrupts}
    if interrupts:
        return Command(resume=interrupts)
    return None


def warm_up(server: Server, folder: Path) -> None:
    """Import, before anything is forked, all that a run imports."""
    warnings.simplefilter("ignore", ResourceWarning)

    async def run() -> None:
        nested = SCENARIOS["nested"]
        with Session(folder / "warm.sqlite") as session, using(server.model("warm", "burst", nested)):
            await _run(nested.graph(), nested.given(), session)

    asyncio.run(run())
