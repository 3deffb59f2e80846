"""Runs threads, one after the other or several at a time, and shows how they end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import click

from ...runners.bindings import using_named
from ...runners.loading import Loaded
from ...runners.result import RunResult
from ...runners.run import NO_ANSWER, Graph, RunOptions, aresume, arun
from ...runners.submitting import RunHandle
from ...state.errors import InputError, Rejected, StepgraphError
from ...state.journal.batches import awaited
from ...state.keys_in_use import without_keys
from ...state.session.session import Session
from ...state.tracebacks import told_of
from ...tracing.record.pending import is_review, is_wait
from ...tracing.record.text import batch_line, one_line, plain
from ..exit_codes import ExitCode, exit_code
from .outcomes import RunOutcome, outcome_json, print_outcome, print_summary
from .progress import Progress
from .streaming import Printer
from .text import show_question


@dataclass(frozen=True)
class ThreadJob:
    """One thread to run from a `state`, or to resume without one; `data` is its input as it was typed."""

    thread: str
    loaded: Loaded | None  # None where it is refused, because its graph cannot be loaded
    title: str
    models: Mapping[str, str]
    state: Any = None
    data: Mapping[str, Any] = field(default_factory=dict)
    refused: StepgraphError | None = None
    options: RunOptions = field(default_factory=RunOptions)
    answer: Any = NO_ANSWER
    answers: Mapping[str, Any] | None = None
    hand: Callable[[], Awaitable[RunHandle]] | None = None  # to workers, which run it
    printer: Printer | None = None  # of what its steps say while they say it


def run_all(session: Session, jobs: list[ThreadJob], at_once: int, as_json: bool) -> ExitCode:
    """Run jobs, at most `at_once` at a time, and return the first exit code that is not DONE."""
    printer = jobs[0].printer if len(jobs) == 1 else None
    progress = Progress(live=at_once == 1, before=printer.end if printer else None)
    if not as_json:
        session.journal.listeners.append(progress)

    async def one(job: ThreadJob, gate: asyncio.Semaphore) -> RunOutcome:
        async with gate:
            if not as_json and at_once == 1:
                click.echo(f"{one_line(job.thread)}  {job.title}")
            outcome = await _run_job(session, job)
            if job.printer is not None:
                job.printer.end()
            if as_json:
                click.echo(json.dumps(outcome_json(session, outcome)))
            else:
                if at_once > 1:
                    click.echo(f"{one_line(job.thread)}  {job.title}")
                progress.ended(job.thread)
                print_outcome(outcome, job.data)
            return outcome

    async def all_of_them() -> list[RunOutcome]:
        gate = asyncio.Semaphore(at_once)
        return await asyncio.gather(*(one(job, gate) for job in jobs))

    started = time.perf_counter()
    try:
        outcomes = asyncio.run(all_of_them())
    except KeyboardInterrupt:
        _tell_of_batches(session, [job.thread for job in jobs])
        raise
    if not as_json:
        print_summary(session, outcomes, time.perf_counter() - started)
    return next((outcome.code for outcome in outcomes if outcome.code), ExitCode.DONE)


def _tell_of_batches(session: Session, threads: list[str]) -> None:
    """Say which batches go on at their providers although nobody waits for them."""
    by_id = {item.batch.id: item for each in awaited(session.journal, threads).values() for item in each}
    for item in by_id.values():
        click.echo(f"{batch_line(item.batch)}. It goes on: `stepgraph resume` collects it.", err=True)


async def _run_job(session: Session, job: ThreadJob) -> RunOutcome:
    started = time.perf_counter()
    if job.refused is not None or (job.loaded is None and job.hand is None):
        error = job.refused or InputError("Its graph cannot be loaded.")
        outcome = RunOutcome(job.thread, "refused", exit_code(error), error=str(error))
    else:
        outcome = await _outcome(session, job)
    outcome.seconds = time.perf_counter() - started
    return outcome


async def _outcome(session: Session, job: ThreadJob) -> RunOutcome:
    thread = job.thread
    try:
        if job.hand is not None:
            handle = await job.hand()
            if job.printer is None:
                return _ended(await handle.aresult())
            async for part in handle.astream():
                if isinstance(part, RunResult):
                    return _ended(part)
                job.printer(part)
        graph: Graph = cast("Loaded", job.loaded).graph
        options = job.options if job.printer is None else job.printer.options(job.options)
        with using_named(job.models):
            if job.state is not None:
                result = await arun(graph, job.state, session, thread, **options)
            else:
                result = await aresume(
                    graph, session, thread, answer=job.answer, answers=job.answers, **options
                )
    except StepgraphError as error:
        rejected = isinstance(error, Rejected)
        return RunOutcome(
            thread, "failed", exit_code(error), error=without_keys(str(error)), rejected=rejected
        )
    except Exception as error:
        message = told_of(error)
        return RunOutcome(thread, "failed", ExitCode.FAILED, error=message)
    return _ended(result)


def _ended(result: RunResult) -> RunOutcome:
    outcome = RunOutcome(result.thread_id, result.status, ExitCode.DONE, output=plain(result.values))
    outcome.unmerged = {path: list(answers) for path, answers in result.unmerged.items()}
    outcome.ended_early, outcome.cut = result.ended_early, result.cut
    if result.status == "partial":
        missing = f" Missing: {', '.join(result.missing)}." if result.missing else ""
        outcome.code, outcome.error = ExitCode.PARTIAL, f"{result.limit}{missing}"
    elif result.status == "interrupted":
        questions = "; ".join(show_question(item.value) for item in result.waiting)
        timed = all(is_wait(item.value) for item in result.waiting)
        what = "waits" if timed and result.waiting else "waits for an answer to"
        outcome.code, outcome.error = ExitCode.WAITING, f"{what}: {questions}"
        outcome.asked = [item.value for item in result.waiting if is_review(item.value)]
        outcome.reviews = sum(is_review(item.value) for item in result.waiting)
        outcome.timed = timed
    return outcome
