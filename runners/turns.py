"""One turn of a thread that was handed to workers: it runs until it ends, waits, fails, or is to stop.

Here is all the logic of running for an engine, and nothing of any engine: what is to be done stands in the
record, and so does how it ended. An engine carries a `Job`, which is two names, and gets an `Outcome`, a few
words.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from ..state.budget import Budget
from ..state.errors import (
    AnswerTooLate,
    GraphChanged,
    InputError,
    MigrationFailed,
    ThreadBusy,
)
from ..state.event_loops import in_thread
from ..state.halts import HALTED, Halt
from ..state.journal.job_turns import begin_turn, looked_up
from ..state.journal.jobs import (
    JobRecord,
    drop_answers,
    fail_unbegun,
    find_job,
    given_answers,
    pin_job,
)
from ..state.journal.parts import find_part, has_parts
from ..state.journal.records import Description
from ..state.journal.turn_claims import TurnClaims
from ..state.names import HALT_KEY, MODELS_KEY, SPREAD_KEY, TURN_KEY, UNTOUCHED_KEY
from ..state.run_context import RunContext, for_reading
from ..state.session.internals import Tap
from ..state.session.recorder import ThreadTouched
from ..state.session.session import Session
from ..state.session.versions import version_of
from ..tracing.record.pending import is_for_parts, unanswered, wakes_at
from .job_inputs import unbegun_input
from .loading import Compiled, Loaded
from .outcomes import NO_HEARTBEAT, Heartbeat, Job, Outcome, beating
from .passing import is_retryable
from .result import RunResult
from .run import RunOptions, aresume, arun
from .served import Served
from .spreading import LOOK_AGAIN_S, JobSpreader, Submit, parent_to_wake, part_of
from .streams.sending import Broadcast
from .turn_ends import put_on_record

DRAINED: Final = "its worker ends"
CANCELED: Final = "it was canceled"
UNCHANGED: Final = (GraphChanged.__name__, MigrationFailed.__name__)  # the job is of its version still
MAX_ATTEMPTS: Final = 10
FIRST_WAIT_S: Final = 0.5
MOST_WAIT_S: Final = 60.0
NOT_SERVED_WAIT_S: Final = 5.0
LOGGER = logging.getLogger("stepgraph.worker")


class _Running:
    """A turn under way; `record` is that of the latest time that the engine gave it.

    Of the latest one given, `latest` is the epoch, though it may not be known yet whether this run is that
    turn's. One that `is_ending` is of no use to whoever is given the thread again.
    """

    outcome: asyncio.Future[Outcome]

    def __init__(self, record: JobRecord) -> None:
        self.record = record
        self.latest = record.epoch
        self.halt = Halt()
        self.is_ending = False

    def forsake(self) -> None:
        self.is_ending = True
        self.halt.ask("its turn is another worker's by now")


class Turn:
    """Runs the threads of one worker: those of the graphs that it serves, in its session.

    What the record says of a job chooses among `graphs` by their names, and nothing else: no module, no
    model, no address; see `Served`. `grace_s` is how long calls that are under way may go on once a run is
    to stop.
    """

    def __init__(
        self,
        session: Session,
        graphs: Mapping[str, Loaded],
        *,
        models: Mapping[str, str] | None = None,
        grace_s: float = 20.0,
        finishes: bool = False,
    ) -> None:
        self.session = session
        session.claims.may_be_ended = True  # by a worker that is given a thread of ours
        self.owner = session.claims.worker_name()
        self.grace_s = grace_s
        self.served = Served(graphs, finishes=finishes)
        self._models = models or {}
        self._claims = TurnClaims(session.claims, session.journal)
        self._broadcast = Broadcast(session)
        self._running: dict[str, _Running] = {}
        self._draining = asyncio.Event()
        self.submit: Submit = _nobody  # tells the engine of a job that is on record

    @property
    def is_draining(self) -> bool:
        return self._draining.is_set()

    async def until_draining(self, timeout_s: float | None = None) -> None:
        """Return once the worker is to end, or after so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._draining.wait(), timeout_s)

    @property
    def running(self) -> dict[str, int]:
        """The threads that run here, and the tokens of their turns."""
        return {thread: running.record.epoch for thread, running in self._running.items()}

    def drain(self) -> None:
        """Begin no more calls in any thread: each is handed over as soon as its calls under way are kept."""
        self._draining.set()
        for running in self._running.values():
            running.halt.ask(DRAINED)

    def cancel(self, thread: str) -> None:
        """Begin no more calls in a thread: it stops, and can be gone on with."""
        if thread in self._running:
            self._running[thread].halt.ask(CANCELED)

    def forsake(self, thread: str, token: int) -> None:
        """Begin no more calls in a thread whose turn is another's by now, unless it is ours again."""
        running = self._running.get(thread)
        if running is not None and running.latest == token:
            running.forsake()

    async def run(self, job: Job, token: int, beat: Heartbeat = NO_HEARTBEAT) -> Outcome:
        """Begin or go on with a job's thread, with the answers that came in, and return how that ended.

        The `token` grows with every turn that the engine gives: one that comes too late does nothing.
        """
        record = await begin_turn(
            self.session.journal,
            job.thread,
            self.owner,
            token,
            self.served.names,
            versions=self.served.versions,
            begins=self.served.begins,
            claims=self._claims,
        )
        if record is None:
            return await in_thread(self._unbegun, job)
        return await self.take(record, beat)

    def _unbegun(self, job: Job) -> Outcome:
        """Return how a turn ended that could not begin."""
        record = find_job(self.session.journal, job.thread)
        graph, version = (job.graph, None) if record is None else (record.graph, record.version)
        if self.served.find(graph, version) is None:  # another worker of the queue may serve it
            in_version = "" if version is None else f" in version {version!r}"
            LOGGER.warning("%s: the graph %r is not served here%s", job.thread, graph, in_version)
            return Outcome("failed", kind="NotServed", retryable=True, after_s=NOT_SERVED_WAIT_S)
        if record is None:
            return Outcome("failed", kind="NoJob")
        if record.status in ("done", "partial", "failed", "canceled"):
            return Outcome(record.status, kind=record.kind)
        return Outcome("failed", kind="TooLate")

    async def take(self, record: JobRecord, beat: Heartbeat = NO_HEARTBEAT) -> Outcome:
        """Like `run`, for a turn that has been begun on record.

        A worker that was too slow to say that it lives may be given a thread that it still runs: that run is
        this turn's, then, unless it is ending, or has lost its claim to a worker that had a turn since: how
        that ended is no outcome of this turn.
        """
        async with beating(beat):
            running = self._running.get(record.thread_id)
            if running is not None and record.epoch > running.record.epoch:
                await self._meet(running, record)
            while (running := self._running.get(record.thread_id)) is not None and running.is_ending:
                await asyncio.wait({running.outcome})
                record = replace(record, former=record.former or self.owner)  # it went on until now
            if running is None:
                running = self._running[record.thread_id] = _Running(record)
                running.outcome = asyncio.ensure_future(self._whole(running))
            elif record.epoch > running.record.epoch:
                running.record = record
                if record.stop:
                    running.halt.ask(CANCELED)
            return await asyncio.shield(running.outcome)

    async def _meet(self, running: _Running, record: JobRecord) -> None:
        """Forsake the run of an earlier turn, unless a turn of the same job can go on with it."""
        # Who tells late that the thread is another's does not mean this turn.
        running.latest = max(running.latest, record.epoch)
        if record.trace != running.record.trace:
            running.forsake()
        await self._end_others(record)
        if not await self._claims.is_held(record.thread_id):
            running.forsake()

    async def _end_others(self, record: JobRecord) -> None:
        """End the claims of the workers before: if they wake, it is too late."""
        if others := {*record.formers} - {self.owner}:
            await in_thread(self.session.claims.end, record.thread_id, others, record.turn)

    async def _whole(self, running: _Running) -> Outcome:
        record, halt, journal = running.record, running.halt, self.session.journal
        if self.is_draining:
            halt.ask(DRAINED)
        try:
            await self._end_others(record)
            if record.former is not None:  # until now it may have begun what its turn was for
                record = await in_thread(looked_up, journal, record)
            if record.stop:
                halt.ask(CANCELED)
            outcome = await self._outcome(await self._pinned(record), halt)
            self._claims.give_up(record.thread_id, self.owner)  # on record before the turn has ended
            if outcome.kind in UNCHANGED:
                await in_thread(pin_job, journal, running.record, record.version)
            running.is_ending = True
            return await self._settle(running.record, outcome)
        finally:
            self._claims.give_up(record.thread_id, self.owner)
            del self._running[record.thread_id]

    async def _pinned(self, record: JobRecord) -> JobRecord:
        """Return a job that only workers of its graph's version go on with, if that has one."""
        loaded = self.served.find(record.graph, record.version)
        version = None if loaded is None else version_of(loaded.graph)
        if version in (None, record.version):
            return record
        await in_thread(pin_job, self.session.journal, record, version)
        return replace(record, version=version)

    async def _outcome(self, record: JobRecord, halt: Halt) -> Outcome:
        journal = self.session.journal
        if halt.reason and not (record.stop and await in_thread(has_parts, journal, record.thread_id)):
            return self._halted(record, halt)
        if record.attempts > MAX_ATTEMPTS:
            LOGGER.error("%s: given up after %s turns that did not end", record.thread_id, MAX_ATTEMPTS)
            return Outcome("failed", kind=record.kind or "WorkerLost")
        running = asyncio.ensure_future(self._go_on(record, halt))
        halted = asyncio.ensure_future(halt.wait())
        try:
            await asyncio.wait({running, halted}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await asyncio.wait({running}, timeout=self.grace_s)
            if not running.done():  # nothing that was answered is lost; calls under way are made again
                running.cancel()
            result = await running
        except asyncio.CancelledError:
            if not halt.reason:
                raise
            return self._halted(record, halt)
        except Exception as error:
            return await self._failed(record, error)
        finally:
            halted.cancel()
            if not running.done():
                running.cancel()
                with suppress(BaseException):
                    await running
        is_halted = result.budget_end is not None and result.budget_end.limit == HALTED
        if is_halted and (halt.reason or record.stop):  # else a part of it was canceled
            return self._halted(record, halt)
        return self._ended(result)

    async def _go_on(self, record: JobRecord, halt: Halt) -> RunResult:
        """Begin or go on with a thread, with the answers that came in, in the one way to run."""
        loaded = self.served.find(record.graph, record.version)
        if loaded is None:
            raise InputError(f"The graph {record.graph!r} is not served here in version {record.version!r}.")
        graph, state, is_part = loaded.graph, None, False
        if record.is_part:
            part = await in_thread(find_part, self.session.journal, record.thread_id)
            if part is not None:
                graph, state = part_of(loaded.graph, part)
                is_part = True
        description = Description(loaded.reference, self._models, record.input)
        if not record.is_touched and not await self._claims.take(record.thread_id, record.turn):
            record = await in_thread(looked_up, self.session.journal, record)  # begun by somebody just now
        stream = await self._broadcast.begin(record)
        try:
            options = _options(record, description, halt, stream.tap)
            spreader = JobSpreader(self.session, record, graph, self.submit)
            models = {MODELS_KEY: RunContext.of(loaded.graph.config).models} if is_part else {}
            options["extra"] = {**options["extra"], **models, SPREAD_KEY: spreader}
            return await self._heard(record, graph, state, options)
        finally:
            await self._broadcast.end(stream)

    async def _heard(
        self, record: JobRecord, graph: Compiled, part_input: Any, options: RunOptions
    ) -> RunResult:
        """Begin or go on with a thread; `part_input` is that of a part, which is no plain data."""
        session, thread = self.session, record.thread_id
        state = await unbegun_input(session.journal, record, graph.builder.input_schema, part_input)
        if state is not None:
            return await arun(graph, state, session, thread, **options)
        new_answers = await in_thread(given_answers, session.journal, thread)
        answers: dict[str, Any] = {}
        if new_answers:
            snapshot = await graph.aget_state(for_reading(session.config(thread)), subgraphs=True)
            waiting = {item.id for item in unanswered(session, thread, snapshot.interrupts)}
            answers = {name: answer for name, answer in new_answers.items() if name in waiting}
        try:
            result = await aresume(
                graph, session, thread, state=part_input, answers=answers or None, **options
            )
        except AnswerTooLate:
            result = await aresume(graph, session, thread, state=part_input, **options)
        await in_thread(drop_answers, session.journal, thread, new_answers)
        return result

    def _ended(self, result: RunResult) -> Outcome:
        if result.waiting and all(is_for_parts(item) for item in result.waiting):
            return Outcome("spread", due_at=time.time() + LOOK_AGAIN_S)
        dues = [due for item in result.waiting if (due := wakes_at(item.value)) is not None]
        return Outcome(
            result.status,
            waiting=tuple(item.id for item in result.waiting),
            due_at=min(dues).timestamp() if dues else None,
            usd=result.spent.known_usd,
            calls=result.spent.calls,
        )

    def _halted(self, record: JobRecord, halt: Halt) -> Outcome:
        return Outcome("canceled" if record.stop or halt.reason == CANCELED else "handed_over")

    async def _failed(self, record: JobRecord, error: Exception) -> Outcome:
        message = self.session.journal.mask.text(f"{type(error).__name__}: {error}")
        LOGGER.warning("%s: %s", record.thread_id, message)
        again = is_retryable(error) and record.attempts < MAX_ATTEMPTS
        wait_s = min(MOST_WAIT_S, FIRST_WAIT_S * 2 ** min(record.attempts - 1, 10))
        if isinstance(error, ThreadBusy):  # its worker may have died just now: its claim ends soon
            again, wait_s = True, FIRST_WAIT_S
        if not again:
            await in_thread(fail_unbegun, self.session.journal, record.thread_id, message)
        kind = ThreadBusy.__name__ if isinstance(error, ThreadTouched) else type(error).__name__
        return Outcome("failed", kind=kind, retryable=again, after_s=wait_s if again else 0.0)

    async def _settle(self, record: JobRecord, outcome: Outcome) -> Outcome:
        """Record how a turn ended, and return that with what its thread has cost."""
        outcome = await put_on_record(self.session.journal, record, outcome)
        is_over = outcome.status in ("done", "partial", "failed", "canceled") and not outcome.retryable
        if is_over and record.is_part:
            waits = await in_thread(parent_to_wake, self.session.journal, record.thread_id)
            if waits is not None:
                await self.submit(waits)
        if outcome.usd is None:
            spent = await in_thread(self.session.spent, record.thread_id)
            outcome = replace(outcome, usd=spent.known_usd, calls=spent.calls)
        LOGGER.info("%s: %s", record.thread_id, outcome.status.replace("_", " "))
        return outcome


async def _nobody(_: Job) -> None:
    """Tell nobody: the engine finds on record what is to be done."""


def _options(record: JobRecord, description: Description, halt: Halt, tap: Tap) -> RunOptions:
    plain = dict(record.options)
    limits = plain.pop("budget", None)
    extra: dict[str, Any] = {HALT_KEY: halt, TURN_KEY: record.turn, **tap.configurable}
    if not record.is_touched:
        extra[UNTOUCHED_KEY] = True
    options = RunOptions(description=description, extra=extra, callbacks=[tap.handler])
    if limits is not None:
        options["budget"] = tuple(Budget(**each) for each in limits)
    options.update(plain)  # type: ignore[typeddict-item]
    return options
