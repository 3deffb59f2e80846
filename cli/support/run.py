"""`stepgraph run` and `stepgraph resume`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from ...runners.bindings import check_models, check_roles, known_models, parse_models
from ...runners.loading import Loaded, load_graph, load_recorded
from ...runners.run import NO_ANSWER, RunOptions
from ...state.database import Database, is_missing
from ...state.errors import InputError, StepgraphError
from ...state.journal.jobs import find_job
from ...state.journal.records import Description
from ...state.schema import values_of
from ...state.session.session import Session, new_thread_id
from ...state.statuses import Lane
from ...tracing.export.live import Tracing
from ...tracing.record.listing import unended_threads
from ...tracing.record.pending import due as read_due
from ...tracing.record.reads import read_input
from ...tracing.record.recorded_run import is_replay
from ...tracing.record.text import one_line
from ...tracing.record.threads import Thread, find_thread, is_known
from ..exit_codes import ExitCode
from .inputs import RunInput, json_or_text, read_inputs
from .jobs import ThreadJob, run_all
from .limits import parse_age, parse_budget
from .streaming import Printer
from .workers import handed_before, is_stopped, submitted, wait_for


def run_graph(
    reference: str,
    *,
    inputs: Sequence[str],
    limit: int | None,
    thread: str | None,
    restart: bool = False,
    jobs: int | None = None,
    limits: Sequence[str],
    cache_s: str | None,
    lane: Lane | None = None,
    models: Sequence[str],
    database: Database,
    on: str | None = None,
    stream: bool = False,
    as_json: bool,
) -> ExitCode:
    """Run a graph on its inputs, here or `on` workers; return the exit code: the first that is not DONE."""
    loaded = load_graph(reference)
    items = read_inputs(inputs, loaded.state)[:limit]
    if len(items) == 1 and items[0].error:
        raise items[0].error
    if thread and len(items) > 1:
        raise InputError("--thread names one thread, but there are several inputs.")
    bound = parse_models(models)
    check_roles(bound, loaded.graph)
    if on is not None and (bound or jobs):
        raise InputError(
            "Workers choose the models, and how many threads run at a time: leave out --model and --jobs; "
            "`stepgraph worker` has --model and --at-once."
        )
    if stream and len(items) > 1:
        raise InputError("--stream prints what the steps of one thread say: give one input.")
    if on is None:
        check_models(bound, loaded.graph)
    options = _options(limits, cache_s, lane)
    options["restart"] = restart
    base = thread or new_thread_id(loaded.name)
    names = [base] if len(items) == 1 else [f"{base}-{number:02d}" for number in range(1, len(items) + 1)]
    work = [_job(name, item, loaded, bound, options) for name, item in zip(names, items, strict=True)]
    if on is not None:
        with Session(database) as session:
            work = [job if job.refused else submitted(session, job, loaded, on) for job in work]
            work = _printing(work, as_json) if stream else work
            return wait_for(session, work, on, as_json)
    with Session(database, tracing=Tracing()) as session:
        work = [job if job.refused else _join(session, job, loaded) for job in work]
        work = [job if job.refused else _queued(session, job, loaded) for job in work]
        work = _printing(work, as_json) if stream else work
        return run_all(session, work, jobs or _at_once(session, work), as_json)


def _job(
    thread: str, item: RunInput, loaded: Loaded, models: Mapping[str, str], options: RunOptions
) -> ThreadJob:
    return ThreadJob(
        thread=thread,
        loaded=loaded,
        title=one_line(json.dumps(item.data, ensure_ascii=False), 90),
        models=models,
        state=item.state,
        data=item.data if isinstance(item.data, dict) else {},
        refused=item.error,
        options=options,
    )


def _join(session: Session, job: ThreadJob, loaded: Loaded) -> ThreadJob:
    """Return a job that says the next thing on its thread. Raises InputError if it cannot."""
    thread = job.thread
    if not is_known(session.journal, thread):
        return job
    known = find_thread(session.journal, thread)
    unended = known.graph == loaded.reference and known.status not in ("done", "queued")
    if unended and read_input(session.journal, thread) == job.data:
        # Delivered again: the thread goes on, unless it is to restart.
        models = job.models or _recorded(known)
        return replace(job, models=models, state=job.state if job.options.get("restart") else None)
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
    models = job.models or _recorded(known)
    state = {name: value for name, value in values_of(job.state).items() if name in job.data}
    return replace(job, models=models, state=state)


def _queued(session: Session, job: ThreadJob, loaded: Loaded) -> ThreadJob:
    """Return a job that describes its thread, and put that on record: `resume --all` begins it too."""
    described = Description(loaded.reference, job.models, job.data)
    session.journal.queue_run(job.thread, described)
    return replace(job, options=RunOptions(**job.options, description=described))


def resume_threads(
    threads: Sequence[str],
    *,
    everything: bool = False,
    due: bool = False,
    answer: str | None = None,
    answers: Mapping[str, Any] | None = None,
    force: bool = False,
    graph: str | None = None,
    limits: Sequence[str],
    cache_s: str | None = None,
    lane: Lane | None = None,
    models: Sequence[str],
    database: Database,
    on: str | None = None,
    here: bool = False,
    stream: bool = False,
    as_json: bool,
) -> ExitCode:
    """Resume threads from their last checkpoints and return the exit code.

    `answer` goes to a single interrupt, as typed; `answers` are values by the interrupts' ids. Threads that
    were handed to workers go on there, unless it is to be `here`.
    """
    if [bool(threads), everything, due].count(True) != 1:
        raise InputError(
            "Name the threads to resume, or give --all or --due. `stepgraph threads` lists them."
        )
    if is_missing(database):
        raise InputError(f"There is no file {database}, so there is nothing to resume.")
    with Session(database, tracing=Tracing()) as session:
        if everything:
            rows = _unfinished(session)
        elif due:
            ids = dict.fromkeys(item.thread_id for item in read_due(session))
            rows = [find_thread(session.journal, thread) for thread in ids]
        else:
            rows = [find_thread(session.journal, thread) for thread in threads]
        if not rows and not as_json:
            click.echo("Nothing is due." if due else "Every thread has ended.")
        loaded: dict[str, Loaded] = {}
        bound = parse_models(models)
        options = _options(limits, cache_s, lane, force=force)
        value = NO_ANSWER if answer is None else json_or_text(answer)
        work = []
        for thread in rows:
            record = None if here else find_job(session.journal, thread.thread_id)
            if record is not None:
                if threads or is_stopped(record):
                    job = ThreadJob(
                        thread.thread_id,
                        None,
                        "goes on at its workers",
                        {},
                        options=options,
                        answer=value,
                        answers=answers,
                    )
                    work.append(handed_before(session, job, record, on, named=bool(graph or bound)))
                continue
            if on is not None:
                raise InputError(
                    f"The thread {thread.thread_id!r} was not handed to workers: leave out --on."
                )
            try:
                version = _loaded(thread, graph, loaded)
                check_roles(bound, version.graph)
                bindings = bound or _recorded(thread)
                data = read_input(session.journal, thread.thread_id)
            except Exception as error:  # whatever a damaged record leads to; the other threads go on
                if threads:
                    raise
                refusal = error if isinstance(error, StepgraphError) else InputError(repr(error))
                work.append(ThreadJob(thread.thread_id, None, "cannot be loaded", {}, refused=refusal))
                continue
            work.append(
                ThreadJob(
                    thread.thread_id,
                    version,
                    "resumed",
                    bindings,
                    data=data,
                    options=options,
                    answer=value,
                    answers=answers,
                )
            )
        work = _printing(work, as_json) if stream and len(work) == 1 else work
        if any(job.hand is not None for job in work):
            return wait_for(session, work, on, as_json)
        return run_all(session, work, _at_once(session, work), as_json) if work else ExitCode.DONE


def _printing(work: Sequence[ThreadJob], as_json: bool) -> list[ThreadJob]:
    return [replace(job, printer=Printer(job.thread, as_json=as_json)) for job in work]


def _at_once(session: Session, work: Sequence[ThreadJob]) -> int:
    """Return how many threads run at a time: all of them where one's calls are to meet in a batch."""
    lanes = (job.options.get("lane") or session.journal.terms_of(job.thread).lane for job in work)
    return max(1, len(work)) if "batch" in lanes else 1


def _unfinished(session: Session) -> list[Thread]:
    """Return all threads that have not ended, the oldest first; replays go on by their own command alone."""
    threads = unended_threads(session.journal)
    return [thread for thread in threads if not is_replay(session.journal, thread.thread_id)]


def _loaded(thread: Thread, graph: str | None, known: dict[str, Loaded]) -> Loaded:
    reference = graph or _reference_of(thread)
    if reference not in known:
        known[reference] = (load_graph if graph else load_recorded)(reference)
    return known[reference]


def _recorded(thread: Thread) -> dict[str, str]:
    return known_models(thread.models, f"The record of the thread {thread.thread_id!r}")


def _reference_of(thread: Thread) -> str:
    if thread.graph is None:
        raise InputError(
            f"The thread {thread.thread_id!r} was run from Python, so only Python knows its graph. Name it "
            "with --graph (file.py:attr), or go on there: "
            f"graph.invoke(…, session.config({thread.thread_id!r})), with None, or with a Command(resume=…) "
            "that answers what it waits for."
        )
    return thread.graph


def _options(
    limits: Sequence[str], cache_s: str | None, lane: Lane | None, *, force: bool = False
) -> RunOptions:
    return RunOptions(
        budget=parse_budget(limits),
        cache_s=None if cache_s is None else parse_age(cache_s),
        lane=lane,
        allow_changed_graph=force,
    )
