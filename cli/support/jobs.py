"""Runs threads, one after the other or several at a time, and tells how they end."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from langgraph.types import Command

from ...providers.stack.roles import using
from ...runners.loading import Loaded
from ...runners.run import RunResult, arun, best_values
from ...state.budget import Budget
from ...state.errors import InputError, Rejected, StepgraphError
from ...state.schema import parse_input
from ...state.session.pauses import budget_end
from ...state.session.session import Session
from ..app import exit_code
from .outcomes import PARTIAL, WAITING, RunOutcome, outcome_json, print_outcome, print_summary
from .progress import Progress
from .text import is_review, one_line, plain, show_question


@dataclass
class ThreadJob:
    """One thread to run or to go on with."""

    thread: str
    loaded: Loaded
    title: str
    models: dict[str, str]
    state: Any = None
    refused: StepgraphError | None = None
    given: dict[str, Any] = field(default_factory=dict)
    budget: Budget | None = None
    cache_s: float | None = None
    insist: bool = False
    answers: Mapping[str, Any] | None = None


def run_all(
    session: Session, work: list[ThreadJob], at_once: int, as_json: bool, answer: str | None = None
) -> int:
    progress = Progress(live=at_once == 1)
    if not as_json:
        session.journal.listeners.append(progress)

    async def one(job: ThreadJob, gate: asyncio.Semaphore) -> RunOutcome:
        async with gate:
            if not as_json and at_once == 1:
                click.echo(f"{one_line(job.thread)}  {job.title}")
            outcome = await _run_job(session, job, answer)
            if as_json:
                click.echo(json.dumps(outcome_json(session, outcome)))
            else:
                if at_once > 1:
                    click.echo(f"{one_line(job.thread)}  {job.title}")
                progress.ended(job.thread)
                print_outcome(outcome, job.given)
            return outcome

    async def all_of_them() -> list[RunOutcome]:
        gate = asyncio.Semaphore(at_once)
        return await asyncio.gather(*(one(job, gate) for job in work))

    started = time.perf_counter()
    outcomes = asyncio.run(all_of_them())
    if not as_json:
        print_summary(session, outcomes, time.perf_counter() - started)
    return next((outcome.code for outcome in outcomes if outcome.code), 0)


async def _run_job(session: Session, job: ThreadJob, answer: str | None) -> RunOutcome:
    started = time.perf_counter()

    def ended(status: str, code: int, **rest: Any) -> RunOutcome:
        return RunOutcome(job.thread, status, code, time.perf_counter() - started, **rest)

    if job.refused is not None:
        return ended("refused", exit_code(job.refused), error=str(job.refused))
    try:
        with using(**job.models):
            result = await _go_on(session, job, answer)
    except StepgraphError as error:
        return ended("failed", exit_code(error), error=str(error), rejected=isinstance(error, Rejected))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}, line {frame.lineno}"
        return ended("failed", 1, error=f"{type(error).__name__} ({place}): {error}")
    output = plain(result.values)
    if result.status == "partial":
        missing = f" Missing: {', '.join(result.missing)}." if result.missing else ""
        return ended("partial", PARTIAL, output=output, error=f"{result.limit}{missing}")
    if result.status == "interrupted":
        asked = "; ".join(show_question(item.value) for item in result.waiting)
        reviews = sum(is_review(item.value) for item in result.waiting)
        told = f"waits for an answer to: {asked}"
        return ended("interrupted", WAITING, output=output, error=told, reviews=reviews)
    return ended("done", 0, output=output)


async def _go_on(session: Session, job: ThreadJob, answer: str | None) -> RunResult:
    graph = job.loaded.graph
    given: Any = job.state
    if given is None:
        snapshot = await graph.aget_state(session.config(job.thread))
        waiting = snapshot.interrupts if budget_end(snapshot.interrupts) is None else ()
        spent = session.spent(job.thread)
        if snapshot.created_at is None:
            given = parse_input(job.loaded.state, job.given)
        elif job.answers is not None:
            given = Command(resume=dict(job.answers))
        elif waiting and answer is None:
            whole = await graph.aget_state(session.config(job.thread), subgraphs=True)
            values = best_values(graph, whole)
            return RunResult(job.thread, "interrupted", values, spent, waiting=tuple(waiting))
        elif len(waiting) > 1:
            raise InputError(
                f"{len(waiting)} questions wait on the thread {job.thread!r}, and --answer is for one. "
                "`stepgraph pending` lists them; reviews are answered one by one: approve, reject or edit."
            )
        elif waiting:
            given = Command(resume=_parsed(answer or ""))
        elif not snapshot.next:
            session.journal.end_run(job.thread, "done")
            return RunResult(job.thread, "done", snapshot.values, spent)
    return await arun(
        graph, given, session, job.thread, budget=job.budget, cache_s=job.cache_s, insist=job.insist
    )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
