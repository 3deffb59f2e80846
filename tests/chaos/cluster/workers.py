"""Workers of an engine in the kill matrix, and the client that hands them a thread; each a forked process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from stepgraph.errors import EngineUnreachable, RunFailed, StoreError
from stepgraph.runners.engines import local
from stepgraph.runners.loading import Loaded
from stepgraph.runners.run import aread_result
from stepgraph.runners.submitting import asubmit
from stepgraph.runners.workers import aworker
from stepgraph.state.journal import claims
from stepgraph.state.session.session import Session

from ..compositions.building import Composition
from ..compositions.lives import Ending, until_siblings_go_on, word
from ..compositions.model import Moment, watch_claims, watch_commits
from ..compositions.states import shown
from ..living import FORK, forked
from .client import RemoteModel
from .lives import HEARTBEAT_S, SLOWER, STILL_S, Cut, EffectsFile, Place
from .still import tell_after

GRAPH = "composition.py:app"
GRACE_S = 2.0
CLIENT_S = 100.0 * SLOWER


@dataclass
class Worker:
    """A process that serves the graph."""

    life: int
    process: Any
    pipe: Connection


def started(place: Place, life: int, cut: Cut, moment: Moment | None) -> Worker:
    """Start a worker."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_work, args=(theirs, place, life, cut, moment), daemon=True)
    process.start()
    theirs.close()
    return Worker(life, process, ours)


def _short(place: Place) -> None:
    """Have claims and leases end soon, and what cannot be committed lie in the trial's own folder."""
    os.environ["XDG_STATE_HOME"] = str(place.path / "state")
    claims.LIFETIME_S, claims.RENEW_S = HEARTBEAT_S, HEARTBEAT_S / 3
    local.LEASE_S, local.RENEW_S, local.LOOK_S = HEARTBEAT_S, HEARTBEAT_S / 3, 0.05  # type: ignore[misc]


def _work(pipe: Connection, place: Place, life: int, cut: Cut, moment: Moment | None) -> None:
    signal.alarm(int(2 * CLIENT_S))  # nobody outlives a matrix that was killed itself
    _short(place)
    tell_after(STILL_S, place.address, place.path / f"still-{life}.txt")
    watch_claims(place.asked, life)
    watch_commits(place.asked, moment, life)
    file: Any = EffectsFile(place.effects, cut)
    built = Composition(place.seed, file, place.rich)
    model = RemoteModel(place.port, place.run, place.seed, place.rich, life)
    try:
        asyncio.run(
            aworker(
                {GRAPH: Loaded(built.app, GRAPH)},
                db=place.address,
                on=place.on,
                models=model,
                grace_s=GRACE_S,
                ready=lambda: pipe.send("ready"),
            )
        )
        pipe.send("drained")
    except BaseException:
        pipe.send(traceback.format_exc(limit=-6))


@contextmanager
def client(place: Place, *, waits: bool) -> Iterator[tuple[Any, Connection]]:
    """Start the client: it sends an Ending in the end. With `waits` it says "waiting" before it answers."""
    with forked(_ask, place, waits) as (process, pipe):
        yield process, pipe


def _ask(pipe: Connection, place: Place, waits: bool) -> None:
    signal.alarm(int(2 * CLIENT_S))
    _short(place)
    tell_after(STILL_S, place.address, place.path / "still-client.txt")
    try:
        pipe.send(asyncio.run(_asked(pipe, place, waits)))
    except BaseException as error:
        pipe.send(
            Ending("failed", problem=f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-6)}")
        )


async def _asked(pipe: Connection, place: Place, waits: bool) -> Ending:
    built = place.composition()
    with Session(place.address) as session:
        handle = await asubmit(GRAPH, built.given(), db=session, on=place.on, thread_id=place.thread)
        deadline = time.monotonic() + CLIENT_S
        while time.monotonic() < deadline:
            try:
                await handle.aresult(deadline - time.monotonic())
                result = await aread_result(built.app, session, place.thread)
                if result.status != "interrupted":
                    values = {name: shown(value) for name, value in sorted(result.values.items())}
                    return Ending(result.status, values)
                if waits:
                    pipe.send("waiting")
                    await asyncio.to_thread(pipe.recv)
                await handle.aanswer(answers={each.id: word(each.value) for each in result.waiting})
            except RunFailed as failed:
                if failed.kind != "EffectUnknown":
                    raise
                await asyncio.to_thread(_decide, session, place, built)
                await handle.aresume()
            except (StoreError, EngineUnreachable):  # it is being restarted
                await asyncio.sleep(0.1)
    raise RuntimeError("The workflow does not end.")


def _decide(session: Session, place: Place, built: Composition) -> None:
    """Decide about the effects that a death left open, as somebody would who asks the receiver."""
    if session.undecided_effects():
        until_siblings_go_on(session)
    lines = place.happened()
    for record in session.undecided_effects():
        done = [line for line in lines if line.endswith(f" {record.key}")]
        field = built.receipts[record.key.partition(":")[0]]
        update = {field: [done[0].removesuffix(f" {record.key}")]} if done else None
        session.decide_effect(record.key, happened=bool(done), update=update)
