"""`stepgraph trace push`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict

import click

from ...state.database import Database
from ...state.errors import InputError
from ...tracing.export.outbox import PushReceipt, push
from ...tracing.export.settings import read_settings
from ...tracing.record.text import clean
from ...tracing.record.threads import find_thread
from ..exit_codes import ExitCode
from .limits import parse_age
from .show import open_session


def push_traces(
    threads: Sequence[str], *, since: str | None, database: Database, as_json: bool = False
) -> ExitCode:
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
    if as_json:
        click.echo(json.dumps([asdict(pushed) for pushed in done]))
    for pushed in () if as_json else done:
        click.echo(_line(pushed))
    return ExitCode.NOT_SENT if any(pushed.waits for pushed in done) else ExitCode.DONE


def _line(pushed: PushReceipt) -> str:
    refused = f", {pushed.refused} refused" if pushed.refused else ""
    line = f"{clean(pushed.destination)}: {pushed.arrived} spans and scores sent{refused}"
    if pushed.problem is None:
        return line
    next_ = (
        "nothing is lost, push again" if pushed.waits else "not sent again, as the answer would be the same"
    )
    return f"{line}  {clean(pushed.problem)}; {next_}"
