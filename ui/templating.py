"""The templates' environment. Everything is escaped, and stripped of control characters, on its way out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ..state.blobs import Reference
from ..state.errors import SettingsError
from ..state.money import shown
from ..tracing.record.text import MARKS, batch_line, clean, duration, money, one_line, sureness, tokens
from .blobs import way_to_show

HERE = Path(__file__).parent
INSTALL_HELP = "The page needs the extra: pip install 'stepgraph[ui]'."


class PageLinks:
    """The addresses of the pages."""

    def runs(self) -> str:
        return "/"

    def waiting(self, **more: Any) -> str:
        return self._to("/waiting", **more)

    def run(self, thread: str, **more: Any) -> str:
        return self._to("/run", thread=thread, **more)

    def step(self, thread: str, span: str) -> str:
        return self._to("/step", thread=thread, span=span)

    def text(self, thread: str, span: str, name: str) -> str:
        return self._to("/text", thread=thread, span=span, name=name)

    def compare(self, *threads: str, **more: Any) -> str:
        return self._to("/compare", thread=list(threads), **more)

    def prompts(self, *threads: str, **more: Any) -> str:
        return self._to("/prompts", thread=list(threads), **more)

    def export(self, thread: str) -> str:
        return self._to("/export", thread=thread)

    def judges(self) -> str:
        return "/judges"

    def blob(self, reference: Reference, name: str = "", *, save: bool = False) -> str:
        more = {**({"name": name[:120]} if name else {}), **({"save": "1"} if save else {})}
        return self._to("/blob", sha256=reference.sha256, **more)

    def version(self, thread: str) -> str:
        return self._to("/version", thread=thread)

    def to(self, path: str, query: Mapping[str, Any], **more: Any) -> str:
        """Return the address of the list or of the charts, with these filters and `more`."""
        return self._to(path, **{**query, **more})

    def _to(self, path: str, **query: Any) -> str:
        return f"{path}?{urlencode(query, doseq=True, errors='replace')}" if query else path


class FileLinks:
    """Places within one file; what would lie on another page leads to the run's beginning."""

    def runs(self) -> str:
        return "#top"

    def run(self, thread: str, **more: Any) -> str:
        return "#top"

    def step(self, thread: str, span: str) -> str:
        return f"#s-{span}"

    def text(self, thread: str, span: str, name: str) -> str:
        return f"#s-{span}"

    def blob(self, reference: Reference) -> str:
        """Return nothing: no image leaves this machine, since none can be masked."""
        return ""

    def compare(self, *threads: str, **more: Any) -> str:
        return "#top"


def when(at: float) -> str:
    """Return a time as it is on this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def state(status: str) -> str:
    return "waits for an answer" if status == "interrupted" else status


def _finalized(value: Any) -> Any:
    return clean(value) if type(value) is str else value


@cache
def _environment() -> Any:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise SettingsError(INSTALL_HELP) from None
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "money": money,
        "duration": duration,
        "tokens": tokens,
        "amount": lambda number, limit: f"${shown(number)}" if limit == "usd" else f"{number:.6g}",
        "count": lambda number: f"{number:,}",
        "one_line": one_line,
        "batch_line": batch_line,
        "sureness": sureness,
        "when": when,
        "state": state,
        "way_to_show": lambda reference: way_to_show(reference.media_type),
        "mark": lambda status: MARKS.get(status, "○"),
    }
    return environment


def rendered(template: str, values: Mapping[str, Any]) -> str:
    """Return a page.

    Raises SettingsError if jinja2 is missing, and AttributeError for a value that lacks what the page shows
    of it, as the same value would elsewhere.
    """
    environment = _environment()
    from jinja2 import UndefinedError

    try:
        page: str = environment.get_template(template).render(values)
    except UndefinedError as error:
        raise AttributeError(str(error)) from error
    return page


def prepare() -> None:
    """Read all templates, so that the first page is as quick as the next. Raises SettingsError."""
    environment = _environment()
    for name in environment.list_templates():
        environment.get_template(name)


@cache
def static(name: str) -> str:
    """Return a file that goes with the pages."""
    return (HERE / "static" / name).read_text(encoding="utf-8")
