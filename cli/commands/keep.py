"""Commands that send traces."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..options import database_option


@click.group()
def trace() -> None:
    """Send traces to Langfuse or any OTLP endpoint."""


@trace.command("push")
@click.argument("threads", nargs=-1)
@click.option("--since", metavar="AGE", help="Only runs changed in that time: 12h, 7d.")
@database_option
def trace_push(threads: tuple[str, ...], **options: Any) -> None:
    """Send the traces of THREADS, or of all, that have not arrived yet. Can be repeated."""
    from ..support.push import push_traces

    sys.exit(push_traces(threads, **options))
