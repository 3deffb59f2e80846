"""`stepgraph trace list | show | diff | export | push`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ...state.errors import InputError
from ...state.session.session import Session
from ...tracing.export.otlp_spans import masked
from ...tracing.export.outbox import age, pending, push
from ...tracing.export.settings import read_settings
from ...tracing.record.alignment import first_difference, public
from ...tracing.record.attributes import changed_fields, genai_attributes
from ...tracing.record.spans import Span, read_spans
from ...tracing.record.threads import find_thread, list_threads
from ...tracing.record.waterfall import Bar, bars_of
from ..exit_codes import ExitCode
from .limits import parse_age
from .show import open_session
from .text import clean, duration, money, one_line, show_value, sureness, tokens
from .time_travel import show_difference

WIDTH = 32
_MARKS = {"done": "●", "failed": "✗", "interrupted": "‖", "partial": "‖", "running": "○", "unfinished": "†"}


def list_traces(*, limit: int, database: Path, as_json: bool) -> None:
    """Print the threads with what they cost, and whether their traces were sent."""
    with open_session(database) as session:
        found = list_threads(session.journal, limit)
        destinations = read_settings().destinations
        waiting = {to.name: set(pending(session.journal, to)) for to in destinations}
    for thread in found:
        unsent = [name for name, threads in waiting.items() if thread.thread_id in threads]
        seconds = thread.updated_at - thread.started_at
        if as_json:
            row = {**vars(thread), "seconds": seconds, "unsent": unsent}
            click.echo(json.dumps(row, ensure_ascii=False))
            continue
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(thread.started_at))
        cost = money(thread.known_cost_usd, thread.unknown_costs)
        used = tokens(thread.input_tokens, thread.output_tokens)
        sent = "" if not destinations else "  not sent yet" if unsent else "  sent"
        error = f"  {one_line(thread.error, 60)}" if thread.error else ""
        click.echo(
            f"{one_line(thread.thread_id):<24}  {thread.status:<11}  {when}  {duration(seconds):>8}  "
            f"{thread.calls:>3} calls  {used}  {cost}{sent}{error}"
        )
    if not found and not as_json:
        click.echo(f"No traces in {database}.")


def show_trace(thread_id: str, *, step: str | None, full: bool, database: Path, as_json: bool) -> None:
    """Print a thread's spans as a waterfall, or all about one step."""
    with open_session(database) as session:
        thread = find_thread(session.journal, thread_id)
        spans = _spans(session, thread_id)
    if as_json:
        for span in spans:
            if step is None or _is(span, step):
                click.echo(json.dumps(span_json(span), ensure_ascii=False))
        return
    if step is not None:
        _show_step(spans, step, full=full)
        return
    click.secho(f"{one_line(thread.thread_id)}  {thread.status}", bold=True)
    for bar in bars_of(spans):
        if bar.span.parent_id is None:
            click.echo(f"trace  {bar.span.trace.id}")
        begin, end = bar.span.started_at, max(inner.span.ended_at for inner in bar.walk())
        for inner in bar.walk():
            click.echo(_bar_line(inner, begin, max(end - begin, 1e-9)))
    click.echo("* the run waited for this step; --step NAME shows all about one, --full about every one")
    for span in spans if full else ():
        if span.kind == "node":
            for line in _step_lines(span, [s for s in spans if s.parent_id == span.id], full=True):
                click.echo(line)


def _spans(session: Session, thread_id: str) -> list[Span]:
    return read_spans(session.journal.query, thread_id, alive=session.claims.is_run(thread_id))


def _is(span: Span, step: str) -> bool:
    return step in (span.path, span.name) or (span.kind == "call" and step == span.row.get("step"))


def _bar_line(bar: Bar, begin: float, length: float) -> str:
    span = bar.span
    start = min(WIDTH - 1, int((span.started_at - begin) / length * WIDTH))
    width = max(1, round((span.ended_at - span.started_at) / length * WIDTH))
    drawn = (" " * start + "━" * min(width, WIDTH - start)).ljust(WIDTH)
    mark = "→" if span.kind == "call" else _MARKS.get(span.status, "○")
    star = "*" if bar.critical and not bar.inner else " "
    name = f"{'  ' * bar.depth}{mark} {one_line(_label(span), 60)}"
    took = duration(max(0.0, span.ended_at - span.started_at))
    cost = f"  {money(bar.cost_usd, bar.unknown_costs)}" if bar.calls else ""
    return f"{drawn}{star} {name}  {took}{cost}{_note(span)}"


def _label(span: Span) -> str:
    if span.kind != "call":
        return span.name
    return str(span.row["model_answered"] or span.row["model_asked"])


def _note(span: Span) -> str:
    notes = []
    if span.decision:
        notes.append(f"-> {one_line(span.decision['choice'], 40)}{sureness(span.decision['confidence'])}")
    if span.kind == "call" and span.source != "model":
        notes.append(span.source)
    if span.kind == "call" and span.row["attempt"] > 1:
        notes.append(f"attempt {span.row['attempt']}")
    problem = span.error or (span.row.get("problem") if span.kind == "call" else None)
    if problem:
        notes.append(one_line(problem, 80))
    changed = changed_fields(span.row) if span.kind == "node" else None
    if changed and not span.decision:
        after = public(span.row.get("output"))
        notes.append("wrote " + one_line(", ".join(f"{n} = {show_value(after[n], 40)}" for n in changed), 90))
    return "".join(f"  {note}" for note in notes)


def _show_step(spans: Sequence[Span], step: str, *, full: bool) -> None:
    found = [span for span in spans if span.kind == "node" and _is(span, step)]
    if not found:
        paths = ", ".join(dict.fromkeys(span.path for span in spans if span.kind == "node"))
        raise InputError(f"The thread has no step {step!r}. It has: {paths}.")
    for span in found:
        for line in _step_lines(span, [s for s in spans if s.parent_id == span.id], full=full):
            click.echo(line)


def _step_lines(span: Span, inner: Sequence[Span], *, full: bool) -> Iterator[str]:
    limit = None if full else 400
    yield click.style(f"{one_line(span.path)}  {span.status}", bold=True)
    if span.checkpoint_id:
        yield f"  after checkpoint {span.checkpoint_id}"
    before, after = public(span.row.get("input")), public(span.row.get("output"))
    changed = changed_fields(span.row) or []
    for name, value in before.items() if isinstance(before, dict) else ():
        yield f"  {'~' if name in changed else ' '} {one_line(name, 40)} = {_shown(value, limit)}"
    for name in changed:
        yield f"  > {one_line(name, 40)} = {_shown(after[name], limit)}"
    if span.decision:
        choice, confidence, reason = (span.decision[n] for n in ("choice", "confidence", "reason"))
        yield f"  decided {one_line(choice, 100)}{sureness(confidence)}  {_shown(reason or '', limit)}"
    for call in inner:
        if call.kind == "call":
            yield from _call_lines(call, limit)
    if span.row.get("interrupts"):
        yield f"  asks {_shown(public(span.row['interrupts']), limit)}"
    if span.error:
        yield f"  error {clean(span.error)}"


def _call_lines(span: Span, limit: int | None) -> Iterator[str]:
    row = span.row
    used = tokens(row["input_tokens"], row["output_tokens"])
    yield f"  → {one_line(_label(span))}  {used}  {money(span.cost_usd)}{_note(span)}"
    for message in json.loads(row["messages"]):
        yield f"    {one_line(str(message.get('role')), 12):<10} {_shown(message.get('content'), limit)}"
    for label in ("reasoning", "answer"):
        if row[label]:
            yield f"    {label:<10} {_shown(row[label], limit)}"


def _shown(value: Any, limit: int | None) -> str:
    return show_value(value, limit).replace("\n", "\n" + " " * 15)


def diff_traces(a: str, b: str, *, full: bool, database: Path, as_json: bool) -> None:
    """Print the first step at which two threads part, then all that differs."""
    with open_session(database) as session:
        for thread in (a, b):
            find_thread(session.journal, thread)
        spans_a, spans_b = _spans(session, a), _spans(session, b)
    parting = first_difference(spans_a, spans_b)
    if as_json:
        told = (
            None
            if parting is None
            else {
                "number": parting.number,
                "path": parting.path,
                "what": parting.what,
                "a": parting.a and span_json(parting.a),
                "b": parting.b and span_json(parting.b),
            }
        )
        click.echo(json.dumps({"first_difference": told}, ensure_ascii=False))
    elif parting is not None:
        click.secho(f"first difference: {one_line(parting.path)}, {', '.join(parting.what)}", bold=True)
        for name, span, spans in ((a, parting.a, spans_a), (b, parting.b, spans_b)):
            if span is not None:
                click.echo(f"in {one_line(name)}:")
                for line in _step_lines(span, [s for s in spans if s.parent_id == span.id], full=full):
                    click.echo(f"  {line}")
        click.echo()
    show_difference(a, b, database=database, as_json=as_json)


def span_json(span: Span) -> dict[str, Any]:
    """Return a span as plain data, masked, with its attributes by the conventions."""
    mask = read_settings().sent_mask
    return {
        "trace_id": span.trace.id,
        "span_id": span.id,
        "parent_span_id": span.parent_id,
        "name": span.name,
        "kind": span.kind,
        "status": span.status,
        "error": span.error and mask.text(span.error),
        "started_at": span.started_at,
        "ended_at": span.ended_at,
        "attributes": masked(genai_attributes(span), mask),
    }


def export_traces(threads: Sequence[str], *, to: Path | None, database: Path) -> None:
    """Write the spans of threads as JSON lines, masked as when they are sent."""
    with open_session(database) as session:
        for thread in threads:
            find_thread(session.journal, thread)
        rows = session.journal.query("SELECT thread_id FROM runs ORDER BY started_at, rowid")
        chosen = threads or [row["thread_id"] for row in rows]
        lines = (
            json.dumps(span_json(span), ensure_ascii=False)
            for thread in chosen
            for span in _spans(session, thread)
        )
        if to is None:
            for line in lines:
                click.echo(line)
            return
        number = 0
        try:
            with to.open("w", encoding="utf-8") as file:
                for line in lines:
                    file.write(line + "\n")
                    number += 1
        except OSError as error:
            raise InputError(f"{to} cannot be written: {error.strerror}. Name another file.") from None
    click.echo(f"{number} spans in {to}.")


def push_traces(threads: Sequence[str], *, since: str | None, database: Path) -> ExitCode:
    """Send what has not been sent, and return the exit code: DONE, or NOT_SENT if something still waits."""
    settings = read_settings()
    if not settings.destinations:
        raise InputError(
            "No destination is set. Set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY, or name an OTLP "
            "endpoint in stepgraph.toml: [[tracing.otlp]] url = …"
        )
    with open_session(database) as session:
        for thread in threads:
            find_thread(session.journal, thread)
        start = age(None if since is None else parse_age(since))
        done = push(session, settings.destinations, threads or None, sample=settings.sample, since=start)
    for pushed in done:
        refused = f", {pushed.refused} refused" if pushed.refused else ""
        problem = f"  {clean(pushed.problem)}; nothing is lost, push again" if pushed.problem else ""
        click.echo(f"{clean(pushed.destination)}: {pushed.arrived} spans sent{refused}{problem}")
    return ExitCode.NOT_SENT if any(pushed.problem for pushed in done) else ExitCode.DONE
