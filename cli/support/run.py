"""`stepgraph run` and `stepgraph resume`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ...runners.bindings import check_roles, parse_models
from ...runners.loading import Loaded, load_graph, load_recorded
from ...state.errors import InputError
from ...state.schema import values_of
from ...state.session.session import Session, new_thread_id
from ...tracing.export.live import Tracing
from ...tracing.record.reads import read_input
from ...tracing.record.threads import Thread, find_thread, is_known, list_threads
from .inputs import RunInput, read_inputs
from .jobs import ThreadJob, run_all
from .limits import parse_age, parse_budget
from .text import one_line


def run_graph(
    reference: str,
    *,
    inputs: Sequence[str],
    limit: int | None,
    thread: str | None,
    jobs: int,
    limits: Sequence[str],
    cache_s: str | None,
    models: Sequence[str],
    database: Path,
    as_json: bool,
) -> int:
    """Run a graph on its inputs and return the exit code: the first one that is not 0."""
    loaded = load_graph(reference)
    found = read_inputs(inputs, loaded.state)[:limit]
    if len(found) == 1 and found[0].error:
        raise found[0].error
    if thread and len(found) > 1:
        raise InputError("--thread names one thread, but there are several inputs.")
    bound = parse_models(models)
    check_roles(bound, loaded.graph)
    base = thread or new_thread_id(loaded.name)
    work = [_job(base, number, len(found), item, loaded, bound) for number, item in enumerate(found, 1)]
    _limit(work, limits, cache_s)
    with Session(database, tracing=Tracing()) as session:
        for job in work:
            if job.refused is None:
                _join(session, job)
                session.journal.describe_run(job.thread, loaded.reference, job.models, job.given)
        return run_all(session, work, jobs, as_json)


def _job(
    base: str, number: int, count: int, item: RunInput, loaded: Loaded, models: dict[str, str]
) -> ThreadJob:
    return ThreadJob(
        thread=base if count == 1 else f"{base}-{number:02d}",
        loaded=loaded,
        title=one_line(json.dumps(item.data, ensure_ascii=False), 90),
        models=models,
        state=item.state,
        refused=item.error,
        given=item.data if isinstance(item.data, dict) else {},
    )


def _join(session: Session, job: ThreadJob) -> None:
    """Have a job say the next thing on its thread, if there is one. Raises InputError if it cannot."""
    thread, loaded = job.thread, job.loaded
    if not is_known(session.journal, thread):
        return
    known = find_thread(session.journal, thread)
    if not loaded.converses or known.graph != loaded.reference:
        raise InputError(
            f"The thread {thread!r} exists already. Go on with it: stepgraph resume {thread}; or name "
            "another one."
        )
    if known.status != "done":
        raise InputError(
            f"The last turn on the thread {thread!r} has not ended ({known.status}). Go on with it first: "
            f"stepgraph resume {thread}"
        )
    job.models = job.models or known.models
    job.state = {name: value for name, value in values_of(job.state).items() if name in job.given}


def resume_threads(
    threads: Sequence[str],
    *,
    everything: bool,
    answer: str | None,
    answers: Mapping[str, Any] | None = None,
    force: bool = False,
    graph: str | None,
    limits: Sequence[str],
    cache_s: str | None,
    models: Sequence[str],
    database: Path,
    as_json: bool,
) -> int:
    """Go on with threads from their last checkpoints and return the exit code.

    `answer` is what a single interrupt is told, as typed; `answers` are values by the interrupts' ids.
    """
    if bool(threads) == everything:
        raise InputError("Name the threads to resume, or give --all. `stepgraph threads` lists them.")
    if not database.exists():
        raise InputError(f"There is no file {database}, so there is nothing to resume.")
    with Session(database, tracing=Tracing()) as session:
        if everything:
            found = [t for t in list_threads(session.journal, 10_000) if t.status != "done"]
            found.sort(key=lambda t: (t.started_at, t.thread_id))
        else:
            found = [find_thread(session.journal, thread) for thread in threads]
        if not found:
            if not as_json:
                click.echo("Every thread has ended.")
            return 0
        loaded: dict[str, Loaded] = {}
        bound = parse_models(models)
        work = []
        for thread in found:
            reference = graph or _reference_of(thread)
            load = load_graph if graph else load_recorded
            if reference not in loaded:
                loaded[reference] = load(reference)
                check_roles(bound, loaded[reference].graph)
            job = ThreadJob(thread.thread_id, loaded[reference], "resumed", bound or thread.models)
            job.given, job.allow_changed_graph = read_input(session.journal, thread.thread_id), force
            job.answers = answers
            work.append(job)
        _limit(work, limits, cache_s)
        return run_all(session, work, 1, as_json, answer=answer)


def _reference_of(thread: Thread) -> str:
    if thread.graph is None:
        raise InputError(
            f"The thread {thread.thread_id!r} was run from Python, so only Python knows its graph. Name it "
            "with --graph (file.py:attr), or go on there: "
            f"graph.invoke(…, session.config({thread.thread_id!r})), with None, or with a Command(resume=…) "
            "that answers what it waits for."
        )
    return thread.graph


def _limit(work: list[ThreadJob], limits: Sequence[str], cache_s: str | None) -> None:
    budget = parse_budget(limits)
    lifetime = None if cache_s is None else parse_age(cache_s)
    for job in work:
        job.budget, job.cache_s = budget, lifetime
