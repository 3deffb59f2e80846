"""Workers of two versions on one task queue of Temporal: a thread goes on with the one that it began with.

Temporal's own worker versioning has no part in it: its workflow knows no graph, the record says the version.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stepgraph import Session, asubmit, aworker
from stepgraph.runners import turns
from stepgraph.runners.loading import Loaded
from stepgraph.runners.sessions import close_sessions

from ..test_versions_of_workers import graph

pytest.importorskip("temporalio")
pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("cluster")]
LIMIT_S = 60


@asynccontextmanager
async def serving(session: Session, on: str, loaded: Loaded, *, finish: bool = False) -> AsyncIterator[None]:
    """Serve a graph from a thread: Temporal refuses two workers with one client, which an event loop has."""
    began: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = Future()

    async def serve() -> None:
        ready = asyncio.Event()
        work = aworker({"blog": loaded}, db=session.database, on=on, finish=finish, ready=ready.set)
        working, waiting = asyncio.create_task(work), asyncio.create_task(ready.wait())
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        began.set_result((asyncio.get_running_loop(), working))
        await asyncio.gather(working, return_exceptions=True)

    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(asyncio.run, serve()))
        loop, working = await asyncio.wrap_future(began)
        assert not working.done()
        yield
        loop.call_soon_threadsafe(working.cancel)


async def test_both_serve_one_queue_and_each_thread_ends_with_its_own(
    temporal_server: Any, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "NOT_SERVED_WAIT_S", 0.2)
    on = f"temporal://{temporal_server.address}?queue={secrets.token_hex(4)}"
    old = [f"old-{number}" for number in range(4)]
    async with serving(session, on, graph("1")):
        runs = [await asubmit("blog", {}, db=session, on=on, thread_id=name) for name in old]
        for run in runs:
            assert (await run.aresult(LIMIT_S)).status == "interrupted"
    async with serving(session, on, graph("2")), serving(session, on, graph("1"), finish=True):
        new = [await asubmit("blog", {}, db=session, on=on, thread_id=f"new-{name}") for name in old]
        for run in new:
            assert (await run.aresult(LIMIT_S)).status == "interrupted"
        for run in (*runs, *new):
            await run.aanswer("approve")
        ended = [(await run.aresult(LIMIT_S)).values["text"] for run in (*runs, *new)]
    assert ended == ["begun with 1, ended with 1"] * 4 + ["begun with 2, ended with 2"] * 4
    close_sessions()
