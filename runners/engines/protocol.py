"""What an engine is: it brings a thread's name to some worker, again where one died, and carries no state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Final, Protocol
from urllib.parse import urlsplit

from ...state.errors import InputError, did_you_mean
from ...state.event_loops import in_thread
from ...state.journal.jobs import LOCAL, JobRecord, find_job
from ...state.session.session import Session
from ..turns import Job, Turn

MODULES: Final = {LOCAL: "local", "temporal": "temporal", "dbos": "dbos"}
VARIABLE: Final = "STEPGRAPH_ON"
FIRST_LOOK_S: Final = 0.02
LAST_LOOK_S: Final = 0.25


class Engine(Protocol):
    """Brings jobs to workers. The record has a job, and its answers, before an engine hears of it."""

    @property
    def name(self) -> str:
        """What the record calls it: its kind, or its address without secrets."""
        ...

    async def submit(self, job: Job) -> None:
        """Have some worker begin a job, or go on with it."""
        ...

    async def answer(self, job: Job, questions: Collection[str]) -> None:
        """Have some worker go on with a job to which answers were given, by the ids of what they answer.

        Raises InputError where the engine knows that nothing of that kind waits.
        """
        ...

    async def cancel(self, job: Job) -> None:
        """Have a job stop where it can be gone on with."""
        ...

    async def watch(self, job: Job) -> JobRecord:
        """Return how a job stands once it has ended, or waits."""
        ...

    async def serve(self, turn: Turn, *, at_once: int, ready: Callable[[], None]) -> None:
        """Give jobs to a worker, so many at a time, until it drains; call `ready` once it can get some."""
        ...


def engine_of(on: str | None, session: Session) -> Engine:
    """Return the engine that an address names; without one, the queue in the session's own database.

    Raises InputError for an engine that is unknown, or whose package is not installed.
    """
    kind = urlsplit(on).scheme or on if on else LOCAL
    if kind not in MODULES:
        raise InputError(
            f"There is no engine {kind!r}. {did_you_mean(str(kind), MODULES)} Expected local, dbos, or "
            "temporal://host:port."
        )
    try:
        module = import_module(f".{MODULES[kind]}", __package__)
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


async def until_stopped(session: Session, thread: str) -> JobRecord:
    """Return a thread's job once it has ended, or waits, by the record. Raises InputError without a job."""
    wait_s = FIRST_LOOK_S
    while True:
        job = await in_thread(find_job, session.journal, thread)
        if job is None:
            raise InputError(f"The thread {thread!r} was not handed to workers.")
        if job.is_over or job.status == "waiting":
            return job
        await asyncio.sleep(wait_s)
        wait_s = min(LAST_LOOK_S, wait_s * 1.5)
