"""`stepgraph show` and `stepgraph threads`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ...state.errors import InputError
from ...state.names import without_private
from ...state.session.session import Session
from ...tracing.record.threads import Thread, find_thread, list_threads
from ...tracing.record.tree import TreeNode, read_calls, read_tree, totals
from .text import clean, duration, money, one_line, shorten, show_value, sureness, tokens


def show_threads(*, limit: int, database: Path, as_json: bool) -> None:
    """Print the threads of a file."""
    with open_session(database) as session:
        found = list_threads(session.journal, limit)
    if as_json:
        for thread in found:
            click.echo(json.dumps(vars(thread), ensure_ascii=False))
        return
    if not found:
        click.echo(f"No threads in {database}.")
        return
    width = max(len(thread.thread_id) for thread in found)
    for thread in found:
        click.echo(_thread_line(thread, width))


def _thread_line(thread: Thread, width: int) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(thread.started_at))
    used = tokens(thread.input_tokens, thread.output_tokens)
    cost = money(thread.known_cost_usd, thread.unknown_costs)
    error = f"  {one_line(thread.error, 80)}" if thread.error else ""
    name = one_line(thread.thread_id).ljust(width)
    return f"{name}  {thread.status:<11}  {when}  {thread.calls:>3} calls  {used}  {cost}{error}"


def open_session(database: Path) -> Session:
    """Open an existing file. Raises InputError if there is none."""
    if not database.exists():
        raise InputError(f"There is no file {database}. A graph that runs writes it; --db names another.")
    return Session(database)


def show_thread(thread_id: str, *, full: bool, database: Path, as_json: bool) -> None:
    """Print the tree of a thread's steps."""
    with open_session(database) as session:
        thread = find_thread(session.journal, thread_id)
        roots = read_tree(session.journal, thread_id)
        calls = read_calls(session.journal, thread_id)
        given = session.journal.query("SELECT input FROM runs WHERE thread_id = ?", (thread_id,))[0]["input"]
    if as_json:
        click.echo(json.dumps({**vars(thread), "steps": [_node_json(n) for n in roots]}, ensure_ascii=False))
        return
    limit = None if full else 160
    click.secho(f"{one_line(thread.thread_id)}  {thread.status}", bold=True)
    if thread.graph:
        click.echo(f"graph  {clean(thread.graph)}")
    if given:
        click.echo(f"input  {_cut(given, limit)}")
    for root in roots:
        for line in _node_lines(root, 0, limit):
            click.echo(line)
    if thread.error:
        click.echo(f"error  {clean(thread.error)}")
    sums = totals(calls)
    replayed = f", {sums.replays} replayed at no cost" if sums.replays else ""
    failed = f", {sums.failed} failed" if sums.failed else ""
    click.echo(
        f"total  {sums.calls} model calls{failed}{replayed}, "
        f"{tokens(sums.input_tokens, sums.output_tokens)}, "
        f"{money(sums.known_cost_usd, sums.unknown_costs)}, {duration(sums.latency_s)} of model time"
    )


def _cut(text: str, limit: int | None) -> str:
    return clean(text) if limit is None else shorten(one_line(text, len(text)), limit)


def _node_lines(node: TreeNode, depth: int, limit: int | None) -> Iterator[str]:
    indent = "  " * depth
    node_run = node.node_run
    took = duration(node_run["ended_at"] - node_run["started_at"]) if node_run else "did not end"
    mark = {"done": "●", "failed": "✗", "interrupted": "‖"}.get(node_run["status"] if node_run else "", "○")
    line = f"{indent}{mark} {one_line(node.name)}  {took}"
    if node.decision:
        choice, confidence = node.decision["choice"], node.decision["confidence"]
        line += f"  -> {one_line(choice)}{sureness(confidence)}"
        if node.decision["reason"]:
            line += f"  ({one_line(node.decision['reason'], limit or 10_000)})"
    yield line
    inner = f"{indent}    "
    for call in node.calls:
        yield from _call_lines(call, inner, limit)
    for child in node.children:
        yield from _node_lines(child, depth + 1, limit)
    if node_run and node_run["output"] and not node.children:
        yield from _indented("wrote", _written(node_run["output"], limit), inner)
    if node_run and node_run["error"]:
        yield from _indented("error", _cut(node_run["error"], limit and 400), inner)


def _written(output: str, limit: int | None) -> str:
    """Return what a node wrote, without the patterns' own bookkeeping."""
    values = json.loads(output)
    if isinstance(values, dict):
        values = without_private(values)
        if not values:
            return ""
    return show_value(values, limit)


def _call_lines(call: dict[str, Any], inner: str, limit: int | None) -> Iterator[str]:
    role = f"{call['role']} = " if call["role"] else ""
    model = one_line(call["model_answered"] or call["model_asked"])
    used = tokens(call["input_tokens"], call["output_tokens"])
    cached = f" ({call['cached_tokens']} cached)" if call["cached_tokens"] else ""
    replayed = f", replayed {call['replays']} x" if call["replays"] else ""
    source = {"cache": ", from the cache", "coalesced": ", coalesced with an equal call"}.get(
        call["source"], ""
    )
    attempt = f", attempt {call['attempt']}" if call["attempt"] > 1 else ""
    if call["status"] == "failed":
        yield f"{inner}call   {role}{model}{attempt}: failed after {duration(call['latency_s'])}"
    else:
        cost = money(call["cost_usd"])
        took = duration(call["latency_s"])
        yield f"{inner}call   {role}{model}{attempt}, {used}{cached}, {cost}, {took}{source}{replayed}"
    if call["reason"]:
        yield from _indented("why", _cut(call["reason"], limit), inner)
    messages = json.loads(call["messages"])
    shown = messages if limit is None else messages[-1:]
    for message in shown:
        content = (
            message["content"] if isinstance(message["content"], str) else json.dumps(message["content"])
        )
        yield from _indented(f"{message['role']}", _cut(content, limit), inner)
    if call["reasoning"]:
        yield from _indented("thought", _cut(call["reasoning"], limit), inner)
    if call["answer"]:
        yield from _indented("answer", _cut(call["answer"], limit), inner)
    if call["problem"]:
        yield from _indented("problem", _cut(call["problem"], limit and 400), inner)


def _indented(label: str, text: str, inner: str) -> Iterator[str]:
    if text:
        follow = "\n" + " " * (len(inner) + 9)
        yield f"{inner}{label[:8]:<8} {text}".replace("\n", follow)


def _node_json(node: TreeNode) -> dict[str, Any]:
    return {
        "name": node.name,
        "path": node.path,
        "task": node.task,
        "node_run": node.node_run,
        "decision": node.decision,
        "calls": node.calls,
        "steps": [_node_json(child) for child in node.children],
    }
