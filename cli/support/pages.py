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

# -P: the folder that it runs in is no place to look for our own modules; graphs are found as by any command.
OURSELVES = (sys.executable, "-P", "-c", "from stepgraph.cli.from_stdin import run; run()")
FOR_YOU = "The address is for you only: it lets whoever has it read the record"
MAY_ACT = ", decide what waits, and run graphs that the record names"


def serve_pages(
    thread: str | None,
    *,
    port: int,
    browse: bool,
    read_only: bool,
    graph: str | None,
    database: Database,
    on: str | None,
) -> None:
    """Serve the pages until interrupted."""
    from ...ui.actions import Actions
    from ...ui.launching import Launcher
    from ...ui.serving import serve

    def ready(address: str, once: str) -> None:
        click.echo(f"{address}\n{FOR_YOU}{'' if read_only else MAY_ACT}.")
        click.echo("Ctrl-C ends it." if read_only else "Ctrl-C ends it; a run that it began goes on.")
        if browse and has_screen():
            webbrowser.open(once)

    with open_session(database) as session:
        if thread is not None:
            find_thread(session.journal, thread)
        launcher = Launcher(OURSELVES, database)
        actions = None if read_only else Actions(session, launcher, on=on, graph=graph)
        mask = read_settings().sent_mask
        with suppress(KeyboardInterrupt):
            serve(session, port=port, mask=mask, thread=thread, actions=actions, ready=ready)


def has_screen() -> bool:
    """Tell whether a browser can open a window; one in the terminal would take it over."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
