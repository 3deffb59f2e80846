"""What an engine is: it brings a thread's name to some worker, again where one died, and carries no state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final, Protocol

from ...state.errors import InputError
from ...state.event_loops import in_thread
from ...state.journal.jobs import JobRecord, find_job
from ...state.journal.schedules import ScheduleRecord
from ...state.session.session import Session
from ..outcomes import Job
from ..turns import Turn

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

    @property
    def has_schedules(self) -> bool:
        """Whether it begins the jobs of schedules by itself; else its workers do, by the record."""
        ...

    async def schedule(self, schedule: ScheduleRecord) -> None:
        """Take notice of a schedule that was put on record, was paused, or goes on."""
        ...

    async def unschedule(self, name: str) -> None:
        """Take notice that there is no such schedule any more."""
        ...

    async def serve(self, turn: Turn, *, at_once: int, ready: Callable[[], None]) -> None:
        """Give jobs to a worker, so many at a time, until it drains; call `ready` once it can get some."""
        ...


class ByRecord:
    """What an engine is for schedules if its workers begin them by the record."""

    has_schedules = False

    async def schedule(self, schedule: ScheduleRecord) -> None:
        return

    async def unschedule(self, name: str) -> None:
        return


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
