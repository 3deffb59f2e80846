"""Schedules on a Temporal server: its own, each of which begins a thread's workflow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from ...state.journal.schedules import ScheduleRecord
from ...state.keys_in_use import without_keys
from .temporal_workflow import GRAPH, STATUS, STEP, USER, ThreadWorkflow

CATCH_UP: Final = {"skip": timedelta(minutes=1), "one": timedelta(days=365), "all": timedelta(days=365)}


def schedule_id(queue: str, name: str) -> str:
    """Return the id of a schedule, which begins that of each of its workflows."""
    return f"{queue}/{name}"


async def put(client: Client, queue: str, record: ScheduleRecord) -> None:
    """Make a schedule, or change the one that is there."""
    try:
        await _put(client, queue, record, searchable=True)
    except RPCError as error:
        if error.status != RPCStatusCode.INVALID_ARGUMENT:
            raise
        await _put(client, queue, record, searchable=False)  # nobody may register attributes


async def _put(client: Client, queue: str, record: ScheduleRecord, *, searchable: bool) -> None:
    name, schedule = schedule_id(queue, record.name), _schedule(queue, record, searchable)
    try:
        await client.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:

        def change(_: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(schedule)

        await client.get_schedule_handle(name).update(change)


def shown_at_start(graph: str, user: object) -> dict[SearchAttributeKey[str], str]:
    """Return what Temporal's page shows of a run that begins. No key goes there, whatever a user's name."""
    return {
        GRAPH: graph,
        STATUS: "queued",
        **({} if user is None else {USER: without_keys(str(user))}),
    }


def _schedule(queue: str, record: ScheduleRecord, searchable: bool) -> Schedule:
    shown = shown_at_start(record.graph, record.options.get("user"))
    job: dict[str, Any] = {"graph": record.graph, "schedule": record.name}
    pairs = [SearchAttributePair(key, value) for key, value in shown.items()]
    action = ScheduleActionStartWorkflow(
        ThreadWorkflow.run,
        {**job, "searchable": True} if searchable else job,
        id=schedule_id(queue, record.name),
        task_queue=queue,
        task_timeout=STEP,
        typed_search_attributes=TypedSearchAttributes(pairs if searchable else []),
        memo={} if searchable else {key.name: value for key, value in shown.items()},
    )
    if record.every_s is None:
        spec = ScheduleSpec(cron_expressions=[record.cron or ""], time_zone_name=record.timezone)
    else:
        spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(seconds=record.every_s))])
    policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL, catchup_window=CATCH_UP[record.missed])
    return Schedule(action, spec, policy, ScheduleState(paused=record.status == "paused"))


async def drop(client: Client, queue: str, name: str) -> None:
    """Forget a schedule."""
    try:
        await client.get_schedule_handle(schedule_id(queue, name)).delete()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
