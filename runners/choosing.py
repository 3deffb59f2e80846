"""From an address to its engine. An engine's package is imported when it is first named."""

from __future__ import annotations

from importlib import import_module
from typing import Final
from urllib.parse import urlsplit

from ..state.errors import InputError, did_you_mean
from ..state.journal.jobs import LOCAL, JobRecord
from ..state.session.session import Session
from .engines.protocol import Engine

ENGINES: Final = (LOCAL, "temporal", "dbos")  # each in its module of runners/engines/
VARIABLE: Final = "STEPGRAPH_ON"


def engine_of(on: str | None, session: Session) -> Engine:
    """Return the engine that an address names; without one, the queue in the session's own database.

    Raises InputError for an engine that is unknown, or whose package is not installed.
    """
    kind = urlsplit(on).scheme or on if on else LOCAL
    if kind not in ENGINES:
        raise InputError(
            f"There is no engine {kind!r}. {did_you_mean(str(kind), ENGINES)} Expected local, dbos, or "
            "temporal://host:port."
        )
    try:
        module = import_module(f".engines.{kind}", __package__)
    except ModuleNotFoundError as error:
        raise InputError(
            f"The engine {kind!r} needs the package {error.name}: pip install 'stepgraph[{kind}]'"
        ) from None
    engine: Engine = module.connect(on or LOCAL, session)
    return engine


def engine_for(job: JobRecord, on: str | None, session: Session) -> Engine:
    """Return the engine that runs a job: the one that is named, else the one on record if it is local.

    A record may come from anywhere. It does not choose where we connect to, with keys from the environment.
    """
    if on is None and job.engine != LOCAL and not _is_here(job.engine):
        raise InputError(
            f"The thread {job.thread_id!r} runs on {job.engine}. If you trust that address, name it: --on "
            f"{job.engine}, or the variable {VARIABLE}."
        )
    return engine_of(on or job.engine, session)


def _is_here(address: str) -> bool:
    """Tell whether an engine is on this machine, or is no server."""
    host = urlsplit(address).hostname
    return host is None or host in ("localhost", "127.0.0.1", "::1")
