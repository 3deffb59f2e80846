"""The engine on a Temporal server: a workflow for each thread, whose activity is a turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit
from weakref import WeakKeyDictionary

from temporalio import activity
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.envconfig import ClientConfigProfile
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from ...state.errors import EngineUnreachable, InputError, StepgraphError
from ...state.event_loops import in_thread
from ...state.journal.jobs import JobRecord, drop_answers, fail_job, find_job, link_job, stop_job
from ...state.session.session import Session
from ...tracing.record.spans import trace_id
from ...tracing.record.threads import find_thread
from ..passing import is_retryable
from ..turns import Job, Outcome, Turn
from .protocol import until_stopped
from .temporal_workflow import CANCEL, COST, GRAPH, STATUS, TURN, USER, ThreadWorkflow

QUEUE: Final = "stepgraph"
PORT: Final = 7233
BEAT_S: Final = 1.0
STICKY: Final = timedelta(seconds=1)  # how long a step of a workflow waits for a worker that died
CHECK_S: Final = 5.0
FORSAKEN_S: Final = 10.0
LOGGER = logging.getLogger("stepgraph.worker")
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Client]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Address:
    """Where a server is: temporal://host:port/namespace?queue=name. Keys come from the environment alone."""

    target: str
    namespace: str | None
    queue: str

    @classmethod
    def read(cls, on: str) -> Address:
        """Return what an address says. Raises InputError for what it may not, or cannot."""
        parts = urlsplit(on)
        options = parse_qs(parts.query)
        if parts.username or parts.password or not {*options} <= {"queue"}:
            raise InputError(
                f"--on temporal://{parts.hostname}…: expected temporal://host:port/namespace?queue=name. "
                "Keys and certificates come from the environment: TEMPORAL_API_KEY, TEMPORAL_TLS_…"
            )
        try:
            port = parts.port or PORT
        except ValueError:
            raise InputError(f"{on}: the port is no number.") from None
        queue = options.get("queue", [QUEUE])[0]
        return cls(f"{parts.hostname or 'localhost'}:{port}", parts.path.strip("/") or None, queue)

    def __str__(self) -> str:
        queue = "" if self.queue == QUEUE else f"?{urlencode({'queue': self.queue})}"
        return f"temporal://{self.target}{f'/{self.namespace}' if self.namespace else ''}{queue}"

    async def client(self) -> Client:
        """Return the client of this event loop. Raises EngineUnreachable.

        The rest of what it needs stands in the environment, as for Temporal's own tools.
        """
        clients = _clients.setdefault(asyncio.get_running_loop(), {})
        if str(self) not in clients:
            profile = ClientConfigProfile.load()
            namespace = self.namespace or profile.namespace or "default"
            profile = replace(profile, address=self.target, namespace=namespace)
            try:
                clients[str(self)] = await Client.connect(**profile.to_client_connect_config())
            except (RuntimeError, RPCError, OSError) as error:
                why = "nothing listens there" if "ConnectionRefused" in str(error) else f"{error!s:.200}"
                raise EngineUnreachable(
                    f"No Temporal server answers at {self.target}: {why}. Start it, or name another one. "
                    "What was put on record waits there."
                ) from None
        return clients[str(self)]


class TemporalEngine:
    """A workflow for each thread, on one task queue."""

    def __init__(self, address: Address, session: Session) -> None:
        self._address = address
        self._session = session
        self.name = str(address)

    def workflow_id(self, job: Job) -> str:
        """Return the id of a thread's workflow: the same whoever asks."""
        return f"{self._address.queue}/{job.thread}"

    async def submit(self, job: Job) -> None:
        client = await self._address.client()
        while True:
            try:
                await self._start(client, job)
            except WorkflowAlreadyStartedError:
                try:
                    await client.get_workflow_handle(self.workflow_id(job)).signal(ThreadWorkflow.wake)
                except RPCError as error:
                    if error.status == RPCStatusCode.NOT_FOUND:
                        continue  # it ended just now
                    raise
            return

    async def _start(self, client: Client, job: Job) -> None:
        record = await in_thread(find_job, self._session.journal, job.thread)
        user = None if record is None else record.options.get("user")
        known = {GRAPH: job.graph, STATUS: "queued", **({} if user is None else {USER: str(user)})}
        shown = TypedSearchAttributes([SearchAttributePair(key, value) for key, value in known.items()])
        started: dict[str, Any] = {
            "id": self.workflow_id(job),
            "task_queue": self._address.queue,
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
        try:
            await handle.execute_update(ThreadWorkflow.answer, list(questions))
        except WorkflowUpdateFailedError as error:
            await in_thread(drop_answers, self._session.journal, job.thread, questions)
            raise InputError(f"The answer to {job.thread!r} was not taken: {error.cause}") from None
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            await self.submit(job)  # its workflow was ended from outside

    async def cancel(self, job: Job) -> None:
        client = await self._address.client()
        with suppress(RPCError):  # it has ended
            await client.get_workflow_handle(self.workflow_id(job)).cancel()

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
            activities=[_Turns(turn).turn, _Turns(turn).cancel],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_concurrent_activities=at_once,
            sticky_queue_schedule_to_start_timeout=STICKY,
            max_heartbeat_throttle_interval=timedelta(seconds=BEAT_S),
            default_heartbeat_throttle_interval=timedelta(seconds=BEAT_S),
            graceful_shutdown_timeout=timedelta(seconds=turn.grace_s + 5),
        )
        running = asyncio.ensure_future(worker.run())
        draining = asyncio.ensure_future(turn.until_draining())
        ready()
        try:
            await asyncio.wait({running, draining}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            turn.drain()
            draining.cancel()
            await worker.shutdown()
        await running


def _trace_of(session: Session, record: JobRecord | None) -> dict[str, str]:
    """Return by what a job's run is found in Langfuse, and wherever else its trace is sent."""
    if record is None:
        return {}
    began = find_thread(session.journal, record.thread_id).started_at
    return {"trace": trace_id(record.thread_id, began, record.trace)}


class _Beat:
    every_s = BEAT_S

    def beat(self) -> None:
        activity.heartbeat()


class _Turns:
    """The activities of one worker."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    @activity.defn(name=TURN)
    async def turn(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run a thread until it ends or waits; what fails is tried again by Temporal, if that may help."""
        thread = job["thread"]
        token = int(activity.info().current_attempt_scheduled_time.timestamp() * 1e6)
        running = asyncio.ensure_future(self._turn.run(Job(job["graph"], thread), token, _Beat()))
        try:
            outcome = await _unhurried(running, lambda: self._stop(thread, token))
        except StepgraphError as error:  # the record could not be read or written
            kind = type(error).__name__
            outcome = Outcome("failed", kind=kind, retryable=is_retryable(error), after_s=1.0)
        if not outcome.retryable and outcome.status != "handed_over":
            return outcome.to_json()
        delay = timedelta(seconds=max(outcome.after_s, 0.001))
        raise ApplicationError(outcome.kind or outcome.status, next_retry_delay=delay) from None

    def _stop(self, thread: str, token: int) -> None:
        """Stop a thread that was canceled; one of which Temporal heard too late may be given to us again."""
        details = activity.cancellation_details()
        if details is None or details.cancel_requested:
            self._turn.halt(thread, "it was canceled")
        else:
            asyncio.get_running_loop().call_later(FORSAKEN_S, self._turn.forsake, thread, token)

    @activity.defn(name=CANCEL)
    async def cancel(self, thread: str) -> None:
        """Put it on record that a thread was canceled while it waited."""
        await in_thread(stop_job, self._turn.session.journal, thread)


async def _unhurried(running: asyncio.Future[Outcome], stop: Callable[[], None]) -> Outcome:
    """Return how a turn ended; when it is canceled, it is told to stop, and ends as it sees fit."""
    while True:
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if running.done():
                raise
            stop()


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
