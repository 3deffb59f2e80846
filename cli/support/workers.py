"""`stepgraph worker`, and threads that other commands hand to workers: `run --on`, `resume`, `approve`."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from ...runners.bindings import check_roles, parse_models
from ...runners.choosing import engine_for
from ...runners.job_data import JobOptions
from ...runners.loading import Loaded
from ...runners.naming import graph_name, load_served
from ...runners.run import NO_ANSWER, RunOptions
from ...runners.submitting import RunHandle, asubmit
from ...runners.workers import worker
from ...state.database import Database
from ...state.errors import InputError
from ...state.journal.jobs import JobRecord
from ...state.session.session import Session
from ...tracing.record.text import clean, one_line
from ..exit_codes import ExitCode
from .jobs import ThreadJob, run_all


def serve_graphs(
    graphs: Sequence[str],
    *,
    on: str | None,
    at_once: int,
    grace_s: float,
    metrics: int | None,
    finish: bool,
    models: Sequence[str],
    database: Database,
) -> None:
    """Serve graphs until the process is told to end."""
    served, bound = load_served(graphs), parse_models(models)
    for loaded in served.values():
        check_roles(bound, loaded.graph)
    log = logging.getLogger("stepgraph.worker")
    log.addHandler(_Lines())
    log.setLevel(logging.INFO)
    log.propagate = False

    def ready() -> None:
        where = on or f"the queue in {database}"
        click.echo(f"Serves {', '.join(served)} on {where}. Ctrl-C ends it.", err=True)

    worker(
        served,
        db=database,
        on=on,
        models=bound,
        at_once=at_once,
        grace_s=grace_s,
        metrics=metrics,
        finish=finish,
        ready=ready,
    )
    click.echo("Ended. What ran here is kept, and goes on elsewhere.", err=True)


class _Lines(logging.Handler):
    """Prints what a worker says, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        when = time.strftime("%H:%M:%S", time.localtime(record.created))
        click.echo(f"{when}  {one_line(clean(record.getMessage()), 1000)}", err=True)


def submitted(session: Session, job: ThreadJob, loaded: Loaded, on: str) -> ThreadJob:
    """Return a job that is handed to workers when it begins, and then waited for."""
    name, options = graph_name(loaded.reference), _options(job.options)

    async def hand() -> RunHandle:
        return await asubmit(name, job.data, db=session, on=on, thread_id=job.thread, **options)

    return replace(job, hand=hand)


def handed_before(
    session: Session, job: ThreadJob, record: JobRecord, on: str | None, *, named: bool
) -> ThreadJob:
    """Return a job with which its workers go on, which run its thread.

    What was `named` for it here, its graph or models, is not for them.
    """
    if named:
        raise InputError(
            f"Workers run the thread {job.thread!r}, and choose its graph and models. Leave out --graph and "
            "--model; or run it in this process: stepgraph resume --here."
        )
    engine, options = engine_for(record, on, session), _options(job.options)

    async def hand() -> RunHandle:
        handle = RunHandle(session, engine, record.graph, record.graph, job.thread)
        if job.answers or job.answer is not NO_ANSWER:
            await handle.aanswer(job.answer, answers=job.answers)
        elif is_stopped(record):
            await handle.aresume(**options)
        return handle

    return replace(job, hand=hand)


def is_stopped(record: JobRecord) -> bool:
    """Tell whether a job goes on only if somebody says so: its budget ended, it failed, it was canceled."""
    return record.is_over and record.status != "done"


def wait_for(session: Session, jobs: list[ThreadJob], on: str | None, as_json: bool) -> ExitCode:
    """Wait for what workers run; whoever stops waiting is told how to go on."""
    try:
        return run_all(session, jobs, len(jobs), as_json)
    except KeyboardInterrupt:
        tell_where([job.thread for job in jobs if not job.refused], on, session.database)
        raise


def _options(options: RunOptions) -> JobOptions:
    """Return what of a run's options goes with its job."""
    return JobOptions(
        budget=options.get("budget"),
        cache_s=options.get("cache_s"),
        lane=options.get("lane"),
        restart=options.get("restart", False),
        allow_changed_graph=options.get("allow_changed_graph", False),
    )


def tell_where(threads: Sequence[str], on: str | None, database: Database) -> None:
    """Say how to go on with threads that workers run, although nobody waits for them here."""
    own = database in (Path("stepgraph.sqlite"), Path("stepgraph.sqlite").absolute())
    option = "" if own else f" --db {shlex.quote(str(database))}"
    server = f" --on {shlex.quote(on)}" if on and on != "local" else ""
    for thread in threads:
        name = shlex.quote(one_line(thread, 1000))
        click.echo(
            f"{name} goes on without this command. See it: stepgraph show {name}{option}; wait for it: "
            f"stepgraph resume {name}{option}{server}",
            err=True,
        )
