"""Commands about traces."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ..options import database_option, json_option


@click.group()
def trace() -> None:
    """Look at traces, compare them, and send them to Langfuse or any OTLP endpoint."""


@trace.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@database_option
@json_option
def trace_list(**options: Any) -> None:
    """List the runs, the latest first: time, cost, and whether they were sent."""
    from ..support.trace import list_traces

    list_traces(**options)


@trace.command("show")
@click.argument("thread")
@click.option("--step", metavar="NODE", help="All about one step: its path or name.")
@click.option("--full", is_flag=True, help="Print prompts, answers and states whole.")
@database_option
@json_option
def trace_show(thread: str, **options: Any) -> None:
    """Show THREAD as a waterfall with the critical path, or one step with its state in and out."""
    from ..support.trace import show_trace

    show_trace(thread, **options)


@trace.command("diff")
@click.argument("a")
@click.argument("b")
@click.option("--full", is_flag=True, help="Print prompts, answers and states whole.")
@database_option
@json_option
def trace_diff(a: str, b: str, **options: Any) -> None:
    """Show the first step at which A and B part, and all that differs."""
    from ..support.trace import diff_traces

    diff_traces(a, b, **options)


@trace.command("export")
@click.argument("threads", nargs=-1)
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="Default: standard output.")
@click.option("--html", is_flag=True, help="Write one thread as one HTML page that needs nothing else.")
@database_option
def trace_export(threads: tuple[str, ...], html: bool, **options: Any) -> None:
    """Write the spans of THREADS, or of all, as JSON lines, masked; or one run as an HTML page."""
    if html:
        from ..support.pages import export_page

        export_page(threads, **options)
        return
    from ..support.trace import export_traces

    export_traces(threads, **options)


@trace.command("push")
@click.argument("threads", nargs=-1)
@click.option("--since", metavar="AGE", help="Only runs changed in that time: 12h, 7d.")
@database_option
def trace_push(threads: tuple[str, ...], **options: Any) -> None:
    """Send the traces of THREADS, or of all, that have not arrived yet. Can be repeated."""
    from ..support.trace import push_traces

    sys.exit(push_traces(threads, **options))
