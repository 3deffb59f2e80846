"""A second Postgres takes the first one's place: runs at workers go on, and nothing is paid twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cluster.postgres import REPLICATED, PostgresServer
from cluster.processes import give
from stepgraph import Ask, ScriptedModel, asubmit, aworker, chain, fan_out, step
from stepgraph.providers.model import CallContext, Request
from stepgraph.runners.loading import Loaded
from stepgraph.runners.sessions import close_sessions

from .fixtures import _need, find_programs

PARTS = 8
pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("cluster")]


@dataclass
class Piece:
    number: int = 0
    said: str = ""


@dataclass
class Book:
    title: str = ""
    pieces: list[Piece] = field(default_factory=list)


@step("title")
def name(book: Book) -> Ask[str]:
    return Ask(f"Name {book.title}")


@step("said")
def say(piece: Piece) -> Ask[str]:
    return Ask(f"Say {piece.number}")


def cut(book: Book) -> list[Piece]:
    return [Piece(number) for number in range(PARTS)]


graph = chain(name, fan_out(cut, say, into="pieces"), name="book").compile()


@dataclass
class Pair:
    """Two servers under one address; the second follows the first."""

    first: PostgresServer
    second: PostgresServer
    url: str

    def fail_over(self) -> None:
        self.first.stop("immediate")
        self.second.promote()


@pytest.fixture
def pair(_cluster_folder: Path) -> Iterator[Pair]:
    _need(find_programs(), "Postgres")
    folders = [give(_cluster_folder / "pair" / name) for name in _made(_cluster_folder / "pair")]
    first = PostgresServer(folders[0], settings=REPLICATED)
    first.start()
    url = first.create("runs")
    second = first.follow(folders[1])
    second.start()
    first.admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    first.admin.execute("SELECT pg_reload_conf()")
    login = urlsplit(url).netloc.rpartition("@")[0]
    places = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
    yield Pair(first, second, f"postgresql://{login}@{places}/runs?target_session_attrs=read-write")
    close_sessions()
    for server in (first, second):
        server.stop("immediate")


def _made(folder: Path) -> tuple[str, str]:
    names = ("first", "second")
    for each in names:
        (folder / each).mkdir(parents=True)
    give(folder)
    return names


class Model(ScriptedModel):
    """Answers half of the pieces only once the first server is gone."""

    def __init__(self) -> None:
        super().__init__(lambda request, context: str(request.messages[-1]["content"]))
        self.asked: Counter[str] = Counter()
        self.gone = asyncio.Event()

    async def complete(self, request: Request, context: CallContext) -> Any:
        prompt = str(request.messages[-1]["content"])
        self.asked[prompt] += 1
        if prompt.startswith("Say") and int(prompt.split()[1]) >= PARTS // 2:
            await self.gone.wait()
        return await super().complete(request, context)


async def test_a_run_at_workers_goes_on_after_a_failover(
    pair: Pair, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    model = Model()
    worker = asyncio.create_task(aworker({"book": Loaded(graph, "book")}, db=pair.url, models=model))
    run = await asubmit("book", {"title": "tea"}, db=pair.url, thread_id="one")
    async with asyncio.timeout(60):
        while model.asked.total() < 1 + PARTS:  # noqa: ASYNC110  # the worker changes it
            await asyncio.sleep(0.05)
    await asyncio.to_thread(pair.fail_over)
    model.gone.set()
    result = await run.aresult(60)
    assert result.status == "done"
    assert [piece["said"] for piece in result.values["pieces"]] == [f"Say {n}" for n in range(PARTS)]
    assert set(model.asked.values()) == {1}
    with pair.second.connect("runs") as now:
        counted = now.execute("SELECT count(*) FROM stepgraph.calls WHERE status = 'answered'")
        assert counted.fetchone() == (1 + PARTS,)
    assert not worker.done()
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
