"""What a person may do on the pages: decide, answer, go on, run again, try a call another way.

Each is checked here as far as it can be without your code. A thread that workers run is answered in the
record, for them; any other goes on in a process of its own, by the command line's own command.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..runners.choosing import engine_for
from ..runners.deciding import UNCHANGED, review_answer, system_user
from ..runners.inbox import checked_answers
from ..runners.job_data import JobOptions
from ..runners.submitting import asubmit, asubmitted
from ..state.budget import Budget
from ..state.errors import InputError, StepgraphError
from ..state.journal.effects import find_effect
from ..state.journal.jobs import find_job
from ..state.journal.records import Description
from ..state.json_text import json_text
from ..state.session.session import Session, new_thread_id
from ..tracing.record.pending import is_wait
from ..tracing.record.reads import read_input
from ..tracing.record.run import read_run
from ..tracing.record.text import clean, one_line
from ..tracing.record.threads import Thread, find_thread
from .cases import TOLD, case_arguments
from .forms import typed_value
from .launching import Launcher
from .repeats import Repeats
from .texts import as_meant, input_shown
from .waits import PendingQuestion, is_given, waits_of

LIMITS: Final = ("usd", "tokens", "calls", "seconds")
GO_ON: Final = "go on"  # once at a time, as if it were the answer to a question of this id
PAST: Final = {"approve": "Approved", "reject": "Rejected", "edit": "Approved with your change"}


@dataclass(eq=False)
class InvalidForm(Exception):
    """What was typed cannot be taken: the question is shown again, with what was typed."""

    pending: PendingQuestion
    problem: str


@dataclass(eq=False)
class DecisionConflict(Exception):
    """Somebody else was quicker, or the thread is not where the page thought."""

    thread: str
    problem: str


@dataclass(frozen=True)
class FormData:
    """What a form said."""

    pairs: Sequence[tuple[str, str]] = field(repr=False)

    def one(self, name: str) -> str:
        """Return a field, its lines ended as everywhere but in forms."""
        return next((value.replace("\r\n", "\n") for key, value in self.pairs if key == name), "")

    @property
    def all(self) -> Mapping[str, str]:
        return {key: self.one(key) for key, _ in self.pairs}


class Actions:
    """Does what forms say. `on` names the workers' engine where it is on another machine.

    `graph` is for threads that were run from Python, whose record names none.
    """

    def __init__(
        self, session: Session, launcher: Launcher, *, on: str | None = None, graph: str | None = None
    ) -> None:
        self._session = session
        self._on = on
        self._graph = graph
        self._again: Repeats[str] = Repeats()
        self._forked: Repeats[tuple[str, str]] = Repeats()
        self.launcher = launcher
        self.user = system_user()

    def can_run(self, thread: str) -> bool:
        """Tell whether it is known which graph a thread goes on with."""
        return self._graph is not None or find_thread(self._session.journal, thread).graph is not None

    def decide(self, form: FormData) -> str:
        """Answer a review, and return its thread. Raises InvalidForm, DecisionConflict, InputError."""
        pending = self._pending(form)
        decision, reason = form.one("decision"), form.one("reason").strip()
        if not pending.is_review or decision not in (set(pending.decisions or PAST) & set(PAST)):
            raise InputError("Approve, reject, or edit it.")
        if form.one("shown") != pending.digest:
            now = f" It asks {pending.to} now." if pending.to else ""
            raise InvalidForm(pending, f"It has changed since you looked at it.{now} This is what it says.")
        if decision == "reject" and not reason:
            raise InvalidForm(pending, "A rejection needs a reason.")
        value: Any = UNCHANGED
        if decision == "edit":
            try:
                value = typed_value(pending.schema, pending.value, form.all, pending.field)
            except InputError as problem:
                raise InvalidForm(pending, str(problem)) from None
        by = form.one("by").strip() or self.user
        answer = review_answer(pending.waiting, decision, reason=reason, by=by, value=value)
        arguments = [decision, f"--review={pending.id}", f"--by={by}", "--json"]
        arguments += [f"--reason={reason}"] if reason else []
        if decision == "edit":
            is_text = pending.schema.get("type") == "string"
            arguments.append(f"--value={value if is_text else json_text(value)}")
        if decision != "reject":
            arguments.append("--full")  # a page shows all of it
        self._give(pending, answer, arguments, f"{PAST[decision]}: “{one_line(pending.question, 120)}”")
        return pending.thread_id

    def answer(self, form: FormData) -> str:
        """Answer a question that is no review, and return its thread."""
        pending = self._pending(form)
        others = [
            item for item in waits_of(self._session, pending.thread_id) if not is_wait(item.waiting.value)
        ]
        text = form.one("answer")
        if pending.is_review or is_wait(pending.waiting.value) or len(others) > 1:
            raise InputError("It takes no answer of this kind. `stepgraph pending` says which.")
        message = f"Answered: “{one_line(self._session.journal.mask.text(text), 120)}”"
        try:
            value = self._read(text)
        except ValueError:
            value = text
        self._give(pending, value, ["resume", f"--answer={text}", "--json"], message)
        return pending.thread_id

    def resume(self, form: FormData) -> str:
        """Go on with a thread, with another budget where one is given; return it."""
        thread = find_thread(self._session.journal, form.one("thread"))
        limits = self._limits(form)
        if self.launcher.is_going(thread.thread_id):
            raise DecisionConflict(thread.thread_id, "The run goes on already.")
        if self._handed(thread):
            options = JobOptions(budget=Budget(**limits)) if limits else JobOptions()
            asyncio.run(self._go_on(thread.thread_id, options))
        else:
            limit_options = [f"--budget={name}={number}" for name, number in limits.items()]
            self._begin(thread, ["resume", *limit_options, "--json"], "Resumed", question=GO_ON)
        return thread.thread_id

    def again(self, form: FormData) -> str:
        """Begin a new thread with the input of another one, as it was or as it was changed; return it.

        A field that was left as the page shows it, with its keys masked, is given as it was.
        """
        return self._again.once(form.pairs, lambda: self._run_again(form))

    def _run_again(self, form: FormData) -> str:
        journal = self._session.journal
        thread = find_thread(journal, form.one("thread"))
        data = read_input(journal, thread.thread_id)
        if (text := form.one("input")).strip():
            try:
                typed = self._read(text)
            except ValueError as error:
                raise InputError(f"The input is no JSON: {error}.") from None
            shown = self._read(clean(input_shown(data, journal.mask)))
            data = as_meant(typed, shown, data)
        if thread.graph is None or not isinstance(data, dict) or not data:
            raise InputError(
                f"The record of the thread {thread.thread_id!r} does not say what to run again: it was run "
                "from Python. Run it there."
            )
        new, limits = new_thread_id(thread.thread_id), self._limits(form)
        job = find_job(journal, thread.thread_id)
        if job is not None:
            engine_for(job, self._on, self._session)  # the record does not choose whom we call
            options = JobOptions(budget=Budget(**limits)) if limits else JobOptions()
            on = self._on or job.engine
            asyncio.run(asubmit(job.graph, data, db=self._session, on=on, thread_id=new, **options))
            return new
        journal.queue_run(new, Description(thread.graph, thread.models, data))
        limit_options = [f"--budget={name}={number}" for name, number in limits.items()]
        self._begin(find_thread(journal, new), ["resume", *limit_options, "--json"], "Begun anew")
        return new

    def effect(self, form: FormData) -> str:
        """Say whether a side effect happened, and return its thread; nothing runs by that."""
        thread = find_thread(self._session.journal, form.one("thread")).thread_id
        meant, happened = (form.one("key"), form.one("started")), form.one("happened")
        if happened not in ("yes", "no"):
            raise InputError("Say whether it happened.")
        if self.launcher.is_going(thread) or self._session.claims.is_run(thread):
            raise DecisionConflict(thread, "The run goes on just now. Your answer was not taken.")
        record = find_effect(self._session.journal, meant[0])
        if record is None or record.thread_id != thread:
            raise DecisionConflict(thread, "The record has no such side effect of this run any more.")
        try:
            self._session.decide_effect(
                meant[0], happened=happened == "yes", by=self.user, started_at=float(meant[1])
            )
        except (InputError, ValueError) as problem:  # somebody was quicker, or a run has started it again
            raise DecisionConflict(thread, str(problem)) from None
        return thread

    def fork(self, form: FormData) -> tuple[str, str]:
        """Try one call another way on a new thread, and return both threads."""
        return self._forked.once(form.pairs, lambda: self._fork(form))

    def _fork(self, form: FormData) -> tuple[str, str]:
        thread = find_thread(self._session.journal, form.one("thread"))
        new = new_thread_id(thread.thread_id)
        arguments = [f"--call={form.one('call')}", f"--thread={new}", "--json"]
        prompt, model = form.one("prompt"), form.one("model").strip()
        if form.one("way") == "answer":
            arguments.append(f"--answer={form.one('answer')}")
        else:
            arguments += [f"--prompt={prompt}"] if prompt != form.one("asked").replace("\r\n", "\n") else []
            arguments += [f"--model={model}"] if model else []
        self._begin(thread, ["fork", *arguments], "A call is tried another way", new=new)
        return thread.thread_id, new

    def add_case(self, form: FormData) -> str:
        """Make a case of a run, with a person's verdict; return its thread."""
        thread = find_thread(self._session.journal, form.one("thread"))
        arguments = case_arguments(form.one, form.all)
        self._begin(thread, arguments, f"{TOLD} {form.one('suite').strip()}", runs=False)
        return thread.thread_id

    def _pending(self, form: FormData) -> PendingQuestion:
        """Return the question that is meant. Raises DecisionConflict where it waits no more."""
        name, question = form.one("thread"), form.one("ask")
        thread = find_thread(self._session.journal, name)
        if self.launcher.is_answered(thread.thread_id, question):
            raise DecisionConflict(thread.thread_id, "It was answered a moment ago, and its run goes on.")
        for item in waits_of(self._session, thread.thread_id):
            if item.id == question and is_given(self._session, item):
                raise DecisionConflict(
                    thread.thread_id, "It was answered a moment ago: a worker is about to go on."
                )
            if item.id == question:
                return item
        raise DecisionConflict(thread.thread_id, self._who_decided(thread.thread_id, form.one("path")))

    def _who_decided(self, thread: str, path: str) -> str:
        """Return what became of a question that waits no more."""
        spans = [
            span for span in read_run(self._session, thread).spans if span.path == path and span.decision
        ]
        for span in reversed(spans):
            decision = span.decision or {}
            reason = f", {decision['reason']}" if decision.get("reason") else ""
            return f"It was decided already: {decision['choice']}{reason}. Your answer was not taken."
        return "It does not wait any more: it was answered, or its time is over. Your answer was not taken."

    def _give(self, pending: PendingQuestion, answer: Any, arguments: list[str], message: str) -> None:
        """Check an answer as the record allows, and hand it on."""
        thread = find_thread(self._session.journal, pending.thread_id)
        try:
            checked_answers(self._session, thread.thread_id, {pending.id: answer}, by_id=True)
            if self._handed(thread):
                asyncio.run(self._answer(thread.thread_id, {pending.id: answer}))
                return
        except InputError as problem:
            raise InvalidForm(pending, str(problem)) from None
        except StepgraphError as problem:  # its deadline is over
            raise DecisionConflict(thread.thread_id, str(problem)) from None
        self._begin(thread, arguments, message, question=pending.id)

    def _begin(
        self,
        thread: Thread,
        arguments: list[str],
        message: str,
        *,
        question: str = "",
        new: str | None = None,
        runs: bool = True,
    ) -> None:
        """Begin a command for a thread; one that `runs` it needs to know its graph."""
        if runs and not self.can_run(thread.thread_id):
            raise InputError(
                f"The thread {thread.thread_id!r} was run from Python, so its record names no graph. Begin "
                "the page with one for such threads: stepgraph ui --graph file.py:attr."
            )
        if thread.graph is None and self._graph is not None:
            arguments = [*arguments, f"--graph={self._graph}"]
        if not self.launcher.begin(
            new or thread.thread_id, [*arguments, "--", thread.thread_id], message, question
        ):
            raise DecisionConflict(thread.thread_id, "It was answered a moment ago, and its run goes on.")

    def _handed(self, thread: Thread) -> bool:
        return find_job(self._session.journal, thread.thread_id) is not None

    async def _answer(self, thread: str, answers: Mapping[str, Any]) -> None:
        handle = await asubmitted(thread, db=self._session, on=self._on)
        await handle.aanswer(answers=answers)

    async def _go_on(self, thread: str, options: JobOptions) -> None:
        handle = await asubmitted(thread, db=self._session, on=self._on)
        await handle.aresume(**options)

    def _limits(self, form: FormData) -> dict[str, Any]:
        """Return the limits that were typed. Raises InputError for what is no number."""
        limits: dict[str, Any] = {}
        for name in LIMITS:
            text = form.one(name).strip().lstrip("$").replace("_", "")
            if not text:
                continue
            try:
                limits[name] = float(text) if name in ("usd", "seconds") else int(text)
                Budget(**{name: limits[name]})
            except ValueError:
                raise InputError(f"{name}: {text!r:.40} is no limit. Expected a number, 0 or more.") from None
        return limits

    def _read(self, text: str) -> Any:
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("it is nested too deep") from None
