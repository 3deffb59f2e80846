"""What a run needs that has not ended: in a sentence, with the command that does it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..state.database import option_for
from ..state.journal.jobs import JobRecord, find_job
from ..state.journal.serving import unserved
from ..state.session.session import Session
from ..tracing.record.pending import is_wait
from ..tracing.record.run import Run
from ..tracing.record.spans import Span
from ..tracing.record.text import duration, one_line
from ..tracing.record.threads import Thread
from .waits import PendingQuestion

SHORT_ID = 8


@dataclass(frozen=True)
class Need:
    """What a run needs: `offer` is what a button on the page does about it, `step` where to look first.

    `effect` is the key of a side effect of which a person is to say whether it happened, `started` when it
    was started: it may be started again, and what is said of one start does not hold for another.
    """

    title: str
    text: str
    commands: Sequence[str] = ()
    offer: Literal["", "resume", "budget"] = ""
    error: str = ""
    step: Span | None = None
    effect: str = ""
    started: str = ""


def needs_of(session: Session, run: Run, waits: Sequence[PendingQuestion]) -> list[Need]:
    """Return what a run needs, nothing for one that has ended or is going on."""
    if run.live or run.state == "done":
        return []
    thread, option = run.thread, option_for(session.database)
    name = shlex.quote(one_line(thread.thread_id, 1000))
    job = find_job(session.journal, thread.thread_id)
    graph = "" if thread.graph or job else " --graph file.py:attr"
    needs = list(_effects(session, thread, option))
    if waits:
        needs += _waiting(session, waits, name, graph + option)
    elif run.state == "partial":
        needs.append(_partial(run, name, graph + option))
    elif needs:
        pass  # nothing else helps before that is decided
    elif run.state == "failed":
        needs.append(_failed(run, name, graph + option))
    elif run.state == "queued":
        needs.append(_queued(session, job, name, graph + option))
    else:
        text = "No process runs it any more. What was answered is kept, and is not paid again."
        if run.state == "interrupted":
            text = "What it asked was answered, but nothing has gone on with it since."
        resume = (f"stepgraph resume {name}{graph}{option}",)
        needs.append(Need("It stopped before its end", text, resume, "resume"))
    return needs


def _waiting(session: Session, waits: Sequence[PendingQuestion], name: str, option: str) -> Iterator[Need]:
    times = [item for item in waits if is_wait(item.waiting.value)]
    reviews = [item for item in waits if item.is_review]
    for item in times:
        if item.due is not None:
            left = (item.due - session.now()).total_seconds()
            when = item.due.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
            text = f"It is due in {duration(left)}, at {when}." if left > 0 else f"It was due at {when}."
            resume = (f"stepgraph resume {name}{option}",)
            yield Need("It waits for a time", text, resume, "" if left > 0 else "resume")
    if reviews:
        which = [f" --review {item.id[:SHORT_ID]}" if len(reviews) > 1 else "" for item in reviews]
        commands = [f"stepgraph approve {name}{each}{option}" for each in which]
        number = "a person’s word" if len(reviews) == 1 else f"{len(reviews)} decisions"
        text = "Decide below, or with the command: approve, or reject --reason …, or edit --value …."
        yield Need(f"It waits for {number}", text, commands)
    if len(times) + len(reviews) < len(waits):
        command = f"stepgraph resume {name} --answer …{option}"
        yield Need("It waits for an answer", "Answer below, or with the command.", (command,))


def _partial(run: Run, name: str, option: str) -> Need:
    own = [limit for limit in run.limits if limit.account is None]
    ended = [limit for limit in own if limit.left is not None and limit.left <= 0]
    limits = "".join(f" --budget {limit.resource}={_larger(limit.allowed)}" for limit in own)
    why = ", ".join(f"{limit.resource}: {limit.spent:g} of {limit.allowed:g}" for limit in ended or own)
    shared = "" if own else " Its budgets are shared with other threads: `stepgraph budgets` lists them."
    text = f"What it has so far stands below. {f'Spent: {why}.' if why else ''}{shared}".strip()
    command = f"stepgraph resume {name}{limits or ' --budget usd=…'}{option}"
    return Need("Its budget ended: it needs more to go on", text, (command,), "budget")


def _larger(allowed: float) -> str:
    return f"{allowed * 2 or 1:g}"


def _failed(run: Run, name: str, option: str) -> Need:
    error = run.thread.error or ""
    failed = [node.span for node in run.steps if node.span.status == "failed" and not node.holds_nodes]
    step = max(failed, key=lambda span: span.ended_at, default=None)
    if error.startswith("Rejected"):
        text = "A rejection stands. To see where another decision leads, fork it at a checkpoint before it."
        history = (f"stepgraph history {name}{option}",)
        return Need("A person rejected it", text, history, error=error, step=step)
    text = "Once its cause is removed, it goes on where it stopped. What was answered is not paid again."
    return Need("It failed", text, (f"stepgraph resume {name}{option}",), "resume", error, step)


def _queued(session: Session, job: JobRecord | None, name: str, option: str) -> Need:
    if job is not None:
        missing = unserved(session.journal, job)
        text = f"It is in the queue of its workers{f', and {missing}' if missing else ''}."
        return Need("It has not begun", text, (f"stepgraph worker {shlex.quote(job.graph)}{option}",))
    return Need("It has not begun", "Begin it.", (f"stepgraph resume {name}{option}",), "resume")


def _effects(session: Session, thread: Thread, option: str) -> Iterator[Need]:
    for effect in session.undecided_effects():
        if effect.thread_id == thread.thread_id:
            key = shlex.quote(one_line(effect.key, 1000))
            why = f"it failed: {effect.error}" if effect.error else "its end is not on record"
            text = f"The side effect {effect.key}: {why}. Look whether it happened, and say so. Then resume."
            commands = (f"stepgraph effect {key} --done{option}", f"stepgraph effect {key} --again{option}")
            title, started = "Nobody knows whether a side effect happened", repr(effect.started_at)
            yield Need(title, text, commands, effect=effect.key, started=started)
