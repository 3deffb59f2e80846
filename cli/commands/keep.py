"""Commands that keep the record: query, write out, send and delete."""

from __future__ import annotations

import sys
from copy import copy
from pathlib import Path
from typing import Any

import click

from ..options import database_option, json_option
from .look import show


@click.command()
@click.argument("query", metavar="SELECT")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Rows at most.")
@click.option("--timeout", type=click.FloatRange(min=0), default=10.0, show_default=True, help="Seconds.")
@database_option
@json_option
def sql(query: str, **options: Any) -> None:
    """Run one SELECT on the record, read-only: "SELECT * FROM costs_by_step"."""
    from ..support.upkeep import run_sql

    run_sql(query, **options)


@click.command()
@click.argument("threads", nargs=-1)
@click.option("--spans", is_flag=True, help="Write OpenTelemetry spans, masked as when they are sent.")
@click.option(
    "--html", is_flag=True, help="Write one thread as one HTML page, masked, that needs nothing else."
)
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="Default: standard output.")
@database_option
def export(threads: tuple[str, ...], **options: Any) -> None:
    """Write THREADS, or all, as JSON lines: the record as it is, or its spans; or one run as a page."""
    from ..support.export import export_threads

    export_threads(threads, **options)


@click.command()
@click.option("--older-than", metavar="AGE", help="Not changed for so long: 12h, 30d.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Spare the N latest threads.")
@click.option("--status", "statuses", multiple=True, help="Only with this status. Repeatable.")
@click.option("--thread", "threads", multiple=True, metavar="THREAD", help="Only this one. Repeatable.")
@click.option("--checkpoints-only", is_flag=True, help="Keep calls and node runs; only of ended threads.")
@click.option("--with-effects", is_flag=True, help="Forget which side effects happened, too.")
@click.option("--force", is_flag=True, help="Take threads that seem to be running, too.")
@click.option("--yes", is_flag=True, help="Do it; without it, only say what would go.")
@database_option
@json_option
def prune(**options: Any) -> None:
    """Delete threads that fit all options, and shrink the file."""
    from ..support.upkeep import prune_threads

    prune_threads(**options)


@click.command()
@click.argument("threads", nargs=-1)
@click.option(
    "--from", "left", required=True, metavar="DATABASE", help="Where they are: a file, or an address."
)
@click.option("--to", "right", required=True, metavar="DATABASE", help="Where they go on.")
@click.option("--keep", is_flag=True, help="Leave them there, too; go on with a thread in one place only.")
@json_option
def move(threads: tuple[str, ...], **options: Any) -> None:
    """Move THREADS, or all, with all that is on their record, to another database.

    From a SQLite file to postgresql://user@host/name, or back. One that was killed goes on there, and
    pays only what was under way. A thread takes its forks along. Run it again if it was stopped.
    """
    from ..support.move import move as move_all

    sys.exit(move_all(threads, **options))


@click.group()
def trace() -> None:
    """Send traces to Langfuse or any OTLP endpoint."""


# Whoever looks for the trace of a thread looks here first; it is the same as `stepgraph show`.
trace.add_command(copy(show), "show")
trace.commands["show"].hidden = True


@trace.command("push")
@click.argument("threads", nargs=-1)
@click.option("--since", metavar="AGE", help="Only runs changed in that time: 12h, 7d.")
@database_option
@json_option
def trace_push(threads: tuple[str, ...], **options: Any) -> None:
    """Send the traces of THREADS, or of all, that have not arrived yet. Can be repeated."""
    from ..support.push import push_traces

    sys.exit(push_traces(threads, **options))
