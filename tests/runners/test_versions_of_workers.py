"""Workers go on with the threads of the versions that they serve, and of no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session, asubmit, aworker, chain, migration, review, versioned
from stepgraph.errors import InputError
from stepgraph.runners.loading import Loaded
from stepgraph.runners.naming import load_served
from stepgraph.runners.outcomes import Job
from stepgraph.runners.served import Served
from stepgraph.runners.turns import Turn
from stepgraph.state.journal.jobs import JobRecord, find_job
from stepgraph.state.journal.serving import unserved


@dataclass
class Post:
    topic: str = ""
    text: str = ""


@review("text")
def approve(post: Post) -> str:
    return "Publish?"


def graph(version: str | None, *migrations: Any) -> Loaded:
    """Return a graph whose nodes have the name of its version."""

    def first(post: Post) -> dict[str, str]:
        return {"text": f"begun with {version}"}

    def last(post: Post) -> dict[str, str]:
        return {"text": f"{post.text}, ended with {version}"}

    first.__name__, last.__name__ = f"first_{version}", f"last_{version}"
    made = chain(first, approve, last, name="blog")
    if version is not None:
        versioned(made, version, migrations)
    return Loaded(made.compile(), "blog")


def job_of(session: Session, thread: str) -> JobRecord:
    job = find_job(session.journal, thread)
    assert job is not None
    return job


@asynccontextmanager
async def serving(session: Session, *loaded: Loaded, finish: bool = False) -> AsyncIterator[None]:
    """Serve versions of a graph meanwhile."""
    ready = asyncio.Event()
    graphs = {"blog" if not number else f"blog@{number}": each for number, each in enumerate(loaded)}
    worker = asyncio.create_task(aworker(graphs, db=session.database, finish=finish, ready=ready.set))
    await asyncio.wait({worker, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if worker.done():
            await worker
        yield
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # another connection changes it
            await asyncio.sleep(0.02)


async def test_a_thread_waits_for_a_worker_of_its_version(session: Session) -> None:
    async with serving(session, graph("1")):
        run = await asubmit("blog", {"topic": "tea"}, db=session, thread_id="t")
        assert (await run.aresult(60)).status == "interrupted"
        assert unserved(session.journal, job_of(session, "t")) is None
    assert job_of(session, "t").version == "1"
    assert unserved(session.journal, job_of(session, "t")) == "no worker serves version '1' of blog"

    async with serving(session, graph("2")):
        await run.aanswer("approve")
        other = await asubmit("blog", {"topic": "rum"}, db=session, thread_id="other")
        assert (await other.aresult(60)).status == "interrupted"  # it came behind the answer
        assert job_of(session, "t").status == "queued"
        assert unserved(session.journal, job_of(session, "t")) == "no worker serves version '1' of blog"

    async with serving(session, graph("1"), finish=True):
        new = await asubmit("blog", {"topic": "ale"}, db=session, thread_id="new")
        result = await run.aresult(60)
        assert result.values["text"] == "begun with 1, ended with 1"
        assert job_of(session, "new").status == "queued"
        assert unserved(session.journal, job_of(session, "new")) == "no worker serves blog"

    async with serving(session, graph("2"), graph("1")):
        assert (await new.aresult(60)).values["text"] == "begun with 2"
        await other.aanswer("approve")
        assert (await other.aresult(60)).values["text"] == "begun with 2, ended with 2"


async def test_a_version_with_a_migration_takes_threads_over(session: Session) -> None:
    @migration(from_="1", nodes={"first_1": "first_2", "last_1": "last_2"})
    def same(old: dict[str, Any]) -> dict[str, Any]:
        return {**old, "text": f"{old['text']}, migrated"}

    async with serving(session, graph("1")):
        run = await asubmit("blog", {"topic": "tea"}, db=session, thread_id="t")
        await run.aresult(60)
    async with serving(session, graph("2", same)):
        await run.aanswer("approve")
        assert (await run.aresult(60)).values["text"] == "begun with 1, migrated, ended with 2"
    assert job_of(session, "t").version == "2"


async def test_a_thread_whose_migration_fails_stays_one_of_its_version(session: Session) -> None:
    @migration(from_="1")
    def wrong(old: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("text")

    async with serving(session, graph("1")):
        run = await asubmit("blog", {"topic": "tea"}, db=session, thread_id="t")
        await run.aresult(60)
    async with serving(session, graph("2", wrong)):
        await run.aanswer("approve")
        await until(lambda: job_of(session, "t").status == "failed")
        assert (job_of(session, "t").kind, job_of(session, "t").version) == ("MigrationFailed", "1")
    async with serving(session, graph("1"), finish=True):
        await run.aresume()
        assert (await run.aresult(60)).values["text"] == "begun with 1, ended with 1"


async def test_a_turn_of_another_version_is_given_back(session: Session) -> None:
    async with serving(session, graph("1")):
        run = await asubmit("blog", {"topic": "tea"}, db=session, thread_id="t")
        await run.aresult(60)
    before = job_of(session, "t")
    outcome = await Turn(session, {"blog": graph("2")}).run(Job("blog", "t"), before.epoch + 1)
    assert (outcome.kind, outcome.retryable) == ("NotServed", True)
    assert job_of(session, "t") == before


async def test_a_worker_without_versions_cannot_only_finish(session: Session) -> None:
    with pytest.raises(InputError, match="its graphs have none"):
        async with serving(session, graph(None), finish=True):
            pass


def test_what_is_served_is_chosen_by_name_and_version() -> None:
    @migration(from_="1")
    def same(old: dict[str, Any]) -> dict[str, Any]:
        return old

    one, two, bare = graph("1"), graph("2", same), graph(None)
    served = Served({"blog": two, "blog@1": one, "other": bare})
    assert served.names == ["blog", "other"]
    assert served.versions == {"blog@1", "blog@2"}
    assert served.find("blog", "1") is one
    assert served.find("blog", "2") is served.find("blog", None) is two
    assert served.find("other", None) is bare
    assert served.find("other", "1") is served.find("blog", "3") is None
    assert Served({"blog": two}).find("blog", "1") is two
    assert Served({"blog": two}, finishes=True).find("blog", None) is None
    assert ("blog", "") not in Served({"blog": two}, finishes=True).keys


def test_one_worker_may_name_several_versions_of_a_graph(tmp_path: Path) -> None:
    text = """
from stepgraph import chain, versioned
from dataclasses import dataclass
@dataclass
class State:
    text: str = ""
def go(state: State) -> dict[str, str]:
    return {{}}
blog = versioned(chain(go, name="blog"), "{}")
"""
    for version in ("1", "2"):
        (tmp_path / f"version_{version}.py").write_text(text.format(version))
    served = load_served([f"blog={tmp_path}/version_2.py:blog", f"blog={tmp_path}/version_1.py:blog"])
    assert list(served) == ["blog", "blog@1"]
    with pytest.raises(InputError, match="Two graphs have the name 'blog'"):
        load_served([f"blog={tmp_path}/version_2.py:blog"] * 2)
