"""Every pattern on each engine: its worker is killed, its part asks, its budget ends, a call of it fails.

It takes minutes: python -m pytest tests/patterns/on_engines.py
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster.postgres import PostgresServer
from stepgraph import Budget, RunHandle, RunResult, ScriptedModel, Session, asubmit, aworker
from stepgraph.errors import RunFailed
from stepgraph.providers.model import CallContext, Request
from stepgraph.state.errors import ModelRefused

from ..servers import ChatServer
from .cases import CASES, Script, answer_to
from .living import label, threads
from .served import graphs
from .test_matrix import ROOT, Told

pytestmark = pytest.mark.xdist_group("cluster")
each = pytest.mark.parametrize("name", CASES)


class Model(ScriptedModel):
    """Answers each thread by a script of its own; the first draft of a failing one is refused."""

    def __init__(self) -> None:
        super().__init__(self._say)
        self.asked: Counter[str] = Counter()
        self._scripts: defaultdict[str, Script] = defaultdict(Script)
        self._failed: set[str] = set()

    def _say(self, request: Request, context: CallContext) -> Any:
        thread = context.thread_id
        told = any(message["role"] == "tool" for message in request.messages)
        prompt = next(str(m["content"]) for m in request.messages if m["role"] == "user")
        self.asked[thread] += 1
        if thread.startswith("failing") and prompt.startswith("Write") and thread not in self._failed:
            self._failed.add(thread)
            return ModelRefused("it will not do")
        loop = f"{thread}|{context.task.rpartition('|')[0]}"
        return self._scripts[thread].answer(prompt, loop, told=told)


@dataclass
class Ran:
    """What became of one thread."""

    results: list[RunResult] = field(default_factory=list)
    answered: int = 0
    failure: str = ""

    @property
    def last(self) -> RunResult:
        return self.results[-1]


async def drive(run: RunHandle, ran: Ran) -> None:
    """Answer whatever is asked, until the run stops for another reason."""
    while True:
        ran.results.append(await run.aresult(120))
        if ran.last.status != "interrupted":
            return
        ran.answered += len(ran.last.waiting)
        await run.aanswer(answers={item.id: answer_to(item.value) for item in ran.last.waiting})


async def live(part: str, name: str, session: Session, on: str) -> Ran:
    ran, case, budget = Ran(), CASES[name], None
    if part == "poor":
        budget = Budget(calls=case.calls() - 1)
    thread = f"{part}-{name}"
    run = await asubmit(f"{part}/{name}", {}, db=session, on=on, thread_id=thread, budget=budget)
    try:
        await drive(run, ran)
    except RunFailed as failed:
        ran.failure = failed.kind
        await run.aresume()
        await drive(run, ran)
    if part == "poor":
        await run.aresume(budget=Budget())
        await drive(run, ran)
    return ran


Lives = dict[tuple[str, str], Ran]


async def lives(session: Session, on: str) -> tuple[Model, Lives]:
    model = Model()
    worker = asyncio.create_task(aworker(graphs(), db=session.database, on=on, models=model, at_once=500))
    keys = [(part, name) for part in ("asked", "poor", "failing") for name in CASES]
    ran = asyncio.gather(*(live(part, name, session, on) for part, name in keys))
    await asyncio.wait({ran, worker}, return_when=asyncio.FIRST_COMPLETED)
    if worker.done():
        ran.cancel()
        worker.result()
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    return model, dict(zip(keys, await ran, strict=True))


async def die(session: Session, on: str, command: Callable[[str], list[str]]) -> tuple[Told, dict[str, Ran]]:
    """Kill -9 the worker of all threads, each in another call, and let another one go on."""
    labels = {label(name, number): name for name, number in threads()}
    with ChatServer() as server:
        told = Told(server)
        ran = {thread: Ran() for thread in labels}
        with subprocess.Popen(command(server.url), cwd=ROOT) as first:  # noqa: ASYNC220
            runs = [
                await asubmit(f"killed/{name}", {"text": thread}, db=session, on=on, thread_id=thread)
                for thread, name in labels.items()
            ]
            driven = asyncio.gather(*(drive(run, ran[run.thread_id]) for run in runs))
            while not _is_still(told, session):
                assert first.poll() is None, "it ended before it was killed"
                await asyncio.sleep(0.2)
            first.kill()
        told.holding = False
        with subprocess.Popen(command(server.url), cwd=ROOT) as second:  # noqa: ASYNC220
            await driven
            second.terminate()
    return told, ran


def _is_still(told: Told, session: Session) -> bool:
    """Tell whether each thread has the call under way in which it is to be killed, and nothing else."""
    if any(told.asked[name] < number for name, number in ((label(*t), t[1]) for t in threads())):
        return False
    (row,) = session.journal.query("SELECT count(*) AS n FROM calls WHERE status = 'answered'")
    return bool(told.asked.total() - row["n"] == len(threads()))


class OnEngine:
    """What all threads did on one engine; run once."""

    def __init__(self, on: str, url: str) -> None:
        self._on, self._url = on, url
        self._lives: tuple[Model, Lives] | None = None
        self._deaths: tuple[Told, dict[str, Ran]] | None = None

    def lives(self) -> tuple[Model, Lives]:
        if self._lives is None:
            with Session(self._url) as session:
                self._lives = asyncio.run(lives(session, self._on))
        return self._lives

    def deaths(self) -> tuple[Told, dict[str, Ran]]:
        if self._deaths is None:
            module = [sys.executable, "-m", "tests.patterns.served"]
            with Session(self._url) as session:
                self._deaths = asyncio.run(
                    die(session, self._on, lambda url: [*module, url, self._url, self._on])
                )
        return self._deaths


@pytest.fixture(scope="module")
def on_temporal(postgres_server: PostgresServer, temporal_server: Any) -> Iterator[OnEngine]:
    url = postgres_server.lend()
    yield OnEngine(f"temporal://{temporal_server.address}?queue=patterns", url)
    postgres_server.take_back(url)


@pytest.fixture(scope="module")
def on_dbos(postgres_server: PostgresServer) -> Iterator[OnEngine]:
    pytest.importorskip("dbos")
    url = postgres_server.lend()
    yield OnEngine("dbos", url)
    postgres_server.take_back(url)


def check(name: str, engine: OnEngine) -> None:
    """The pattern does on an engine as it does in one process: nothing is paid twice, and nothing is lost."""
    case = CASES[name]
    model, ran = engine.lives()

    asked = ran["asked", name]
    assert asked.last.status == "done"
    assert asked.last.values["draft"].startswith("draft ")
    assert asked.answered == case.runs + case.asks
    assert model.asked[f"asked-{name}"] == case.calls()

    poor = ran["poor", name]
    (partial,) = [result for result in poor.results if result.status == "partial"]
    assert "calls" in str(partial.limit)
    assert partial.spent.calls == case.calls() - 1
    assert poor.last.status == "done"
    assert model.asked[f"poor-{name}"] == case.calls()

    failing = ran["failing", name]
    assert failing.last.status == "done"
    assert failing.failure == ("" if case.absorbs else "ModelRefused")
    if not case.absorbs:
        assert model.asked[f"failing-{name}"] == case.calls() + 1

    told, after = engine.deaths()
    for number in range(1, case.calls() + 1):
        thread = label(name, number)
        assert told.asked[thread] == case.calls() + 1, thread
        assert after[thread].last.values["draft"].startswith("draft ")
        assert after[thread].last.values["log"].count("written") == case.kept


@each
def test_on_temporal(name: str, on_temporal: OnEngine) -> None:
    check(name, on_temporal)


@each
def test_on_dbos(name: str, on_dbos: OnEngine) -> None:
    check(name, on_dbos)
