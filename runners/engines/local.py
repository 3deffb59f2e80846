"""The engine without a server: the queue stands in the record itself, and any number of workers share it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from ...state.errors import StoreError
from ...state.event_loops import in_thread
from ...state.journal.job_turns import renew_turns, take_job
from ...state.journal.jobs import LOCAL, JobRecord
from ...state.journal.journal import Journal
from ...state.session.session import Session
from ..outcomes import Job
from ..turns import Turn
from .protocol import ByRecord, until_stopped

LEASE_S: Final = 3.0  # a worker that says nothing for so long has lost its jobs
RENEW_S: Final = 1.0
LOOK_S: Final = 0.2
LOGGER = logging.getLogger("stepgraph.worker")


class LocalEngine(ByRecord):
    """A queue in the session's database. What is to be done is on record already, so nobody is told."""

    name = LOCAL

    def __init__(self, session: Session) -> None:
        self._session = session

    async def submit(self, job: Job) -> None:
        return

    async def answer(self, job: Job, questions: Collection[str]) -> None:
        return

    async def cancel(self, job: Job) -> None:
        return

    async def watch(self, job: Job) -> JobRecord:
        return await until_stopped(self._session, job.thread)

    async def serve(self, turn: Turn, *, at_once: int, ready: Callable[[], None]) -> None:
        journal, running = self._session.journal, set[asyncio.Task[None]]()
        leases = asyncio.ensure_future(renewing(turn, journal))
        ready()
        try:
            while not turn.is_draining:
                record = None
                if len(running) < at_once:
                    try:
                        record = await in_thread(self._take, turn)
                    except StoreError as error:
                        LOGGER.warning("%s", error)
                if record is None:
                    await turn.until_draining(LOOK_S)
                    continue
                task = asyncio.ensure_future(self._run(turn, record))
                running.add(task)
                task.add_done_callback(running.discard)
        finally:
            turn.drain()
            while running:
                await asyncio.wait(running)
            leases.cancel()
            await asyncio.gather(leases, return_exceptions=True)

    def _take(self, turn: Turn) -> JobRecord | None:
        return take_job(
            self._session.journal,
            turn.served.names,
            turn.owner,
            LEASE_S,
            versions=turn.served.versions,
            begins=turn.served.begins,
        )

    @staticmethod
    async def _run(turn: Turn, record: JobRecord) -> None:
        try:
            await turn.take(record)
        except Exception:  # how it ended could not be put on record: its lease ends, and another turn begins
            LOGGER.exception("%s: its turn was lost", record.thread_id)


async def renewing(turn: Turn, journal: Journal) -> None:
    """Say every second that a worker lives; stop what was canceled, or is another's by now. It never ends."""
    while True:
        await asyncio.sleep(RENEW_S)
        begun = turn.running
        try:
            mine, stopped = await in_thread(renew_turns, journal, turn.owner, begun, LEASE_S)
        except StoreError as error:
            LOGGER.warning("%s", error)
            continue
        for thread in stopped:
            turn.cancel(thread)
        for thread in begun.keys() - mine:
            turn.forsake(thread, begun[thread])


def connect(_: str, session: Session) -> LocalEngine:
    """Return the engine of a session's database."""
    return LocalEngine(session)
