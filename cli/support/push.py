"""`stepgraph trace push`."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from ...state.database import Database
from ...state.errors import InputError
from ...tracing.export.outbox import push
from ...tracing.export.settings import read_settings
from ...tracing.record.text import clean
from ...tracing.record.threads import find_thread
from ..exit_codes import ExitCode
from .limits import parse_age
from .show import open_session


def push_traces(threads: Sequence[str], *, since: str | None, database: Database) -> ExitCode:
    """Send what has not been sent, and return the exit code: DONE, or NOT_SENT if something still waits."""
    settings = read_settings()
    if not settings.destinations:
        raise InputError(
            "No destination is set. Set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY, or name an OTLP "
            "endpoint in stepgraph.toml: [[tracing.otlp]] url = …"
        )
    with open_session(database) as session:
        for thread in threads:
            find_thread(session.journal, thread)
        start = 0.0 if since is None else time.time() - parse_age(since)
        done = push(session, settings.destinations, threads or None, sample=settings.sample, since=start)
    for pushed in done:
        refused = f", {pushed.refused} refused" if pushed.refused else ""
        problem = f"  {clean(pushed.problem)}; nothing is lost, push again" if pushed.problem else ""
        click.echo(f"{clean(pushed.destination)}: {pushed.arrived} spans sent{refused}{problem}")
    return ExitCode.NOT_SENT if any(pushed.problem for pushed in done) else ExitCode.DONE
