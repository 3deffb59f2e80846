"""`stepgraph ui`."""

from __future__ import annotations

import os
import sys
import webbrowser
from contextlib import suppress

import click

from ...state.database import Database
from ...tracing.export.settings import read_settings
from ...tracing.record.threads import find_thread
from .show import open_session


def serve_pages(thread: str | None, *, port: int, browse: bool, database: Database) -> None:
    """Serve the pages until interrupted."""
    from ...ui.serving import serve

    def ready(address: str, once: str) -> None:
        click.echo(f"{address}\nThe address is for you only: it lets whoever has it read the record.")
        click.echo("Ctrl-C ends it.")
        if browse and has_screen():
            webbrowser.open(once)

    with open_session(database) as session:
        if thread is not None:
            find_thread(session.journal, thread)
        with suppress(KeyboardInterrupt):
            serve(session, port=port, mask=read_settings().sent_mask, thread=thread, ready=ready)


def has_screen() -> bool:
    """Tell whether a browser can open a window; one in the terminal would take it over."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
