"""`stepgraph threads`."""

from __future__ import annotations

import json
import time

import click

from ...state.database import Database
from ...state.journal.batches import awaited
from ...tracing.export.settings import read_settings
from ...tracing.record.reads import unsent_threads
from ...tracing.record.search import Search
from ...tracing.record.text import batch_line, cost_line, duration, one_line
from ...tracing.record.threads import Order, Thread, list_threads
from .show import open_session, thread_json

SAID_FROM_S = 1.0


def show_threads(
    *, limit: int, search: str, status: str | None, order: Order, database: Database, as_json: bool
) -> None:
    """Print the threads of a file; where traces are sent, also which have something left to send."""
    with open_session(database) as session:
        threads = list_threads(session.journal, limit, search=Search(search, status), order=order)
        names = [destination.name for destination in read_settings().destinations]
        awaits = awaited(session.journal, [thread.thread_id for thread in threads])
        waiting = {name: set(unsent_threads(session.journal, name)) for name in names}
    width = max((len(one_line(thread.thread_id)) for thread in threads), default=0)
    for thread in threads:
        unsent = [name for name in names if thread.thread_id in waiting[name]]
        if as_json:
            row = {**thread_json(thread), "unsent": unsent}
            click.echo(json.dumps(row, ensure_ascii=False))
        else:
            sent = ("  not sent yet" if unsent else "  sent") if names else ""
            batches = "".join(f"  {one_line(batch_line(i.batch), 120)}" for i in awaits[thread.thread_id])
            click.echo(_line(thread, width, sent + batches))
    if not threads and not as_json:
        click.echo(f"No threads in {database}." if not search and not status else "No thread fits.")


def _line(thread: Thread, width: int, sent: str) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(thread.started_at))
    error = f"  {one_line(thread.error, 80)}" if thread.error else ""
    took = f"{duration(thread.seconds):>8}{_waited(thread)}"
    return (
        f"{one_line(thread.thread_id).ljust(width)}  {thread.status:<11}  {when}  "
        f"{took}  {thread.cost.calls:>3} calls  {cost_line(thread.cost)}{sent}{error}"
    )


def _waited(thread: Thread) -> str:
    """Return the time in which no node ran, where that is worth saying."""
    waited = thread.waited_s
    return f" + {duration(waited)} waiting" if waited >= SAID_FROM_S else ""
