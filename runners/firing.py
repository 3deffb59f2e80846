"""Begins the jobs of schedules when their times come, for the engines that have no schedules of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from ..state.errors import StepgraphError
from ..state.event_loops import in_thread
from ..state.journal.journal import Journal
from ..state.journal.schedules import (
    ScheduleRecord,
    begin_once,
    begin_times,
    clock,
    due_schedules,
    find_schedule,
)
from .outcomes import Job
from .times import FRESH_S, next_time, thread_of, time_of, to_begin
from .turns import Turn

LOOK_S = 1.0
LOGGER = logging.getLogger("stepgraph.worker")


async def firing(turn: Turn, engine: str, submit: Callable[[Job], Awaitable[None]]) -> None:
    """Begin what is due, each second. It never ends."""
    journal = turn.session.journal
    while True:
        try:
            for job in await in_thread(fire_due, journal, turn.served.names, engine):
                await submit(job)
        except StepgraphError as error:
            LOGGER.warning("%s", error)
        except Exception:
            LOGGER.exception("Schedules could not be looked at")
        await asyncio.sleep(LOOK_S)


def fire_due(journal: Journal, graphs: Iterable[str], engine: str) -> list[Job]:
    """Put the jobs on record whose times have come; return those that were put by this call."""
    begun: list[Job] = []
    for schedule in due_schedules(journal, list(graphs), engine):
        try:
            times, next_at = to_begin(schedule, clock(journal))
        except StepgraphError as error:  # the package for cron is missing here
            LOGGER.warning("%s: %s", schedule.name, error)
            continue
        threads = [thread_of(schedule.name, at) for at in times]
        last_at = times[-1] if times else next_at
        if begin_times(journal, schedule, threads, last_at, next_at):
            begun += [Job(schedule.graph, thread) for thread in threads]
    return begun


def fire_one(journal: Journal, name: str, thread: str) -> ScheduleRecord | None:
    """Put the job of a thread on record that an engine's own schedule has begun; None if it is not to be."""
    schedule = find_schedule(journal, name)
    if schedule is None:
        return None
    at, now = time_of(name, thread), clock(journal)
    is_last = next_time(schedule, at) > now
    if now - at > FRESH_S and not (schedule.missed == "all" or (schedule.missed == "one" and is_last)):
        return None
    begin_once(journal, schedule, thread)
    return schedule
