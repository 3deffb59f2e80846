"""Threads that are handed to workers, from Python: `submit`, and the handle on what becomes of one."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Unpack

from langgraph.types import Interrupt

from ..state.database import PostgresAddress
from ..state.errors import InputError, RunFailed, StepgraphError
from ..state.event_loops import in_thread, sync_version
from ..state.journal.jobs import (
    JobRecord,
    JobStatus,
    find_job,
    last_trace,
    stop_job,
    submit_job,
    wake_job,
)
from ..state.journal.parts import open_parts
from ..state.run_context import checkpoint_at
from ..state.session.internals import read_task_statuses
from ..state.session.session import Session, new_thread_id, text_of_id
from ..tracing.record.pending import read_waiting
from ..tracing.record.plain_checkpoints import final_state, plain_checkpoints
from ..tracing.record.threads import find_thread, is_known
from .choosing import engine_for, engine_of
from .engines.protocol import Engine
from .inbox import put_answers
from .job_data import JobOptions, plain_input, plain_options
from .loading import load_graph
from .naming import graph_name
from .outcomes import Job
from .result import BudgetEnd, RunResult, RunStatus
from .run import NO_ANSWER, aread_result, budget_end_in
from .sessions import session_at
from .streams.hearing import JobStream, heard
from .streams.parts import DEFAULT_MODES, Part


class RunHandle:
    """One thread that was handed to workers, from any process that reaches its database.

    Each method has an async form whose name begins with an `a`.
    """

    def __init__(self, session: Session, engine: Engine, graph: str, reference: str, thread_id: str) -> None:
        self.thread_id = thread_id
        self.graph = graph
        self._session = session
        self._engine = engine
        self._reference = reference
        self._job = Job(graph, thread_id)
        self._streamed: set[str] = set()  # the calls whose answers were streamed

    def __repr__(self) -> str:
        return f"RunHandle({self.thread_id!r}, {self.graph!r}, on {self._engine.name!r})"

    async def astatus(self) -> JobStatus:
        """Return how the job stands: queued, running, waiting, done, partial, failed or canceled."""
        return (await self._record()).status

    async def aresult(self, timeout_s: float | None = None) -> RunResult:
        """Return how the run ended, once it did, or once it waits for an answer.

        Raises RunFailed if it failed, and TimeoutError after so many seconds; the run goes on then.
        """
        async with asyncio.timeout(timeout_s):
            record = await self._engine.watch(self._job)
        if record.status == "failed":
            raise await in_thread(self._failure, record)
        return await self._read(record)

    async def aanswer(self, answer: Any = NO_ANSWER, *, answers: Mapping[str, Any] | None = None) -> None:
        """Answer the one question that waits, or several by their ids, and have a worker go on.

        Raises InputError for an answer to nothing that waits, or one that its review could not take, and
        AnswerTooLate after a deadline.
        """
        value = answers if answers is not None else answer
        ids = await put_answers(self._session, self.thread_id, value, by_id=answers is not None)
        await self._engine.answer(self._job, ids)

    async def aresume(self, **options: Unpack[JobOptions]) -> None:
        """Have a worker go on with a run that stopped: with a larger budget, or after a failure."""
        plain = plain_options(options)
        await in_thread(wake_job, self._session.journal, self.thread_id, plain)
        await self._engine.submit(self._job)

    async def acancel(self) -> None:
        """Have the run stop: calls under way are kept, and the thread can be gone on with."""
        journal = self._session.journal
        parts = await in_thread(open_parts, journal, self.thread_id)
        stands = await in_thread(stop_job, journal, self.thread_id)
        for thread, graph, _ in parts:
            await RunHandle(self._session, self._engine, graph, graph, thread).acancel()
        if stands == "queued":  # another turn takes what its parts have brought
            await self._engine.submit(self._job)
        else:
            await self._engine.cancel(self._job)

    async def astream(
        self, *, stream_mode: str | Sequence[str] = DEFAULT_MODES, subgraphs: bool = True
    ) -> AsyncGenerator[Part | RunResult, None]:
        """Yield what happens in the run, wherever it runs; the last item is the RunResult.

        The parts are LangGraph's v2 stream parts, as in `astream_run`: `part["type"]` is messages, updates or
        custom. Two more types are a job's own: "nodes" tells which node begins, ends or begins again,
        "status" how the run stands. What was answered before comes first, each answer as a whole and marked
        as `replayed`; of a handle that has streamed before, only what is new. A run does not end when its
        caller stops listening. Raises RunFailed if the run failed.
        """
        modes = [stream_mode] if isinstance(stream_mode, str) else stream_mode
        stream = heard(self._session, self.thread_id, self._streamed, modes=modes, subgraphs=subgraphs)
        async with aclosing(stream) as parts:
            async for part in parts:
                yield part
        yield await self.aresult()

    def stream(
        self, *, stream_mode: str | Sequence[str] = DEFAULT_MODES, subgraphs: bool = True
    ) -> JobStream[Part | RunResult]:
        """Like `astream`, for sync callers; `async for` takes it as well."""
        return JobStream(lambda: self.astream(stream_mode=stream_mode, subgraphs=subgraphs))

    async def _record(self) -> JobRecord:
        record = await in_thread(find_job, self._session.journal, self.thread_id)
        if record is None:
            raise InputError(f"The thread {self.thread_id!r} was not handed to workers.")
        return record

    def _failure(self, record: JobRecord) -> RunFailed:
        problem = find_thread(self._session.journal, self.thread_id).error
        kind = record.kind or "an error"
        return RunFailed(
            f"The run of {self.thread_id!r} failed: {problem or kind}\nWhat was paid for is on record: "
            f"`stepgraph show {self.thread_id}`; resume() goes on with it.",
            thread_id=self.thread_id,
            kind=kind,
        )

    async def _read(self, record: JobRecord) -> RunResult:
        """Return the result with its state as its own type, where the graph can be loaded here."""
        try:
            loaded = await in_thread(load_graph, self._reference)
        except StepgraphError:
            result = await in_thread(self._plain)
        else:
            result = await aread_result(loaded.graph, self._session, self.thread_id)
        if record.status == "canceled" and result.status != "done" and result.budget_end is None:
            stopped = BudgetEnd("It was canceled.", "canceled", "the run")
            return dataclasses.replace(result, budget_end=stopped)
        return result

    def _plain(self) -> RunResult:
        """Return the result as plain data: its graph is known to the workers alone."""
        with plain_checkpoints(self._session) as checkpoints:
            values = final_state(checkpoints, self.thread_id)
            saved = checkpoints.get_tuple(checkpoint_at(self.thread_id))
        tasks = {} if saved is None else read_task_statuses(saved.pending_writes or [])
        limit = budget_end_in([item for task in tasks.values() for item in task.pending_interrupts])
        questions = read_waiting(self._session, self.thread_id)
        stands = find_thread(self._session.journal, self.thread_id).status
        status: RunStatus = "done" if stands == "done" else "interrupted" if questions else "partial"
        waiting = tuple(Interrupt(item.value, id=item.id) for item in questions)
        spent = self._session.spent(self.thread_id)
        return RunResult(self.thread_id, status, values, spent, budget_end=limit, waiting=waiting)

    status = sync_version(astatus)
    result = sync_version(aresult)
    answer = sync_version(aanswer)
    resume = sync_version(aresume)
    cancel = sync_version(acancel)


async def asubmit(
    graph: str,
    state: Any,
    *,
    db: str | Path | PostgresAddress | Session = "stepgraph.sqlite",
    on: str | None = None,
    thread_id: str | None = None,
    **options: Unpack[JobOptions],
) -> RunHandle:
    """Hand a thread to workers, and return the handle on it at once.

    `graph` is the name under which they serve it: a ready graph, module:attr or file.py:attr. `state` is its
    input, or some of its fields by their names, of what JSON can say. `on` names the engine: without one, the
    queue is the database `db` itself; "temporal://host:port" is a Temporal server. A thread that was handed
    over with this input already is not run twice: it goes on if it stopped. With another input, one that has
    ended takes it as the next thing that is said.
    """
    session = await in_thread(session_at, db)
    engine = engine_of(on, session)
    name = await in_thread(graph_name, graph)
    thread = new_thread_id(name.rpartition(":")[2]) if thread_id is None else text_of_id(thread_id)
    data = plain_input(state)
    if await in_thread(_put, session, engine, thread, name, data, options):
        await engine.submit(Job(name, thread))
    return RunHandle(session, engine, name, graph, thread)


async def asubmitted(
    thread_id: str, *, db: str | Path | PostgresAddress | Session = "stepgraph.sqlite", on: str | None = None
) -> RunHandle:
    """Return the handle on a thread that was handed to workers before. Raises InputError for any other.

    `on` is needed where its engine is a server on another machine: the record does not choose whom we call.
    """
    session = await in_thread(session_at, db)
    record = await in_thread(find_job, session.journal, thread_id)
    if record is None:
        raise InputError(f"The thread {thread_id!r} was not handed to workers: stepgraph show {thread_id}")
    return RunHandle(session, engine_for(record, on, session), record.graph, record.graph, thread_id)


submit = sync_version(asubmit)
submitted = sync_version(asubmitted)


def _put(session: Session, engine: Engine, thread: str, name: str, data: Any, options: JobOptions) -> bool:
    """Put a job on record; return whether its engine is to be told."""
    journal = session.journal
    known, plain = find_job(journal, thread), plain_options(options)
    begun = last_trace(journal, thread)
    if known is not None and not options.get("restart"):
        if known.graph == name and known.input == data:
            if known.status in ("partial", "failed", "canceled"):
                wake_job(journal, thread, plain)
            return known.status not in ("done", "running", "waiting")
        if known.status != "done":
            raise InputError(
                f"The thread {thread!r} has another input that has not ended ({known.status}). Go on with it "
                f"first: stepgraph resume {thread}; or name another thread."
            )
    elif known is None and is_known(journal, thread):
        status = find_thread(journal, thread).status
        if status != "done" and not options.get("restart"):
            raise InputError(
                f"The thread {thread!r} was run without workers, and has not ended ({status}). Go on with it "
                f"first: stepgraph resume {thread}; or name another thread."
            )
    trace = begun + 1
    submit_job(journal, JobRecord(thread, name, trace, data, options=plain, engine=engine.name))
    return True
