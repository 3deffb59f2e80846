"""Schedules, from Python: jobs that begin by themselves, each time once, as long as a worker lives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Unpack

from ..state.database import PostgresAddress
from ..state.errors import InputError
from ..state.event_loops import in_thread, sync_version
from ..state.journal.schedules import (
    Missed,
    ScheduleRecord,
    begin_once,
    clock,
    drop_schedule,
    find_schedule,
    put_schedule,
    read_schedules,
    set_schedule,
)
from ..state.session.session import Session
from .choosing import engine_of
from .engines.protocol import Engine
from .job_data import JobOptions, plain_input, plain_options
from .naming import graph_name
from .outcomes import Job
from .sessions import session_at
from .times import check_times, next_time, thread_of

MISSED: Final = ("skip", "one", "all")
_NAME: Final = re.compile(r"[\w.:@-]{1,100}", re.ASCII)


class ScheduleHandle:
    """One schedule, from any process that reaches its database.

    Each method has an async form whose name begins with an `a`.
    """

    def __init__(self, session: Session, engine: Engine, record: ScheduleRecord) -> None:
        self.name = record.name
        self._session = session
        self._engine = engine

    def __repr__(self) -> str:
        return f"ScheduleHandle({self.name!r}, on {self._engine.name!r})"

    async def arecord(self) -> ScheduleRecord:
        """Return what is on record: its graph, when it begins one, and when the next and last time are."""
        record = await in_thread(find_schedule, self._session.journal, self.name)
        if record is None:
            raise _unknown(self.name)
        return record

    async def apause(self) -> None:
        """Begin no more jobs, until it is to go on."""
        await self._set("paused")

    async def aresume(self) -> None:
        """Begin jobs again, from now on: what came in the pause was not missed."""
        await self._set("active")

    async def aremove(self) -> None:
        """Forget the schedule; jobs that it began go on."""
        await in_thread(drop_schedule, self._session.journal, self.name)
        await self._engine.unschedule(self.name)

    async def arun_now(self) -> str:
        """Begin a job now, beside the times of the schedule; return its thread."""
        journal, record = self._session.journal, await self.arecord()
        thread = thread_of(self.name, await in_thread(clock, journal))
        await in_thread(begin_once, journal, record, thread)
        await self._engine.submit(Job(record.graph, thread))
        return thread

    async def _set(self, status: Any) -> None:
        journal, record = self._session.journal, await self.arecord()
        next_at = None
        if status == "active":
            next_at = next_time(record, await in_thread(clock, journal))
        changed = await in_thread(set_schedule, journal, self.name, status, next_at)
        await self._engine.schedule(changed or replace(record, status=status))

    record = sync_version(arecord)
    pause = sync_version(apause)
    resume = sync_version(aresume)
    remove = sync_version(aremove)
    run_now = sync_version(arun_now)


async def aschedule(
    name: str,
    graph: str,
    state: Any,
    *,
    every: timedelta | float | None = None,
    cron: str | None = None,
    timezone: str = "UTC",
    missed: Missed = "one",
    db: str | Path | PostgresAddress | Session = "stepgraph.sqlite",
    on: str | None = None,
    **options: Unpack[JobOptions],
) -> ScheduleHandle:
    """Have jobs begin by themselves: `every` so many seconds, or as a line of `cron` says in a `timezone`.

    Each time has one job, on the thread `NAME-2026-11-27T07:00:00Z`, whoever looks and however often. Times
    at which no worker lived are `missed`: of those, "one" begins the last, "all" begins each, "skip" none.
    Graph, state, `on` and options are as in `submit`. A schedule that is there with the same terms stays as
    it is; with others, it has to be removed first.
    """
    session = await in_thread(session_at, db)
    engine = engine_of(on, session)
    if not _NAME.fullmatch(name):
        raise InputError(f"A schedule's name has letters, digits and any of . : @ _ -, not {name!r:.120}.")
    if missed not in MISSED:
        raise InputError(f"missed={missed!r}: expected one of {', '.join(MISSED)}.")
    if options.get("restart"):
        raise InputError("A schedule begins new threads: leave out restart.")
    record = ScheduleRecord(
        name,
        await in_thread(graph_name, graph),
        plain_input(state),
        options=plain_options(options),
        engine=engine.name,
        every_s=every.total_seconds() if isinstance(every, timedelta) else every,
        cron=cron,
        timezone=timezone,
        missed=missed,
    )
    check_times(record)
    next_at = next_time(record, await in_thread(clock, session.journal))
    if not await in_thread(put_schedule, session.journal, replace(record, next_at=next_at)):
        raise InputError(
            f"There is a schedule {name!r} with other terms. Remove it first: stepgraph schedule remove "
            f"{name}"
        )
    await engine.schedule(await ScheduleHandle(session, engine, record).arecord())
    return ScheduleHandle(session, engine, record)


async def ascheduled(
    name: str, *, db: str | Path | PostgresAddress | Session = "stepgraph.sqlite", on: str | None = None
) -> ScheduleHandle:
    """Return the handle on a schedule. Raises InputError if there is none of that name.

    `on` is needed where its engine is a server: the record does not choose whom we call.
    """
    session = await in_thread(session_at, db)
    record = await in_thread(find_schedule, session.journal, name)
    if record is None:
        raise _unknown(name)
    if on is None and record.engine.startswith("temporal:"):
        raise InputError(
            f"The schedule {name!r} is on {record.engine}. If you trust that address, name it: --on "
            f"{record.engine}."
        )
    return ScheduleHandle(session, engine_of(on or record.engine, session), record)


def schedules(db: str | Path | PostgresAddress | Session = "stepgraph.sqlite") -> Sequence[ScheduleRecord]:
    """Return all schedules of a database."""
    return read_schedules(session_at(db).journal)


def shown_time(at: float | None, zone: Any = UTC) -> str:
    """Return a time of a schedule as a person reads it."""
    return "" if at is None else datetime.fromtimestamp(at, zone).isoformat(timespec="seconds")


def _unknown(name: str) -> InputError:
    return InputError(f"There is no schedule {name!r}: stepgraph schedule list")


schedule = sync_version(aschedule)
scheduled = sync_version(ascheduled)
