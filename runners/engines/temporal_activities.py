"""The activities of one worker: asked for and answered by calls of our own, not by Temporal's library.

Its library leaves a question for work open for a minute. A process that stands still has it open all the
same, so the server gives it the work that another would take over, a heartbeat's time for each open question.
Ours is over before a heartbeat is missed: whoever stands still is given nothing by then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.failure.v1 import Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    RecordActivityTaskHeartbeatRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
)
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from ...state.errors import StepgraphError
from ...state.event_loops import in_thread
from ...state.journal.jobs import link_job
from ..firing import fire_one
from ..outcomes import NO_HEARTBEAT, Job, Outcome
from ..passing import is_retryable
from ..turns import Turn
from .temporal_workflow import FIRE, HEARTBEAT, TURN

BEAT_S: Final = 0.6
# The server takes two seconds at least, and answers one second before its end. The heartbeat of a process
# that stands still is missed after 1.4 seconds at the earliest: all that it had asked is over by then.
ASKED: Final = timedelta(seconds=2.2)
AGAIN_S: Final = (0.2, 5.0)  # how long to wait for a server that does not answer: at first, and at most
FORSAKEN_S: Final = 10.0
_TOO_LATE: Final = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)  # for one question
_FOR_NOTHING: Final = (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT)
LOGGER = logging.getLogger("stepgraph.worker")
Task = PollActivityTaskQueueResponse


class Activities:
    """Asks a task queue for work, so much at a time, and says how each piece ended."""

    def __init__(self, client: Client, queue: str, turn: Turn, at_once: int) -> None:
        self._client = client
        self._service = client.workflow_service
        self._queue = queue
        self._turn = turn
        self._free = asyncio.Semaphore(at_once)
        self._running: set[asyncio.Task[None]] = set()
        self._who: Mapping[str, Any] = {"namespace": client.namespace, "identity": client.identity}
        self._kinds: Mapping[str, Callable[[Task, Any], Awaitable[Any]]] = {TURN: self._run, FIRE: self._fire}

    async def serve(self) -> None:
        """Take work until the worker drains, and then return once what was begun has ended."""
        wait_s, most_s = AGAIN_S
        while await self._free.acquire() and not self._turn.is_draining:
            try:
                task = await self._next_task()
            except RPCError as error:
                self._free.release()
                if error.status not in _TOO_LATE:
                    LOGGER.warning("The Temporal server does not answer: %s", error.message)
                    await self._turn.until_draining(wait_s)
                    wait_s = min(most_s, wait_s * 2)
                continue
            wait_s = AGAIN_S[0]
            if not task.task_token:
                self._free.release()
                continue
            working = asyncio.ensure_future(self._work(task))
            self._running.add(working)
            working.add_done_callback(self._ended)
        if self._running:
            await asyncio.wait(self._running)

    def _ended(self, working: asyncio.Task[None]) -> None:
        self._running.discard(working)
        self._free.release()

    async def _next_task(self) -> Task:
        kind = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
        queue = TaskQueue(name=self._queue, kind=kind)
        request = PollActivityTaskQueueRequest(task_queue=queue, **self._who)
        return await self._service.poll_activity_task_queue(request, timeout=ASKED)

    async def _work(self, task: Task) -> None:
        converter, named = self._client.data_converter, {**self._who, "task_token": task.task_token}
        try:
            (request,) = await converter.decode(task.input.payloads)
            result = await self._kinds[task.activity_type.name](task, request)
            done = RespondActivityTaskCompletedRequest(**named)
            done.result.payloads.extend(await converter.encode([result]))
            await self._report(self._service.respond_activity_task_completed, done)
        except Exception as error:
            if not isinstance(error, ApplicationError):
                LOGGER.exception("%s failed", task.activity_type.name)
                error = ApplicationError(type(error).__name__)  # what it says may hold a prompt
            failure = Failure()
            await converter.encode_failure(error, failure)
            failed = RespondActivityTaskFailedRequest(failure=failure, **named)
            await self._report(self._service.respond_activity_task_failed, failed)

    async def _report(self, tell: Callable[..., Awaitable[Any]], request: Any) -> None:
        """Tell how an activity ended, until the server has taken it, or knows of nothing that could end."""
        wait_s, most_s = AGAIN_S
        while True:
            try:
                await tell(request, timeout=timedelta(seconds=10))
            except RPCError as error:
                if error.status in _FOR_NOTHING:
                    return
                LOGGER.warning("The Temporal server does not answer: %s", error.message)
                if self._turn.is_draining:
                    return  # it misses the heartbeat, and has another worker find on record how it ended
            else:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(most_s, wait_s * 2)

    # A turn

    async def _run(self, task: Task, request: Mapping[str, str]) -> dict[str, Any]:
        """Run a thread until it ends or waits; what fails is tried again by Temporal, if that may help."""
        job = Job(request["graph"], request["thread"])
        token = task.current_attempt_scheduled_time.ToMicroseconds()
        beats = asyncio.ensure_future(self._beating(task, job.thread, token))
        try:
            outcome = await self._turn.run(job, token, NO_HEARTBEAT)
        except StepgraphError as error:  # the record could not be read or written
            kind = type(error).__name__
            outcome = Outcome("failed", kind=kind, retryable=is_retryable(error), after_s=1.0)
        finally:
            beats.cancel()
        if not outcome.retryable and outcome.status != "handed_over":
            return outcome.to_json()
        delay = timedelta(seconds=max(outcome.after_s, 0.001))
        raise ApplicationError(outcome.kind or outcome.status, next_retry_delay=delay) from None

    async def _beating(self, task: Task, thread: str, token: int) -> None:
        """Say that the turn is under way; stop its thread once it was canceled, or is another's turn.

        One of which the server heard too late may be given to us again.
        """
        request = RecordActivityTaskHeartbeatRequest(task_token=task.task_token, **self._who)
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                response = await self._service.record_activity_task_heartbeat(request, timeout=HEARTBEAT)
            except RPCError as error:
                if error.status in _FOR_NOTHING:
                    asyncio.get_running_loop().call_later(FORSAKEN_S, self._turn.forsake, thread, token)
                    return
                continue
            if response.cancel_requested:
                self._turn.cancel(thread)

    # A schedule

    async def _fire(self, task: Task, due: Mapping[str, str]) -> bool:
        """Put the job of a schedule's time on record; False where it was missed, or the schedule is gone."""
        journal = self._turn.session.journal
        if await in_thread(fire_one, journal, due["schedule"], due["thread"]) is None:
            return False
        workflow = task.workflow_execution
        await in_thread(link_job, journal, due["thread"], f"{workflow.workflow_id} {workflow.run_id}")
        return True
