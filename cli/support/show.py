"""`stepgraph show`: a run as a tree, as a waterfall, or one step of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from ...state.database import Database, is_missing
from ...state.errors import InputError
from ...state.journal.jobs import JobRecord, find_job
from ...state.journal.serving import unserved
from ...state.session.session import Session
from ...tracing.record.caching import Collapse, cache_use, collapses
from ...tracing.record.notes import call_notes, decision_note, notes
from ...tracing.record.reads import read_input
from ...tracing.record.run import Run, read_run
from ...tracing.record.spans import Span
from ...tracing.record.text import (
    MARKS,
    batch_line,
    clean,
    cost_json,
    cost_line,
    duration,
    money,
    one_line,
    passages_line,
    show_value,
    tokens,
)
from ...tracing.record.threads import Thread
from ...tracing.record.timeline import SCALE
from ...tracing.record.tree import SpanNode
from ...tracing.record.values import changed_fields, public
from .budget_lines import account_lines
from .text import show_asked

WIDTH = 32
CUT, CUT_STEP = 160, 400
SHORT = 20  # what is shorter may stand anywhere by chance


class PrintedProblems:
    """What has been printed of problems: each is printed once, whoever repeats it."""

    def __init__(self) -> None:
        self._problems: list[str] = []

    def once(self, text: Any) -> Any:
        """Return a text with what was told already left out."""
        if isinstance(text, str):
            for problem in self._problems:
                text = text.replace(problem, "(the problem above)")
        return text

    def add(self, problem: str | None) -> None:
        for text in (problem or "", (problem or "").partition(": ")[2]):
            if len(text) >= SHORT and text not in self._problems:
                self._problems.append(text)
        self._problems.sort(key=len, reverse=True)


@contextmanager
def open_session(database: Database) -> Iterator[Session]:
    """Open an existing database. Raises InputError if there is none."""
    if is_missing(database):
        raise InputError(f"There is no file {database}. A graph that runs writes it; --db names another.")
    with Session(database) as session:
        yield session


def show_run(
    thread_id: str, *, step: str | None, waterfall: bool, full: bool, database: Database, as_json: bool
) -> None:
    """Print a run, or all about one step."""
    with open_session(database) as session:
        run = read_run(session, thread_id)
        run_input = read_input(session.journal, thread_id)
        fallen = collapses(session.journal.query, run)
        job = find_job(session.journal, run.thread.thread_id)
        missing = None if job is None else unserved(session.journal, job)
    if step is not None:
        for node in _steps_named(run, step):
            if as_json:
                click.echo(json.dumps(step_json(node), ensure_ascii=False))
            else:
                _print(step_lines(node, full=full))
        return
    if as_json:
        steps = [step_json(node) for root in run.roots for node in _outermost(root)]
        waits = [{**asdict(item.batch), "calls": item.calls} for item in run.awaits]
        handed = {"job": {**_job_json(job), "unserved": missing}} if job is not None else {}
        fields = {
            **thread_json(run.thread),
            **handed,
            **_cache_json(run, fallen),
            "awaits": waits,
            "steps": steps,
        }
        click.echo(json.dumps(fields, ensure_ascii=False))
        return
    click.secho(f"{one_line(run.thread.thread_id)}  {run.state}", bold=True)
    if job is not None:
        link = f", workflow {one_line(job.link, 200)}" if job.link else ""
        why = f" ({one_line(job.kind, 80)})" if job.kind else ""
        click.echo(f"handed to workers: {job.status}{why}, on {one_line(job.engine, 200)}{link}")
        if missing is not None:
            click.secho(one_line(missing, 300), fg="yellow")
    for item in run.awaits:
        calls = f"{item.calls} of its calls" if item.calls > 1 else "a call"
        click.echo(f"batch  {calls}: {one_line(batch_line(item.batch), 200)}")
    if waterfall:
        for root in run.roots:
            click.echo(f"trace  {root.span.trace.id}")
            _print(_waterfall_line(run, node) for node in root.walk())
        click.echo("* The run waited for this step. --step NAME shows all about one.")
    else:
        _print(_tree_lines(run, run_input, None if full else CUT))
    shown = set() if waterfall else {node.span.error for node in run.steps}
    if run.thread.error and run.thread.error not in shown:
        click.echo(f"error  {clean(run.thread.error)}")
    click.echo(f"total  {_totals(run)}")
    _print(_cache_lines(run, fallen))
    shared = {limit.account.name: limit.account for limit in run.limits if limit.account is not None}
    for account in shared.values():
        _print(f"budget {line}" for line in account_lines(account))


def _totals(run: Run) -> str:
    failed, superseded = (
        sum(call["status"] == status for call in run.calls) for status in ("failed", "superseded")
    )
    replays = sum(call["replays"] for call in run.calls)
    parts = [f"{run.cost.calls} model calls", f"{failed} failed" if failed else ""]
    parts += [f"{superseded} superseded" if superseded else ""]
    parts += [f"{replays} replayed at no cost" if replays else "", cost_line(run.cost)]
    parts += [f"{duration(sum(call['latency_s'] for call in run.calls))} of model time"]
    thread = run.thread
    parts += [f"took {duration(thread.seconds)}"]
    parts += [f"{duration(thread.waited_s)} waiting" if thread.waited_s >= 1 else ""]
    return ", ".join(filter(None, parts))


def _cache_lines(run: Run, fallen: Sequence[Collapse]) -> Iterator[str]:
    """Yield what share of the input was read from the providers' caches, and where that collapsed."""
    uses = cache_use(run)
    if any(use.cached_tokens for use in uses):
        steps = ", ".join(f"{one_line(use.step, 40)} {use.share:.0%}" for use in uses)
        yield f"cache  {run.cached_share or 0:.0%} of the input was read from the provider's cache: {steps}"
    for collapse in fallen:
        yield click.style(f"warning  {clean(str(collapse))}", fg="yellow")


def _cache_json(run: Run, fallen: Sequence[Collapse]) -> dict[str, Any]:
    uses = cache_use(run)
    return {
        "cached_share": run.cached_share,
        "cache": [{**vars(use), "share": use.share} for use in uses],
        "cache_warnings": [str(collapse) for collapse in fallen],
    }


def thread_json(thread: Thread) -> dict[str, Any]:
    """Return a thread for programs."""
    return {
        **{n: v for n, v in vars(thread).items() if n != "cost"},
        "waited_s": thread.waited_s,
        **cost_json(thread.cost),
    }


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)


def _steps_named(run: Run, step: str) -> list[SpanNode]:
    named = [node for node in run.steps if step in (node.span.path, node.span.name)]
    if not named:
        paths = ", ".join(dict.fromkeys(node.span.path for node in run.steps))
        raise InputError(f"The thread has no step {step!r}. It has: {paths}.")
    return named


def _outermost(root: SpanNode) -> Iterator[SpanNode]:
    """Yield the outermost node executions of an invocation and of those that went on with it."""
    for child in root.children:
        if child.span.kind == "run":
            yield from _outermost(child)
        elif child.span.kind == "node":
            yield child


def _row(node: SpanNode, remarks: Iterator[str]) -> str:
    span = node.span
    mark = "→" if span.kind in ("call", "retrieval") else MARKS[span.status]
    name = span.model if span.kind == "call" else span.name
    cost = f"  {money(node.cost)}" if node.cost.calls else ""
    suffix = "".join(f"  {remark}" for remark in remarks)
    return f"{mark} {one_line(name, 60)}  {duration(span.seconds)}{cost}{suffix}"


def _job_json(job: JobRecord) -> dict[str, Any]:
    return {name: getattr(job, name) for name in ("status", "kind", "engine", "link", "attempts", "version")}


def _waterfall_line(run: Run, node: SpanNode) -> str:
    x, width = run.timeline.bar(node.span)
    start = min(WIDTH - 1, int(x / SCALE * WIDTH))
    drawn = (" " * start + "━" * min(max(1, round(width / SCALE * WIDTH)), WIDTH - start)).ljust(WIDTH)
    star = "*" if node.critical and not node.children else " "
    call = node.span if node.span.kind == "call" else None
    return f"{drawn}{star} {'  ' * node.depth}{_row(node, notes(run, node.span, call))}"


def _tree_lines(run: Run, run_input: Any, limit: int | None) -> Iterator[str]:
    if run.thread.graph:
        yield f"graph  {clean(run.thread.graph)}"
    if run_input:
        yield f"input  {_cut(json.dumps(run_input, ensure_ascii=False), limit)}"
    printed = PrintedProblems()
    several = sum(span.kind == "run" for span in run.spans) > 1
    for root in run.roots:
        for node in root.walk():
            span, indent = node.span, "  " * (node.depth - (not several))
            if span.kind == "node":
                decided = iter([decision_note(span)] if span.decision else [])
                yield f"{indent}{_row(node, decided)}"
                yield from _details(node, f"{indent}    ", limit, printed)
            elif span.kind == "run" and several:
                yield f"{indent}{_row(node, iter(()))}"
            elif span.parent_id == root.span.id:  # a call outside of any node
                yield from _call_lines(span, indent, limit, printed)


def step_lines(node: SpanNode, *, full: bool) -> Iterator[str]:
    """Yield all about one node execution: the state before it, what it changed, its calls."""
    span, limit = node.span, None if full else CUT_STEP
    yield click.style(f"{one_line(span.path)}  {span.status}", bold=True)
    if span.checkpoint_id:
        yield f"  after checkpoint {span.checkpoint_id}"
    before, after = public(span.row.get("input")), public(span.row.get("output"))
    changed = changed_fields(span.row) or []
    for name, value in before.items() if isinstance(before, dict) else ():
        yield from _labelled(f"{'~' if name in changed else ' '} {one_line(name, 40)} =", value, "  ", limit)
    for name in changed:
        yield from _labelled(f"> {one_line(name, 40)} =", after[name], "  ", limit)
    if span.decision:
        yield f"  {decision_note(span)}"
    yield from _details(node, "  ", limit, PrintedProblems(), whole=True)


def _details(
    node: SpanNode, inner: str, limit: int | None, printed: PrintedProblems, *, whole: bool = False
) -> Iterator[str]:
    """Yield what lies below a node's own line; `whole` prompts, without what the state says already."""
    span = node.span
    if span.decision and span.decision["reason"]:
        yield from _labelled("why", span.decision["reason"], inner, limit)
    for child in node.children:
        if child.span.kind == "call":
            yield from _call_lines(child.span, inner, limit, printed, whole=whole)
        elif child.span.kind == "retrieval":
            yield from _retrieval_lines(child.span, inner, limit)
    if not whole and not node.holds_nodes and (output := public(span.row.get("output"))):
        yield from _labelled("wrote", output, inner, limit)
    if span.row.get("interrupts"):
        questions = show_asked(public(span.row["interrupts"]), full=limit is None)
        yield from _labelled("asks", questions, inner, None)
    if span.error:
        yield from _labelled("error", printed.once(span.error), inner, limit and CUT_STEP)
        printed.add(span.error)


def _call_lines(
    span: Span, inner: str, limit: int | None, printed: PrintedProblems, *, whole: bool = False
) -> Iterator[str]:
    row = span.row
    role = f"{row['role']} = " if row["role"] else ""
    remarks = [*call_notes(span), *([f"replayed {row['replays']} x"] if row["replays"] else [])]
    if span.status == "failed":
        facts = [*remarks, f"failed after {duration(row['latency_s'])}"]
    else:
        cached = f" ({row['cached_tokens']} cached)" if row["cached_tokens"] else ""
        used = tokens(row["input_tokens"], row["output_tokens"], row["estimated_tokens"]) + cached
        facts = [used, money(span.cost), duration(row["latency_s"]), *remarks]
    yield f"{inner}call     {role}{one_line(span.model)}, {', '.join(facts)}"
    yield from _labelled("why", row["reason"], inner, limit)
    messages = json.loads(row["messages"])
    for message in messages if whole or limit is None else messages[-1:]:
        content = printed.once(message.get("content"))
        yield from _labelled(one_line(str(message.get("role")), 12), content, inner, limit)
    for label, name in (
        ("thought", "reasoning"),
        ("answer", "answer"),
        ("gave", "media"),
        ("problem", "problem"),
    ):
        yield from _labelled(label, printed.once(row[name]) if name == "problem" else row[name], inner, limit)
    printed.add(row["problem"])


def _retrieval_lines(span: Span, inner: str, limit: int | None) -> Iterator[str]:
    row = span.row
    outcome = f"failed after {duration(row['latency_s'])}"
    if span.status != "failed":
        outcome = f"{passages_line(row['kept'], row['left_out'])}, {duration(row['latency_s'])}"
    again = f", replayed {row['replays']} x" if row["replays"] else ""
    copied = ", copied" if row["source"] == "copied" else ""
    yield f"{inner}search   {one_line(row['retriever'], 60)}, {outcome}{copied}{again}"
    yield from _labelled("query", row["query"], inner, limit)
    for number, passage in enumerate(json.loads(row["passages"] or "[]"), 1):
        source = f"{passage['source']}: " if passage["source"] else ""
        yield from _labelled(f"[{number}]", f"{source}{passage['text']}", inner, limit)
    yield from _labelled("problem", row["problem"], inner, limit)


def _labelled(label: str, value: Any, inner: str, limit: int | None) -> Iterator[str]:
    if value:
        follow = "\n" + " " * (len(inner) + 9)
        yield f"{inner}{label:<8} {_cut(value, limit)}".replace("\n", follow)


def _cut(value: Any, limit: int | None) -> str:
    text = show_value(value, None)
    return text if limit is None else show_value(one_line(text, len(text)), limit)


def step_json(node: SpanNode) -> dict[str, Any]:
    """Return a node execution with all below it, for programs."""
    span = node.span
    return {
        "name": span.name,
        "path": span.path,
        "task": span.task,
        "status": span.status,
        "error": span.error,
        "started_at": span.started_at,
        "ended_at": span.ended_at,
        "input": public(span.row.get("input")),
        "output": public(span.row.get("output")),
        "decision": span.decision,
        "calls": [child.span.row for child in node.children if child.span.kind == "call"],
        "retrievals": [retrieval_json(c.span) for c in node.children if c.span.kind == "retrieval"],
        "steps": [step_json(child) for child in node.children if child.span.kind == "node"],
    }


def retrieval_json(span: Span) -> dict[str, Any]:
    """Return a retrieval for programs, with its passages as what they are."""
    return {**span.row, "passages": json.loads(span.row["passages"] or "[]")}
