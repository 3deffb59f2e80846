"""One turn of a thread that was handed to workers: it runs until it ends, waits, fails, or is to stop.

Here is all the logic of running for an engine, and nothing of any engine: what is to be done stands in the
record, and so does how it ended. An engine carries a `Job`, which is two names, and gets an `Outcome`, a few
words.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, Protocol

from ..state.budget import Budget
from ..state.errors import (
    AnswerTooLate,
    ClaimLost,
    GraphChanged,
    InputError,
    MigrationFailed,
    ThreadBusy,
)
from ..state.event_loops import in_thread
from ..state.halts import HALTED, Halt
from ..state.journal.jobs import (
    JobRecord,
    JobStatus,
    begin_turn,
    drop_answers,
    end_turn,
    fail_unbegun,
    find_job,
    given_answers,
    last_trace,
    pin_job,
)
from ..state.journal.records import Description
from ..state.names import HALT_KEY
from ..state.run_context import for_reading
from ..state.schema import parse_input, values_of
from ..state.session.session import Session
from ..state.session.versions import version_of
from ..tracing.record.pending import due_of, unanswered
from .loading import Loaded
from .passing import is_retryable
from .result import RunResult
from .run import RunOptions, aresume, arun
from .served import Served

DRAINED: Final = "its worker ends"
MAX_ATTEMPTS: Final = 10
FIRST_WAIT_S: Final = 0.5
MOST_WAIT_S: Final = 60.0
NOT_SERVED_WAIT_S: Final = 5.0
LOGGER = logging.getLogger("stepgraph.worker")

OutcomeStatus = Literal["done", "partial", "interrupted", "failed", "canceled", "handed_over"]


@dataclass(frozen=True)
class Job:
    """A thread that was handed to workers, as an engine carries it: names, no state, no prompt, no key."""

    graph: str
    thread: str


@dataclass(frozen=True)
class Outcome:
    """How a turn ended, as an engine carries it: words and ids; the record has all the rest.

    `waiting` has the ids of the questions that wait for an answer, `due_at` the Unix time of the next
    deadline. Of one that failed, `kind` is the error's class, and `retryable` says whether another turn may
    help, after `after_s` seconds. `handed_over` means that another turn goes on: the worker had to stop, or
    something came in meanwhile.
    """

    status: OutcomeStatus
    waiting: tuple[str, ...] = ()
    due_at: float | None = None
    kind: str | None = None
    retryable: bool = False
    after_s: float = 0.0
    usd: float | None = None
    calls: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, without what says nothing."""
        return {name: value for name, value in asdict(self).items() if value not in (None, (), 0, False)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        return cls(**{**data, "waiting": tuple(data.get("waiting", ()))})


class Heartbeat(Protocol):
    """Tells an engine, while a turn runs, that its worker lives."""

    every_s: float

    def beat(self) -> None:
        """Say so; called every so many seconds."""
        ...


class NoHeartbeat:
    """For an engine that hears of its workers in another way."""

    every_s = 3600.0

    def beat(self) -> None:
        return


NO_HEARTBEAT: Final[Heartbeat] = NoHeartbeat()


class _Running:
    """A turn under way; `record` is that of the latest time that the engine gave it."""

    outcome: asyncio.Future[Outcome]

    def __init__(self, record: JobRecord) -> None:
        self.record = record
        self.halt = Halt()


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
        self.owner = f"worker-{secrets.token_hex(6)}"
        self.grace_s = grace_s
        self.served = Served(graphs, finishes=finishes)
        self._models = models or {}
        self._running: dict[str, _Running] = {}
        self._draining = asyncio.Event()

    @property
    def is_draining(self) -> bool:
        return self._draining.is_set()

    async def until_draining(self, timeout_s: float | None = None) -> None:
        """Return once the worker is to end, or after so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._draining.wait(), timeout_s)

    @property
    def running(self) -> frozenset[str]:
        """The threads that run here."""
        return frozenset(self._running)

    def drain(self) -> None:
        """Begin no more calls in any thread: each is handed over as soon as its calls under way are kept."""
        self._draining.set()
        for running in self._running.values():
            running.halt.ask(DRAINED)

    def halt(self, thread: str, reason: str) -> None:
        """Begin no more calls in a thread: it stops, and can be gone on with."""
        if thread in self._running:
            self._running[thread].halt.ask(reason)

    def forsake(self, thread: str, token: int) -> None:
        """Halt a thread, unless the engine has given its turn to this worker again, under a later token."""
        if thread in self._running and self._running[thread].record.epoch == token:
            self.halt(thread, "nobody waits for it any more")

    async def run(self, job: Job, token: int, beat: Heartbeat = NO_HEARTBEAT) -> Outcome:
        """Begin or go on with a job's thread, with the answers that came in, and return how that ended.

        The `token` grows with every turn that the engine gives: one that comes too late does nothing.
        """
        journal = self.session.journal
        known = await in_thread(find_job, journal, job.thread)
        version = None if known is None else known.version
        if self.served.find(job.graph, version) is None:  # another worker of the queue may serve it
            told = "" if version is None else f" in version {version!r}"
            LOGGER.warning("%s: the graph %r is not served here%s", job.thread, job.graph, told)
            return Outcome("failed", kind="NotServed", retryable=True, after_s=NOT_SERVED_WAIT_S)
        record = await in_thread(begin_turn, journal, job.thread, self.owner, token)
        if record is not None:
            return await self.take(record, beat)
        record = await in_thread(find_job, journal, job.thread)
        if record is None:
            return Outcome("failed", kind="NoJob")
        if record.status in ("done", "partial", "failed", "canceled"):
            return Outcome(record.status, kind=record.kind)
        return Outcome("failed", kind="TooLate")

    async def take(self, record: JobRecord, beat: Heartbeat = NO_HEARTBEAT) -> Outcome:
        """Like `run`, for a turn that has been begun on record.

        A worker that was too slow to say that it lives may be given a thread that it still runs: that run is
        this turn's, then.
        """
        running = self._running.get(record.thread_id)
        if running is None:
            running = self._running[record.thread_id] = _Running(record)
            running.outcome = asyncio.ensure_future(self._whole(running))
        else:
            running.record = record
        async with _beating(beat):
            return await asyncio.shield(running.outcome)

    async def _whole(self, running: _Running) -> Outcome:
        record, halt = running.record, running.halt
        if record.stop:
            halt.ask("it was canceled")
        if self.is_draining:
            halt.ask(DRAINED)
        try:
            if record.former not in (None, self.owner):  # it died, or stood still: if it wakes, too late
                await in_thread(self.session.claims.end, record.thread_id)
            outcome = await self._outcome(await self._pinned(record), halt)
            if outcome.kind in (
                GraphChanged.__name__,
                MigrationFailed.__name__,
            ):  # it is of its version still
                await in_thread(pin_job, self.session.journal, running.record, record.version)
            return await self._settle(running.record, outcome)
        finally:
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
        if halt.reason:
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
        if result.budget_end is not None and result.budget_end.limit == HALTED:
            return self._halted(record, halt)
        return self._ended(result)

    async def _go_on(self, record: JobRecord, halt: Halt) -> RunResult:
        """Begin or go on with a thread, with the answers that came in, in the one way to run."""
        session, thread = self.session, record.thread_id
        loaded = self.served.find(record.graph, record.version)
        if loaded is None:
            raise InputError(f"The graph {record.graph!r} is not served here in version {record.version!r}.")
        graph = loaded.graph
        description = Description(loaded.reference, self._models, record.input)
        options = _options(record, description, halt)
        begun = await in_thread(last_trace, session.journal, thread)
        if begun < record.trace:
            state = parse_input(graph.builder.input_schema, record.input)
            if begun >= 0:  # the next thing that is said on a thread; what it knows stays
                state = {name: value for name, value in values_of(state).items() if name in record.input}
            return await arun(graph, state, session, thread, **options)
        given = await in_thread(given_answers, session.journal, thread)
        answers: dict[str, Any] = {}
        if given:
            snapshot = await graph.aget_state(for_reading(session.config(thread)), subgraphs=True)
            waiting = {item.id for item in unanswered(session, thread, snapshot.interrupts)}
            answers = {name: answer for name, answer in given.items() if name in waiting}
        try:
            result = await aresume(graph, session, thread, answers=answers or None, **options)
        except AnswerTooLate:
            result = await aresume(graph, session, thread, **options)
        await in_thread(drop_answers, session.journal, thread, given)
        return result

    def _ended(self, result: RunResult) -> Outcome:
        dues = [due for item in result.waiting if (due := due_of(item.value)) is not None]
        return Outcome(
            result.status,
            waiting=tuple(item.id for item in result.waiting),
            due_at=min(dues).timestamp() if dues else None,
        )

    def _halted(self, record: JobRecord, halt: Halt) -> Outcome:
        return Outcome("canceled" if record.stop or halt.reason != DRAINED else "handed_over")

    async def _failed(self, record: JobRecord, error: Exception) -> Outcome:
        told = self.session.journal.mask.text(f"{type(error).__name__}: {error}")
        LOGGER.warning("%s: %s", record.thread_id, told)
        again = is_retryable(error) and record.attempts < MAX_ATTEMPTS
        wait_s = min(MOST_WAIT_S, FIRST_WAIT_S * 2 ** min(record.attempts - 1, 10))
        if isinstance(error, ThreadBusy):  # its worker may have died just now: its claim ends soon
            again, wait_s = True, FIRST_WAIT_S
        if not again:
            await in_thread(fail_unbegun, self.session.journal, record.thread_id, told)
        kind = type(error).__name__
        return Outcome("failed", kind=kind, retryable=again, after_s=wait_s if again else 0.0)

    async def _settle(self, record: JobRecord, outcome: Outcome) -> Outcome:
        """Record how a turn ended, and return that with what its thread has cost."""
        journal = self.session.journal
        status: JobStatus
        after_s: float | None = None
        attempts = 0
        if outcome.status == "handed_over":
            status, after_s = "queued", 0.0
        elif outcome.status == "failed" and outcome.retryable:
            status, after_s, attempts = "queued", outcome.after_s, record.attempts
            if outcome.kind in (ThreadBusy.__name__, ClaimLost.__name__):  # it was no attempt
                attempts -= 1
        elif outcome.status == "interrupted":
            status = "waiting"
        else:
            status = outcome.status
        stands = await in_thread(
            lambda: end_turn(
                journal,
                record,
                status,
                kind=outcome.kind,
                due_at=outcome.due_at,
                after_s=after_s,
                attempts=attempts,
            )
        )
        if stands == "queued" and status != "queued":  # it was woken meanwhile
            outcome = Outcome("handed_over")
        elif stands == "canceled" and status != "canceled":
            outcome = Outcome("canceled")
        spent = await in_thread(self.session.spent, record.thread_id)
        LOGGER.info("%s: %s", record.thread_id, outcome.status.replace("_", " "))
        return Outcome(**{**asdict(outcome), "usd": spent.known_usd, "calls": spent.calls})


def _options(record: JobRecord, description: Description, halt: Halt) -> RunOptions:
    given = dict(record.options)
    limits = given.pop("budget", None)
    options = RunOptions(description=description, extra={HALT_KEY: halt})
    if limits is not None:
        options["budget"] = tuple(Budget(**each) for each in limits)
    options.update(given)  # type: ignore[typeddict-item]
    return options


@asynccontextmanager
async def _beating(beat: Heartbeat) -> AsyncIterator[None]:
    async def beats() -> None:
        while True:
            beat.beat()
            await asyncio.sleep(beat.every_s)

    task = asyncio.ensure_future(beats())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
