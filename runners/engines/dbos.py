"""The engine on DBOS: a queue in the session's own Postgres, without a server.

A workflow of DBOS brings a thread's name to some worker, for one turn: where the thread then waits, there is
no workflow but a delayed one, for its deadline. Whether there is a turn to take says the record. So one too
many does nothing, and one too few is made anew by whoever sees that a job is overdue, or that its worker is
silent: DBOS itself tells of dead workers only with its Conductor.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any, Final

from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions, WorkflowStatus
from sqlalchemy import NullPool, create_engine, make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from ...state.database import PostgresAddress
from ...state.errors import EngineUnreachable, InputError, StepgraphError
from ...state.event_loops import in_thread
from ...state.journal.job_turns import overdue_jobs, take_job
from ...state.journal.jobs import JobRecord
from ...state.session.session import Session
from ..outcomes import Job, Outcome
from ..turns import Turn
from .local import LEASE_S, renewing
from .protocol import ByRecord, until_stopped

NAME: Final = "dbos"
QUEUE: Final = "stepgraph"
WORKFLOW: Final = "stepgraph.turn"
VERSION: Final = "1"  # of what a workflow of ours is given, not of anybody's graphs
POLL_S: Final = 0.2
LOOK_S: Final = 0.5  # between two looks for what nobody will do
OVERDUE_S: Final = 5.0
RESTART_S: Final = 20.0  # how long a database may take to come back while a worker starts
LOOK_AT: Final = 50  # jobs, in one look
_UNPREPARED: Final = {"prepare_threshold": None}
ACTIVE: Final = ["ENQUEUED", "DELAYED", "PENDING"]
LOGGER = logging.getLogger("stepgraph.worker")

_lock = threading.Lock()


class DbosEngine(ByRecord):
    """One queue, in a schema beside the record's own: DBOS asks the database for each queue by itself."""

    name = NAME

    def __init__(self, session: Session) -> None:
        if not isinstance(session.database, PostgresAddress):
            raise InputError(
                f"DBOS keeps its queue in the session's Postgres, and {session.database} is a file: --db "
                "postgresql://user@host/name. `stepgraph move` takes threads there."
            )
        self._session = session
        self._address = session.database
        self._schema = f"{session.database.schema}_dbos"
        self._opened: DBOSClient | None = None
        self._is_migrated = False

    async def submit(self, job: Job) -> None:
        await self._wake(job)

    async def answer(self, job: Job, questions: Collection[str]) -> None:
        await self._wake(job)

    async def cancel(self, job: Job) -> None:
        waiting = await self._workflows([job.thread], ["ENQUEUED", "DELAYED"])
        if waiting:
            await self._client().cancel_workflows_async([each.workflow_id for each in waiting])

    async def watch(self, job: Job) -> JobRecord:
        return await until_stopped(self._session, job.thread)

    # What stands in the queue

    async def _wake(self, job: Job, after_s: float = 0.0, *, once: bool = False) -> None:
        """Have a turn begun, after so many seconds; `once` is for those who may all do it."""
        options: EnqueueOptions = {
            "workflow_name": WORKFLOW,
            "queue_name": QUEUE,
            "workflow_id": f"{_prefix(job.thread)}{secrets.token_hex(6)}",
            "app_version": VERSION,
            "attributes": {"graph": job.graph, "thread": job.thread},
        }
        if after_s > 0:
            options["delay_seconds"] = after_s
        if once:
            options |= {"deduplication_id": job.thread, "duplication_policy": "return-existing"}
        try:
            await in_thread(self._migrate)
            await self._client().enqueue_async(options, job.graph, job.thread)
        except SQLAlchemyError as error:
            raise self._unreachable(error) from None

    async def _workflows(self, threads: Iterable[str], statuses: list[str]) -> list[WorkflowStatus]:
        """Return the workflows of threads that have not ended."""
        prefixes = [_prefix(thread) for thread in threads]
        try:
            await in_thread(self._migrate)
            workflows = await self._client().list_workflows_async(
                workflow_id_prefix=prefixes, status=statuses, load_input=False, load_output=False
            )
        except SQLAlchemyError as error:
            raise self._unreachable(error) from None
        return [each for each in workflows if f"{each.workflow_id.rpartition('/')[0]}/" in prefixes]

    def _client(self) -> DBOSClient:
        """Return the client, which connects for as long as a statement takes, and raises where it cannot."""
        if self._opened is None:
            address = make_url(self._address.conninfo).set(drivername="postgresql+psycopg")
            self._opened = DBOSClient(
                system_database_engine=create_engine(address, poolclass=NullPool, connect_args=_UNPREPARED),
                dbos_system_schema=self._schema,
                application_name="stepgraph",
                retry_connection_errors=False,
                lazy=True,
            )
        return self._opened

    def _migrate(self) -> None:
        """Make the tables of DBOS where there are none yet: a client does not."""
        with _lock:
            if not self._is_migrated:
                DBOS.migrate(self._address.conninfo, schema=self._schema)
                self._is_migrated = True

    def _unreachable(self, error: Exception) -> EngineUnreachable:
        cause = error.__cause__ or error
        return EngineUnreachable(
            f"The queue of DBOS in {self._address} cannot be used: {str(cause).splitlines()[0]:.200} What "
            "was put on record waits there: any worker on DBOS finds it."
        )

    # A worker

    async def serve(self, turn: Turn, *, at_once: int, ready: Callable[[], None]) -> None:
        loop, slots = asyncio.get_running_loop(), asyncio.Semaphore(at_once)
        context = contextvars.copy_context()  # DBOS runs workflows in a loop and a context of its own

        async def run_turn(graph: str, thread: str) -> dict[str, Any] | None:
            work = self._turn(turn, slots, Job(graph, thread))
            begun = context.copy().run(asyncio.run_coroutine_threadsafe, work, loop)
            return await asyncio.wrap_future(begun)

        await in_thread(self._launch, run_turn, turn, at_once)
        beside = [
            asyncio.ensure_future(each) for each in (renewing(turn, self._session.journal), self._look(turn))
        ]
        ready()
        try:
            await turn.until_draining()
        finally:
            turn.drain()
            leave = asyncio.ensure_future(in_thread(_leave, int(turn.grace_s) + 5))
            with suppress(asyncio.CancelledError):
                await asyncio.shield(leave)
            for task in beside:
                task.cancel()
            await asyncio.gather(leave, *beside, return_exceptions=True)

    def _launch(self, run_turn: Callable[..., Any], turn: Turn, at_once: int) -> None:
        """Start DBOS, once more if the database goes away meanwhile: the record was read there just now."""
        until = time.monotonic() + RESTART_S
        while True:
            try:
                self._begin(run_turn, turn, at_once)
                return
            except OperationalError as error:
                if turn.is_draining or time.monotonic() > until:
                    raise self._unreachable(error) from None
            except SQLAlchemyError as error:
                raise self._unreachable(error) from None
            _leave(0)
            time.sleep(POLL_S)

    def _begin(self, run_turn: Callable[..., Any], turn: Turn, at_once: int) -> None:
        config: DBOSConfig = {
            "name": "stepgraph",
            "system_database_url": self._address.conninfo,
            "dbos_system_schema": self._schema,
            "application_version": VERSION,
            "executor_id": turn.owner,
            "log_level": "ERROR",
            "enable_otlp": False,
            # What PgBouncer lets through: no LISTEN, nothing prepared, no options at the start.
            "use_listen_notify": False,
            "sys_db_idle_transaction_timeout_sec": 0,
            "db_engine_kwargs": {"connect_args": _UNPREPARED},
        }
        self._migrate()
        DBOS(config=config)
        DBOS.workflow(name=WORKFLOW)(run_turn)
        DBOS.listen_queues([QUEUE])
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=at_once, polling_interval_sec=POLL_S)

    async def _turn(self, turn: Turn, slots: asyncio.Semaphore, job: Job) -> dict[str, Any] | None:
        """Take a turn, if the record has one for us, and have the next one begun when it is due."""
        async with slots:
            if turn.is_draining:
                await self._wake(job)
                return None
            journal = self._session.journal
            record = await in_thread(
                lambda: take_job(
                    journal,
                    turn.served.names,
                    turn.owner,
                    LEASE_S,
                    engine=NAME,
                    thread=job.thread,
                    versions=turn.served.versions,
                    begins=turn.served.begins,
                )
            )
            if record is None:
                return None
            outcome = await turn.take(record)
        next_s = _seconds_to_next(outcome)
        if next_s is not None:
            await self._wake(job, next_s)
        return outcome.to_json()

    async def _look(self, turn: Turn) -> None:
        """Have begun what nobody will begin: its worker is dead, or it was never enqueued. It never ends."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._recover(turn)
            except StepgraphError as error:
                LOGGER.warning("%s", error)
            except Exception:  # what nobody looks for is never begun
                LOGGER.exception("Jobs that nobody has begun could not be looked for")

    async def _recover(self, turn: Turn) -> None:
        journal, graphs = self._session.journal, turn.served.names
        jobs = await in_thread(
            lambda: overdue_jobs(
                journal,
                graphs,
                NAME,
                OVERDUE_S,
                LOOK_AT,
                versions=turn.served.versions,
                begins=turn.served.begins,
            )
        )
        if not jobs or turn.is_draining:
            return
        by_thread: dict[str, list[WorkflowStatus]] = defaultdict(list)
        for workflow in await self._workflows([job.thread_id for job in jobs], ACTIVE):
            by_thread[workflow.workflow_id.rpartition("/")[0]].append(workflow)
        for job in jobs:
            active = by_thread[_prefix(job.thread_id).rstrip("/")]
            begun = [each.workflow_id for each in active if each.status == "PENDING"]
            if begun:  # by a worker that is dead, or that lets it wait
                await self._client().resume_workflows_async(begun, queue_name=QUEUE)
            elif not any(each.status == "ENQUEUED" for each in active):
                await self._wake(Job(job.graph, job.thread_id), once=True)


def _leave(wait_s: int) -> None:
    """Take no more workflows, and return once those under way have ended."""
    DBOS.destroy(workflow_completion_timeout_sec=wait_s, destroy_registry=True)


def _prefix(thread: str) -> str:
    return f"stepgraph/{thread}/"


def _seconds_to_next(outcome: Outcome) -> float | None:
    """Return in how many seconds another turn is due, None if it ended, or waits for answers alone."""
    if outcome.status == "handed_over":
        return 0.0
    if outcome.status in ("interrupted", "spread") and outcome.due_at is not None:
        return max(0.0, outcome.due_at - time.time())
    return outcome.after_s if outcome.retryable else None


def connect(_: str, session: Session) -> DbosEngine:
    """Return the engine in a session's Postgres."""
    return DbosEngine(session)
