"""The pages: the list of runs, a run, a step, a comparison; and what a form on them leads to."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import PurePath

from ..state.errors import InputError, StepgraphError
from ..state.masking import Masker
from ..tracing.record.text import clean
from .actions import Actions, DecisionConflict, FormData, InvalidForm
from .blobs import HEADERS, sent_as
from .cases import case_form
from .comparisons import compare
from .drawings import draw
from .exporting import to_html
from .judging import read_judges
from .launching import Launcher
from .lists import charts_page, runs_page
from .media import file_name as media_name, media_of
from .prompts import prompts_of
from .queries import Query
from .records import Reader
from .repeats import Repeats
from .steps import outcome, step_view
from .templating import PageLinks, rendered, static
from .texts import Text
from .waits import PendingQuestion, Waits
from .waterfalls import matching, waterfall

HTML = "text/html; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
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
MOST_PROMPTS = 500


@dataclass(frozen=True)
class Page:
    """What is answered: a body with its type, and under which name to save it, if it is to be saved."""

    body: str | bytes
    kind: str = HTML
    status: int = 200
    save_as: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Forms:
    """What forms need: the token that shows they are ours, who decides, and what was begun before."""

    token: str
    user: str
    launcher: Launcher

    def is_going(self, thread: str) -> bool:
        return self.launcher.is_going(thread)

    def once(self) -> str:
        return Repeats.mark()


class Pages:
    """Makes pages of what a reader reads. `mask` is for what leaves this machine: the saved file.

    With `actions`, the pages have forms; each carries the `form_token`.
    """

    def __init__(
        self, reader: Reader, mask: Masker, actions: Actions | None = None, form_token: str = ""
    ) -> None:
        self._reader = reader
        self._mask = mask
        self._actions = actions
        self._forms = None if actions is None else Forms(form_token, actions.user, actions.launcher)
        self._by_path: dict[str, Callable[[Query], Page]] = {
            "/": self._runs,
            "/charts": self._charts,
            "/waiting": self._waiting,
            "/run": self._run,
            "/step": self._step,
            "/text": self._text,
            "/blob": self._blob,
            "/compare": self._compare,
            "/prompts": self._prompts,
            "/export": self._export,
            "/judges": self._judges,
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

    def post(self, path: str, form: FormData) -> Page:
        """Do what a form says, and lead on to where one sees it."""
        if self._actions is None or self._forms is None:
            return self._problem("The page only reads", "It was begun with --read-only.", 405)
        if not secrets.compare_digest(form.one("form").encode(), self._forms.token.encode()):
            return self._problem("The form is too old", "Go back, load the page anew, and try again.", 403)
        links = PageLinks()
        try:
            if path in ("/decide", "/answer"):
                act = self._actions.decide if path == "/decide" else self._actions.answer
                thread = act(form)
                return _lead(links.waiting() if form.one("back") == "waiting" else links.run(thread))
            if path == "/resume":
                return _lead(links.run(self._actions.resume(form)))
            if path == "/effect":
                return _lead(links.run(self._actions.effect(form)))
            if path == "/again":
                return _lead(links.run(self._actions.again(form)))
            if path == "/case":
                return _lead(links.run(self._actions.add_case(form)))
            if path == "/fork":
                return _lead(links.compare(*self._actions.fork(form)))
        except InvalidForm as problem:
            typed = {**form.all, "problem": problem.problem}
            return replace(self._render("decide.html", item=problem.pending, typed=typed), status=422)
        except DecisionConflict as problem:
            thread = problem.thread
            return self._problem("Your answer was not taken", problem.problem, 409, thread=thread)
        except StepgraphError as error:
            return self._problem("That cannot be done", str(error), 422, thread=form.one("thread"))
        except Exception as error:  # whatever a damaged row leads to
            return self._problem("That cannot be done", f"{type(error).__name__}: {error}", 500)
        return self._problem("There is no such page", "Begin at the list of runs.")

    def _render(self, template: str, **values: object) -> Page:
        common = {"links": PageLinks(), "place": self._reader.place, "forms": self._forms}
        return Page(rendered(template, {**common, **values}))

    def _problem(self, title: str, message: str, status: int = 404, thread: str = "") -> Page:
        page = self._render("problem.html", title=title, message=message, thread=thread)
        return Page(page.body, status=status)

    def _runs(self, query: Query) -> Page:
        version = self._version(Query(())).body  # before the list: what comes later shows up
        values = runs_page(self._reader, query)
        waiting = self._open(self._reader.waits()) if values["is_plain"] else None
        return self._render("runs.html", **values, version=version, waiting=waiting)

    def _charts(self, query: Query) -> Page:
        return self._render("charts.html", **charts_page(self._reader, query))

    def _waiting(self, query: Query) -> Page:
        version = self._reader.list_version()  # before the waits: what comes later shows up
        waiting = self._open(self._reader.waits())
        return self._render("waiting.html", version=version, waiting=waiting, can_run=self._can_run)

    def _open(self, waiting: Waits) -> Waits:
        """Return what waits without that whose answer is on its way."""
        return replace(waiting, items=[item for item in waiting.items if not self._is_answered(item)])

    def _can_run(self, thread: str) -> bool:
        return self._actions is not None and self._actions.can_run(thread)

    def _is_answered(self, item: PendingQuestion) -> bool:
        begun = self._forms is not None and self._forms.launcher.is_answered(item.thread_id, item.id)
        return begun or self._reader.is_given(item)

    def _run(self, query: Query) -> Page:
        version = self._version(query).body  # before the run: what comes later shows up
        run = self._reader.run(query.one("thread"))
        text, only = query.one("q").strip()[:200], query.one("only")
        only = only if only in FILTERS else ""
        lines = matching(run, text=text, only=only) if text or only else waterfall(run)
        thread = run.thread.thread_id
        pending = self._reader.waits_of(thread)
        waits = [item for item in pending if not self._is_answered(item)]
        going = self._forms is not None and self._forms.is_going(thread)
        return self._render(
            "run.html",
            run=run,
            waits=waits,
            needs=() if going or len(waits) < len(pending) else self._reader.needs(run, waits),
            going=going,
            given_to_workers=not going and len(waits) < len(pending),
            last=None if self._forms is None else self._forms.launcher.last(thread),
            can_run=self._can_run(thread),
            so_far=() if run.state in ("done", "running") else self._reader.so_far(run),
            run_input=self._reader.input_of(run),
            case=None if self._forms is None else case_form(run, outcome(run)),
            live=PageLinks().version(run.thread.thread_id),
            version=version,
            drawing=draw(run),
            media=media_of(run),
            lines=lines,
            q=text,
            only=only,
            filters=FILTERS,
            outcome=outcome(run),
            others=self._reader.others(run, OTHERS),
        )

    def _step(self, query: Query) -> Page:
        run = self._reader.run(query.one("thread"))
        view = step_view(run, query.one("span"))
        if view is None:
            raise InputError("The run has no such step.")
        return self._render("step.html", view=view, can_run=self._can_run(run.thread.thread_id))

    def _text(self, query: Query) -> Page:
        run, name = self._reader.run(query.one("thread")), query.one("name")
        view = step_view(run, query.one("span"))
        texts: list[Text] = [*(view.texts() if view else ()), *(text for _, text in outcome(run))]
        match = next((text for text in texts if text.name == name), None)
        if match is None:
            raise InputError("The step has no such text.")
        return Page(clean(match.whole), PLAIN)

    def _blob(self, query: Query) -> Page:
        sha256 = query.one("sha256")
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise InputError("An image or a document is named by its sha256.")
        data = self._reader.blob(sha256)
        kind, ending = sent_as(data)
        saved = bool(ending) or bool(query.one("save"))
        name = media_name(query.one("name"), sha256, ending or f".{kind.rpartition('/')[2]}")
        return Page(data, kind, save_as=name if saved else None, headers=HEADERS)

    def _compare(self, query: Query) -> Page:
        threads = query.all("thread")
        if len(threads) != 2:
            raise InputError("Tick two runs in the list, and compare those.")
        if self._forms is not None and (begun := self._forms.launcher.last(threads[1])) is not None:
            known = self._reader.is_known(threads[1])
            if not begun.is_over or not known:
                version = self._version(Query([("thread", threads[1])])).body
                return self._render("going.html", begun=begun, known=known, old=threads[0], version=version)
        a, b = (self._reader.run(thread) for thread in threads)
        return self._render("compare.html", it=compare(a, b, query.number("at")))

    def _prompts(self, query: Query) -> Page:
        threads = query.all("thread")
        if len(threads) != 2:
            raise InputError("Tick two runs in the list, and compare those.")
        a, b = (self._reader.run(thread) for thread in threads)
        pairs = list(islice(prompts_of(a, b), MOST_PROMPTS + 1))
        return self._render(
            "prompts.html",
            a=a,
            b=b,
            pairs=pairs[:MOST_PROMPTS],
            more=len(pairs) > MOST_PROMPTS,
            everything=bool(query.one("all")),
        )

    def _export(self, query: Query) -> Page:
        run = self._reader.run(query.one("thread"))
        return Page(to_html(run, self._mask), save_as=file_name(run.thread.thread_id))

    def _judges(self, _: Query) -> Page:
        return self._render("judges.html", judged=read_judges())

    def _version(self, query: Query) -> Page:
        thread = query.one("thread")
        if not thread:
            return Page(self._reader.list_version(), PLAIN)
        begun = "" if self._forms is None else f" {self._forms.launcher.version}"
        return Page(self._reader.version(thread) + begun, PLAIN)


def _lead(to: str) -> Page:
    return Page("", PLAIN, 303, headers={"location": to})


def file_name(thread_id: str) -> str:
    """Return a name for the file of a run that every system takes."""
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in thread_id)[:80]
    return f"{PurePath(stem).name.strip('.') or 'run'}.html"
