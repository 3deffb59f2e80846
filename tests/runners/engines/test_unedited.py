"""All ready graphs and random nestings end at workers as they end here, unedited."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster.postgres import PostgresServer
from stepgraph import RunResult, Session, aresume, arun, asubmit
from stepgraph.graphs.catalog import READY as CATALOG
from stepgraph.runners.loading import load_graph
from stepgraph.runners.run import aread_result
from stepgraph.state.schema import parse_input

from ...chaos.compositions.lives import word
from ...chaos.compositions.states import shown
from .unedited import READY, SEEDS, Model, nestings

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("cluster")]
ROOT = Path(__file__).parents[3]
NAMES = (*READY, *(f"nesting-{seed}" for seed in SEEDS))
LIMIT_S = 300
RACES = {"sentiment": {"tally", "explanation"}}  # a vote may count what was under way as it was decided
Ended = Mapping[str, dict[str, str]]


class Both:
    """The graphs and their inputs, for whoever runs them."""

    def __init__(self, folder: Path) -> None:
        self.built = nestings(folder)

    def app(self, name: str) -> Any:
        return self.built[name].app if name in self.built else load_graph(name).graph

    def given(self, name: str) -> Any:
        return self.built[name].given() if name in self.built else READY[name].given

    async def here(self, name: str, session: Session) -> dict[str, str]:
        """Run one in this process."""
        app, given = self.app(name), self.given(name)
        state = given if name in self.built else parse_input(app.builder.input_schema, given)
        result = await arun(app, state, session, name)
        while result.status == "interrupted":
            result = await aresume(app, session, name, answers=answers(result))
        return values(result)

    async def there(self, name: str, session: Session, on: str) -> dict[str, str]:
        """Have workers run one."""
        run = await asubmit(name, self.given(name), db=session, on=on, thread_id=name)
        result = await run.aresult(LIMIT_S)
        while result.status == "interrupted":
            await run.aanswer(answers=answers(result))
            result = await run.aresult(LIMIT_S)
        return values(await aread_result(self.app(name), session, name))


def answers(result: RunResult) -> dict[str, Any]:
    """Answer by the question, and approve what a ready graph asks."""
    return {item.id: "approve" if result.thread_id in READY else word(item.value) for item in result.waiting}


def values(result: RunResult) -> dict[str, str]:
    assert result.status == "done", result
    plain = {
        name: [(each.type, each.content) for each in value] if name == "messages" else value
        for name, value in result.values.items()
        if name not in RACES.get(result.thread_id, ())
    }  # the ids of messages are drawn
    return {name: shown(value) for name, value in sorted(plain.items())}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """How each one ends in this process."""
    folder = tmp_path_factory.mktemp("here")

    async def all_of_them() -> dict[str, dict[str, str]]:
        both = Both(folder)
        model = Model(both.built)
        with pytest.MonkeyPatch.context() as patch, Session(folder / "runs.sqlite", models=model) as session:
            patch.setenv("STEPGRAPH_OUTBOX", str(folder / "outbox"))
            return {name: await both.here(name, session) for name in NAMES}

    return asyncio.run(all_of_them())


@pytest.fixture(scope="module", params=["Temporal", "DBOS"])
def there(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, dict[str, str]]]:
    """How each one ends at workers of an engine."""
    on = "dbos"
    if request.param == "Temporal":
        temporal: Any = request.getfixturevalue("temporal_server")
        on = f"temporal://{temporal.address}?queue=unedited"
    folder, url = tmp_path_factory.mktemp("there"), postgres_server.lend()
    command = [sys.executable, "-m", "tests.runners.engines.unedited", url, on, str(folder)]

    async def all_of_them() -> dict[str, dict[str, str]]:
        both = Both(folder)
        with Session(url) as session:
            ended = asyncio.gather(*(both.there(name, session, on) for name in NAMES))
            while not ended.done():
                await asyncio.wait({ended}, timeout=0.5)
                assert all(worker.poll() is None for worker in workers), "a worker ended before its work did"
            return dict(zip(NAMES, await ended, strict=True))

    workers = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    try:
        yield asyncio.run(all_of_them())
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    postgres_server.take_back(url)


def test_all_ready_graphs_are_among_them() -> None:
    of_a_repository = {"code-search", "coding-agent"}  # their worker needs the repository's files
    assert set(READY) == set(CATALOG) - of_a_repository


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_there_as_it_does_here(name: str, here: Ended, there: Ended) -> None:
    assert there[name] == here[name]
    if name in READY and READY[name].ends:
        assert here[name]["status"] == repr(READY[name].ends)
