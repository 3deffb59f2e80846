"""A worker: it serves graphs, takes their threads from an engine, and hands them over when it is to end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..state.session.session import Session
from ..tracing.export.live import Tracing
from .engines.protocol import engine_of
from .naming import load_served
from .turns import Turn


async def aworker(
    *graphs: str,
    db: str | Path = "stepgraph.sqlite",
    on: str | None = None,
    models: Any = None,
    at_once: int = 100,
    grace_s: float = 20.0,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve graphs until SIGTERM or Ctrl-C: take threads that were handed to workers, and run them.

    `graphs` are references; a job chooses among them by name, and nothing else. `models` answer in all runs,
    as in `Session(models=…)`; else those of the settings do. `at_once` is how many threads run at a time.
    When it is to end, it begins no more calls, waits `grace_s` seconds at most for those under way, and
    hands its threads over. `ready` is called once it can take threads.
    """
    served = load_served(graphs)
    specs = (
        {name: spec for name, spec in models.items() if isinstance(spec, str)} if _are_roles(models) else {}
    )
    with Session(db, models=models or None, tracing=Tracing()) as session:
        turn = Turn(session, served, models=specs, grace_s=grace_s)
        engine = engine_of(on, session)
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or no main thread
                loop.add_signal_handler(number, _end, turn, number)
        try:
            await engine.serve(turn, at_once=at_once, ready=ready)
        except asyncio.CancelledError:
            turn.drain()
            raise
        finally:
            for number in numbers:
                with suppress(NotImplementedError, RuntimeError, ValueError):
                    loop.remove_signal_handler(number)


def worker(*graphs: str, **options: Any) -> None:
    """Like `aworker`, for a program that does nothing else."""
    asyncio.run(aworker(*graphs, **options))


def _end(turn: Turn, number: int) -> None:
    if turn.is_draining and number == signal.SIGINT:  # Ctrl-C, twice: at once
        os._exit(128 + number)
    turn.drain()


def _are_roles(models: Any) -> bool:
    return isinstance(models, Mapping)
