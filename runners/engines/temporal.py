"""The engine on a Temporal server: a workflow for each thread, whose activity is a turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from temporalio import activity
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

from ...state.errors import InputError
from ...state.event_loops import in_thread
from ...state.journal.jobs import JobRecord, drop_answers, fail_job, find_job, link_job, stop_job
from ...state.journal.schedules import ScheduleRecord
from ...state.session.session import Session
from ...tracing.record.spans import trace_id
from ...tracing.record.threads import find_thread
from ..outcomes import Job
from ..turns import Turn
from . import temporal_schedules
from .protocol import until_stopped
from .temporal_activities import Activities
from .temporal_client import AWAY, Address
from .temporal_workflow import CANCEL, COST, GRAPH, STATUS, STEP, USER, ThreadWorkflow

STICKY: Final = timedelta(seconds=1)  # how long a step of a workflow waits for a worker that died
# Who has asked for longest gets a step, even a worker that stands still: so as few as do ask at a time.
POLLS: Final = PollerBehaviorAutoscaling(minimum=1, maximum=5, initial=1)
CHECK_S: Final = 5.0
ANSWER_S: Final = 5.0  # so long a worker may take to look at an answer
LOGGER = logging.getLogger("stepgraph.worker")


class TemporalEngine:
    """A workflow for each thread, on one task queue."""

    has_schedules = True

    def __init__(self, address: Address, session: Session) -> None:
        self._address = address
        self._session = session
        self.name = str(address)

    def workflow_id(self, job: Job) -> str:
        """Return the id of a thread's workflow: the same whoever asks."""
        return f"{self._address.queue}/{job.thread}"

    async def submit(self, job: Job) -> None:
        client = await self._address.client()
        with self._address.reaching():
            while True:
                try:
                    await self._start(client, job)
                except WorkflowAlreadyStartedError:
                    if not await self._wake(client, job):
                        continue  # it ended just now
                return

    async def _wake(self, client: Client, job: Job) -> bool:
        """Have a thread's workflow go on, once a worker is there; return whether there is one."""
        try:
            await client.get_workflow_handle(self.workflow_id(job)).signal(ThreadWorkflow.wake)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def _start(self, client: Client, job: Job) -> None:
        record = await in_thread(find_job, self._session.journal, job.thread)
        known = temporal_schedules.shown_at_start(job.graph, record and record.options.get("user"))
        shown = TypedSearchAttributes([SearchAttributePair(key, value) for key, value in known.items()])
        started: dict[str, Any] = {
            "id": self.workflow_id(job),
            "task_queue": self._address.queue,
            "task_timeout": STEP,
            "id_conflict_policy": WorkflowIDConflictPolicy.FAIL,
        }
        named = {"graph": job.graph, "thread": job.thread}
        memo = await in_thread(_trace_of, self._session, record)
        try:
            handle = await client.start_workflow(
                ThreadWorkflow.run,
                {**named, "searchable": True},
                search_attributes=shown,
                memo=memo,
                **started,
            )
        except RPCError as error:
            if error.status != RPCStatusCode.INVALID_ARGUMENT:
                raise
            memo |= {key.name: value for key, value in known.items()}  # nobody may register attributes
            handle = await client.start_workflow(ThreadWorkflow.run, named, memo=memo, **started)
        link = f"{handle.id} {handle.first_execution_run_id}"
        await in_thread(link_job, self._session.journal, job.thread, link)

    async def answer(self, job: Job, questions: Collection[str]) -> None:
        client = await self._address.client()
        handle = client.get_workflow_handle(self.workflow_id(job))
        options: Any = {"arg": list(questions), "rpc_timeout": timedelta(seconds=ANSWER_S)}
        try:
            await handle.execute_update(ThreadWorkflow.answer, **options)
        except WorkflowUpdateFailedError as error:
            await in_thread(drop_answers, self._session.journal, job.thread, questions)
            raise InputError(f"The answer to {job.thread!r} was not taken: {error.cause}") from None
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            if isinstance(error.__cause__, asyncio.CancelledError):
                raise error.__cause__ from None
            await self.submit(job)  # no worker is there to take it: the record has it for the next one
        except RPCError as error:
            if error.status not in (RPCStatusCode.NOT_FOUND, *AWAY):
                raise
            await self.submit(job)  # its workflow was ended from outside

    async def cancel(self, job: Job) -> None:
        client = await self._address.client()
        with suppress(RPCError):  # it has ended
            await client.get_workflow_handle(self.workflow_id(job)).cancel()

    async def schedule(self, schedule: ScheduleRecord) -> None:
        client = await self._address.client()
        await _register(client)
        await temporal_schedules.put(client, self._address.queue, schedule)

    async def unschedule(self, name: str) -> None:
        await temporal_schedules.drop(await self._address.client(), self._address.queue, name)

    async def watch(self, job: Job) -> JobRecord:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    return await until_stopped(self._session, job.thread)
            await self._check(job)

    async def _check(self, job: Job) -> None:
        """Record it where a workflow was ended from outside, so that no turn follows."""
        client = await self._address.client()
        with suppress(RPCError):
            described = await client.get_workflow_handle(self.workflow_id(job)).describe()
            if described.status in (WorkflowExecutionStatus.TERMINATED, WorkflowExecutionStatus.TIMED_OUT):
                kind = f"Workflow{described.status.name.title().replace('_', '')}"
                await in_thread(fail_job, self._session.journal, job.thread, kind)

    async def serve(self, turn: Turn, *, at_once: int, ready: Callable[[], None]) -> None:
        client = await self._address.client()
        await _register(client)
        worker = Worker(
            client,
            task_queue=self._address.queue,
            workflows=[ThreadWorkflow],
            activities=[_Canceling(turn).cancel],
            no_remote_activities=True,
            workflow_runner=UnsandboxedWorkflowRunner(),
            debug_mode=True,  # no thread for each of its steps: they are short, and wait for nothing
            sticky_queue_schedule_to_start_timeout=STICKY,
            workflow_task_poller_behavior=POLLS,
        )
        running = asyncio.ensure_future(worker.run())
        working = asyncio.ensure_future(Activities(client, self._address.queue, turn, at_once).serve())
        ready()
        try:
            await asyncio.wait({running, working}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            turn.drain()
            try:
                await asyncio.shield(working)
            finally:
                await worker.shutdown()
        await running


def _trace_of(session: Session, record: JobRecord | None) -> dict[str, str]:
    """Return by what a job's run is found in Langfuse, and wherever else its trace is sent."""
    if record is None:
        return {}
    began = find_thread(session.journal, record.thread_id).started_at
    return {"trace": trace_id(record.thread_id, began, record.trace)}


class _Canceling:
    """What the workflow itself has a worker do, without the task queue."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    @activity.defn(name=CANCEL)
    async def cancel(self, thread: str) -> None:
        """Put it on record that a thread was canceled while it waited."""
        await in_thread(stop_job, self._turn.session.journal, thread)


async def _register(client: Client) -> None:
    """Make known by what workflows can be searched for, where that is allowed."""
    kinds = {
        GRAPH.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
        STATUS.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
        USER.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
        COST.name: IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    }
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=kinds)
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status != RPCStatusCode.ALREADY_EXISTS:
            LOGGER.warning(
                "Graph, status, user and cost of a run are in the memo of its workflow. To search by them, "
                "have an administrator add the search attributes %s (%s).",
                ", ".join(kinds),
                error.message,
            )


def connect(on: str, session: Session) -> TemporalEngine:
    """Return the engine at an address."""
    return TemporalEngine(Address.read(on), session)
