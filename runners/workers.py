"""A worker: it serves graphs, takes their threads from an engine, and hands them over when it is to end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..state.database import PostgresAddress
from ..state.errors import InputError, StoreError
from ..state.event_loops import in_thread
from ..state.journal.serving import TOLD_EVERY_S, forget_served, tell_served
from ..state.session.session import Session
from ..tracing.export.live import Tracing
from .choosing import engine_of
from .firing import firing
from .loading import Loaded
from .metrics import serving_metrics
from .naming import load_served
from .turns import LOGGER, Turn


async def aworker(
    *graphs: str | Mapping[str, Loaded],
    db: str | Path | PostgresAddress = "stepgraph.sqlite",
    on: str | None = None,
    models: Any = None,
    at_once: int = 100,
    grace_s: float = 20.0,
    metrics: int | None = None,
    finish: bool = False,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve graphs until SIGTERM or Ctrl-C: take threads that were handed to workers, and run them.

    `graphs` are references; a job chooses among them by name, and nothing else. `models` answer in all runs,
    as in `Session(models=…)`; else those of the settings do. `at_once` is how many threads run at a time.
    When it is to end, it begins no more calls, waits `grace_s` seconds at most for those under way, and
    hands its threads over. One that is to `finish` begins no new threads: it goes on with those that were
    begun with the versions of its graphs. `metrics` is a port of this machine for Prometheus
    (`stepgraph[metrics]`). `ready` is called once it can take threads.
    """
    served = load_served(graphs)
    specs = (
        {name: spec for name, spec in models.items() if isinstance(spec, str)} if _are_roles(models) else {}
    )
    with Session(db, models=models or None, tracing=Tracing()) as session:
        turn = Turn(session, served, models=specs, grace_s=grace_s, finishes=finish)
        if finish and not turn.served.versions:
            raise InputError(
                "A worker that is to finish serves the threads of a version, but its graphs have none. Give "
                'them one: versioned(graph, "1").'
            )
        engine = engine_of(on, session)
        turn.submit = engine.submit
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or no main thread
                loop.add_signal_handler(number, _end, turn, number)
        beside = [asyncio.ensure_future(_telling(turn))]
        if turn.served.begins and not engine.has_schedules:
            beside.append(asyncio.ensure_future(firing(turn, engine.name, engine.submit)))
        try:
            with serving_metrics(session, metrics, lambda: len(turn.running)):
                await engine.serve(turn, at_once=at_once, ready=ready)
        except asyncio.CancelledError:
            turn.drain()
            raise
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            with suppress(StoreError):
                await in_thread(forget_served, session.journal, turn.owner)
            for number in numbers:
                with suppress(NotImplementedError, RuntimeError, ValueError):
                    loop.remove_signal_handler(number)


async def _telling(turn: Turn) -> None:
    """Say every few seconds what is served here. It never ends."""
    while True:
        try:
            await in_thread(tell_served, turn.session.journal, turn.owner, turn.served.keys)
        except StoreError as error:
            LOGGER.warning("%s", error)
        await asyncio.sleep(TOLD_EVERY_S)


def worker(*graphs: str | Mapping[str, Loaded], **options: Any) -> None:
    """Like `aworker`, for a program that does nothing else."""
    ready = options.pop("ready", lambda: None)

    def settled() -> None:
        gc.freeze()  # modules and graphs live as long as it does: not to be looked through again and again
        ready()

    asyncio.run(aworker(*graphs, ready=settled, **options))


def _end(turn: Turn, number: int) -> None:
    if turn.is_draining and number == signal.SIGINT:  # Ctrl-C, twice: at once
        os._exit(128 + number)
    turn.drain()


def _are_roles(models: Any) -> bool:
    return isinstance(models, Mapping)
