"""The pages: the list of runs, a run, a step, a comparison. They only read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import get_args

from ..state.errors import InputError, StepgraphError
from ..state.masking import Masker
from ..tracing.record.run import Run
from ..tracing.record.text import clean
from ..tracing.record.threads import Order, Search
from .blobs import HEADERS, sent_as
from .comparisons import compare
from .drawings import draw
from .exporting import to_html
from .records import Reader
from .steps import outcome, step_view
from .templating import PageLinks, rendered, static
from .texts import Text
from .waterfalls import matching, waterfall

HTML = "text/html; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
STATUSES = ("done", "failed", "interrupted", "partial", "running", "queued")
ORDERS: dict[str, Order] = {name: name for name in get_args(Order)}
FILTERS = {
    "": "all steps",
    "failed": "what failed",
    "decisions": "decisions",
    "critical": "the critical path",
    "calls": "model calls",
}
STATIC = {
    "ui.css": "text/css; charset=utf-8",
    "ui.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
OTHERS = 30


@dataclass(frozen=True)
class Page:
    """What is answered: a body with its type, and under which name to save it, if it is to be saved."""

    body: str | bytes
    kind: str = HTML
    status: int = 200
    save_as: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """The part of an address after the question mark."""

    pairs: Sequence[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]

    def one(self, name: str) -> str:
        return next(iter(self.all(name)), "")

    def number(self, name: str) -> int | None:
        text = self.one(name)
        return int(text) if text.isdecimal() and len(text) < 9 else None


class Pages:
    """Makes pages of what a reader reads. `mask` is for what leaves this machine: the saved file."""

    def __init__(self, reader: Reader, mask: Masker) -> None:
        self._reader = reader
        self._mask = mask
        self._by_path: dict[str, Callable[[Query], Page]] = {
            "/": self._runs,
            "/run": self._run,
            "/step": self._step,
            "/text": self._text,
            "/blob": self._blob,
            "/compare": self._compare,
            "/export": self._export,
            "/version": self._version,
        }

    def answer(self, path: str, query: Query) -> Page:
        """Return the page for an address; for what does not exist, one that says so."""
        path = "/static/icon.svg" if path == "/favicon.ico" else path
        folder, _, name = path.rpartition("/")
        if folder == "/static" and name in STATIC:
            return Page(static(name), STATIC[name])
        page = self._by_path.get(path)
        if page is None:
            return self._problem("There is no such page", "Begin at the list of runs.")
        try:
            return page(query)
        except InputError as error:
            return self._problem("That is not there", str(error))
        except StepgraphError as error:
            return self._problem("The record cannot be read", str(error), 500)
        except Exception as error:  # whatever a damaged row leads to
            return self._problem("The record cannot be read", f"{type(error).__name__}: {error}", 500)

    def _render(self, template: str, **values: object) -> Page:
        return Page(rendered(template, {"links": PageLinks(), "place": self._reader.place, **values}))

    def _problem(self, title: str, message: str, status: int = 404) -> Page:
        page = self._render("problem.html", title=title, message=message)
        return Page(page.body, status=status)

    def _runs(self, query: Query) -> Page:
        status, order = query.one("status"), query.one("order")
        search = Search(query.one("q").strip()[:200], status if status in STATUSES else None)
        chosen = ORDERS.get(order, "latest")
        return self._render(
            "runs.html",
            version=self._reader.list_version(),
            listing=self._reader.listing(search, chosen, query.number("page") or 1),
            search=search,
            order=chosen,
            orders=ORDERS,
            statuses=STATUSES,
        )

    def _run(self, query: Query) -> Page:
        version = self._reader.version(query.one("thread"))  # before the run: what comes later shows up
        run = self._reader.run(query.one("thread"))
        text, only = query.one("q").strip()[:200], query.one("only")
        only = only if only in FILTERS else ""
        found = matching(run, text=text, only=only) if text or only else waterfall(run)
        return self._render(
            "run.html",
            run=run,
            live=PageLinks().version(run.thread.thread_id),
            version=version,
            drawing=draw(run),
            lines=found,
            q=text,
            only=only,
            filters=FILTERS,
            outcome=outcome(run),
            others=self._others(run),
        )

    def _others(self, run: Run) -> list[object]:
        search = Search(run.thread.graph or "")
        found = self._reader.listing(search, "latest", 1).threads[:OTHERS]
        return [other for other in found if other.thread_id != run.thread.thread_id]

    def _step(self, query: Query) -> Page:
        run = self._reader.run(query.one("thread"))
        view = step_view(run, query.one("span"))
        if view is None:
            raise InputError("The run has no such step.")
        return self._render("step.html", view=view)

    def _text(self, query: Query) -> Page:
        run, name = self._reader.run(query.one("thread")), query.one("name")
        view = step_view(run, query.one("span"))
        texts: list[Text] = [*(view.texts() if view else ()), *(text for _, text in outcome(run))]
        found = next((text for text in texts if text.name == name), None)
        if found is None:
            raise InputError("The step has no such text.")
        return Page(clean(found.whole), PLAIN)

    def _blob(self, query: Query) -> Page:
        sha256 = query.one("sha256")
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise InputError("An image or a document is named by its sha256.")
        data = self._reader.blob(sha256)
        kind, ending = sent_as(data)
        return Page(data, kind, save_as=f"{sha256[:12]}{ending}" if ending else None, headers=HEADERS)

    def _compare(self, query: Query) -> Page:
        threads = query.all("thread")
        if len(threads) != 2:
            raise InputError("Tick two runs in the list, and compare those.")
        a, b = (self._reader.run(thread) for thread in threads)
        return self._render("compare.html", it=compare(a, b, query.number("at")))

    def _export(self, query: Query) -> Page:
        run = self._reader.run(query.one("thread"))
        return Page(to_html(run, self._mask), save_as=file_name(run.thread.thread_id))

    def _version(self, query: Query) -> Page:
        thread = query.one("thread")
        version = self._reader.version(thread) if thread else self._reader.list_version()
        return Page(version, PLAIN)


def file_name(thread_id: str) -> str:
    """Return a name for the file of a run that every system takes."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in thread_id)[:80]
    return f"{PurePath(kept).name.strip('.') or 'run'}.html"
