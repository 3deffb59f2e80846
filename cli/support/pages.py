"""`stepgraph ui`, and `stepgraph trace export --html`."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from ...state.errors import InputError
from ...tracing.export.settings import read_settings
from ...tracing.record.threads import find_thread
from .show import open_session
from .text import clean


def serve_pages(thread: str | None, *, port: int, browse: bool, database: Path) -> None:
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


def export_page(threads: Sequence[str], *, to: Path | None, database: Path) -> None:
    """Write one run as one HTML page, masked as when it is sent."""
    from ...ui.exporting import to_html
    from ...ui.records import Reader

    if len(threads) != 1:
        raise InputError(f"An HTML page is of one thread; {len(threads)} were named. Name one.")
    with open_session(database) as session:
        page = to_html(Reader(session).run(threads[0]), read_settings().sent_mask)
    if to is None:
        click.echo(page)
        return
    try:
        to.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{to} cannot be written: {error.strerror}. Name another file.") from None
    click.echo(f"Wrote {clean(str(to))}.")
