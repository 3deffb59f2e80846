"""`stepgraph pending`, `approve`, `reject` and `edit`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from ...graphs.engine.answering import check_in_time
from ...runners.deciding import UNCHANGED, review_answer
from ...state.database import Database, option_for
from ...state.errors import InputError
from ...state.journal.jobs import find_job
from ...state.journal.serving import unserved
from ...tracing.record.pending import Waiting, is_review, is_wait, read_waiting
from ...tracing.record.text import duration, one_line, plain, show_value
from ...tracing.record.threads import Thread, find_thread
from ..exit_codes import ExitCode
from .inputs import json_or_text
from .run import resume_threads
from .show import open_session
from .text import asked_lines, is_long, show_question, show_time

SHORT_ID = 8


@dataclass(frozen=True)
class Edit:
    """Where the value of an edit comes from; nothing given means the editor."""

    value: str | None = None
    sets: tuple[str, ...] = ()
    file: Path | None = None


def show_pending(*, full: bool, database: Database, as_json: bool) -> None:
    """Print what waits for an answer; `full`: with values of any length whole."""
    with open_session(database) as session:
        waiting, now = read_waiting(session), session.now()
        jobs = {item.thread_id: find_job(session.journal, item.thread_id) for item in waiting}
        missing = {thread: unserved(session.journal, job) for thread, job in jobs.items() if job is not None}
    if as_json:
        for item in waiting:
            unmet = {"unserved": problem} if (problem := missing.get(item.thread_id)) else {}
            click.echo(json.dumps({**_row(item), **unmet}, ensure_ascii=False))
        return
    if not waiting:
        click.echo("Nothing waits for an answer.")
    several = {item.thread_id for item in waiting if sum(o.thread_id == item.thread_id for o in waiting) > 1}
    option = option_for(database)
    for item in waiting:
        _print(item, option, now, several=item.thread_id in several, full=full)
        if problem := missing.get(item.thread_id):
            click.secho(f"    {one_line(problem, 300)}", fg="yellow")


def _row(item: Waiting) -> dict[str, Any]:
    known = is_review(item.value) or is_wait(item.value)
    question = item.value if known else {"value": plain(item.value)}
    names = ("review", "question", "field", "value", "schema", "problem")
    fields = {name: question.get(name) for name in names}
    fields |= {name: question[name] for name in ("to", "asked", "escalates") if name in question}
    due = None if item.due is None else item.due.timestamp()
    place = {"thread": item.thread_id, "id": item.id, "path": item.path, "since": item.since, "due": due}
    return {**place, "wait": question.get("wait") if known else None, **fields}


def _print(item: Waiting, option: str, now: datetime, *, several: bool, full: bool) -> None:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.since))
    age = duration(max(0.0, time.time() - item.since))
    click.secho(one_line(item.thread_id), bold=True, nl=False)
    click.echo(f"  {one_line(item.path)}  since {when} ({age})  {item.id[:SHORT_ID]}")
    click.echo(
        f"    {show_question(item.value, full=full)}{'' if item.due is None else _left(item.due - now)}"
    )
    for line in _escalation_lines(item.value):
        click.echo(f"    {line}")
    is_over = item.due is not None and item.due <= now
    if is_over or is_wait(item.value):
        click.echo(f"    stepgraph resume {one_line(item.thread_id, 1000)}{option}")
        return
    if not is_review(item.value):
        click.echo(f"    stepgraph resume {one_line(item.thread_id, 1000)} --answer …{option}")
        return
    for line in asked_lines(item.value, "    ", full=full):
        click.echo(line)
    which = f" --review {item.id[:SHORT_ID]}" if several else ""
    which += " --full" if is_long(item.value.get("value")) else ""
    click.echo(f"    stepgraph approve {one_line(item.thread_id, 1000)}{which}{option}, or reject, or edit")


def _escalation_lines(question: Any) -> Iterator[str]:
    """Yield whom a review asks, who was asked before, and when it asks the next one."""
    if not is_review(question) or not question.get("to"):
        return
    for each in question["asked"]:
        yield f"asks {one_line(str(each['to']), 100)} since {show_time(datetime.fromisoformat(each['at']))}"
    if question.get("escalates"):
        yield f"asks the next one at {show_time(datetime.fromisoformat(question['escalates']))}"


def _left(left: timedelta) -> str:
    seconds = left.total_seconds()
    return f", in {duration(seconds)}" if seconds > 0 else f", {duration(-seconds)} ago"


def answer_review(
    thread: str,
    decision: str,
    *,
    review: str | None,
    reason: str,
    by: str | None,
    edit: Edit | None = None,
    full: bool = False,
    graph: str | None,
    limits: Sequence[str],
    cache_s: str | None,
    models: Sequence[str],
    database: Database,
    on: str | None = None,
    as_json: bool,
) -> ExitCode:
    """Answer a review, go on with its thread, and return the exit code."""
    with open_session(database) as session:
        record = find_thread(session.journal, thread)
        waiting = read_waiting(session, record.thread_id)
        if not any(is_review(item.value) for item in waiting):
            check_in_time(session, record.thread_id)
        item = _pick(waiting, record, review)
    if decision != "reject":
        _check_seen(item, thread, full=full or (edit is not None and not edit.sets))
        if full and not as_json:
            for line in asked_lines(item.value, "", full=True):
                click.echo(line)
    value = UNCHANGED if edit is None else edited(edit, item.value)
    answer = review_answer(item, decision, reason=reason, by=by, value=value)
    code = resume_threads(
        [thread],
        answers={item.id: answer},
        graph=graph,
        limits=limits,
        cache_s=cache_s,
        models=models,
        database=database,
        on=on,
        as_json=as_json,
    )
    with open_session(database) as session:
        left = [other for other in read_waiting(session, thread) if item.task and other.task == item.task]
    if left and is_review(left[0].value) and left[0].value.get("problem"):
        raise InputError(f"The answer was not taken: {left[0].value['problem']} The review waits on.")
    return code


def _check_seen(item: Waiting, thread: str, *, full: bool) -> None:
    """Raise InputError where the value is too long to have been seen whole, and nobody says that it was."""
    value = item.value.get("value")
    if is_long(value) and not full:
        raise InputError(
            f"What waits on the thread {thread!r} has {len(show_value(value, None)):,} characters, more than "
            "are shown. See it whole: stepgraph pending --full. Then approve it with --full."
        )


def _pick(waiting: list[Waiting], record: Thread, name: str | None) -> Waiting:
    """Return the review that is meant. Raises InputError unless it is exactly one."""
    thread = record.thread_id
    reviews = [item for item in waiting if is_review(item.value)]
    if not reviews:
        raise InputError(f"No review waits on the thread {thread!r}{_what_is_so(waiting, record)}")
    chosen = [item for item in reviews if name is None or _is_named(item, name)]
    if len(chosen) == 1:
        return chosen[0]
    listed = "; ".join(f"{item.path} ({item.id[:SHORT_ID]})" for item in chosen or reviews)
    if not chosen:
        raise InputError(f"No review {name!r} waits on the thread {thread!r}. These do: {listed}.")
    raise InputError(
        f"{len(chosen)} reviews wait on the thread {thread!r}; name one with --review: {listed}."
    )


def _what_is_so(waiting: list[Waiting], record: Thread) -> str:
    """Return why no review waits on a thread, and what to do next."""
    thread = record.thread_id
    if waiting and all(is_wait(item.value) for item in waiting):
        return f". It waits for a time: stepgraph resume {thread}"
    if waiting:
        return f". It waits for an answer of another kind: stepgraph resume {thread} --answer …"
    if record.status == "done":
        return (
            ": it has ended, and its answers stand. To see where another answer leads, fork it at a "
            f"checkpoint before the review: stepgraph fork {thread} --at …"
        )
    if record.status == "queued":
        return f": it has not begun. Begin it: stepgraph resume {thread}"
    return f", which is {record.status}. Go on with it without an answer: stepgraph resume {thread}"


def _is_named(item: Waiting, name: str) -> bool:
    own = item.value.get("review")
    return name in (own, item.path, item.id) or (len(name) >= SHORT_ID and item.id.startswith(name))


def edited(edit: Edit, question: dict[str, Any]) -> Any:
    """Return the new value that a person gives. Raises InputError where none can be made."""
    ways = [option for option in (edit.value, edit.sets or None, edit.file) if option is not None]
    if len(ways) > 1:
        raise InputError("Give one of --value, --set and --file.")
    now, is_text = question.get("value"), question.get("schema", {}).get("type") == "string"
    if edit.value is not None:
        return edit.value if is_text else json_or_text(edit.value)
    if edit.file is not None:
        text = edit.file.read_text(encoding="utf-8-sig")
        return text if is_text else json_or_text(text)
    if edit.sets:
        return _with_keys(now, edit.sets)
    if not is_interactive():
        raise InputError("Give the new value: --value, --set or --file.")
    before = now if is_text else json.dumps(now, indent=2, ensure_ascii=False)
    after = click.edit(before, extension=".txt" if is_text else ".json")
    if after is None:
        raise InputError("Nothing was changed in the editor, so the review waits on.")
    return after.removesuffix("\n") if is_text else json_or_text(after)


def is_interactive() -> bool:
    """Tell whether a person sits at the other end, for whom an editor can open."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _with_keys(value: Any, sets: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError("--set changes a key of an object, and this value is none. Give it whole: --value.")
    changed = dict(value)
    for text in sets:
        key, sign, new = text.partition("=")
        if not sign:
            raise InputError(f"--set {text}: expected KEY=VALUE.")
        changed[key] = new if isinstance(changed.get(key), str) else json_or_text(new)
    return changed
