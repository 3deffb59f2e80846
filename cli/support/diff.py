"""`stepgraph diff`: where two threads part, the first step first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from ...state.database import Database
from ...tracing.record.diff import CallDifference, Difference, choice_of, diff
from ...tracing.record.run import Run
from ...tracing.record.spans import Row, Span
from ...tracing.record.text import clean, cost_json, cost_line, one_line, plain, show_value
from .show import open_session, step_json, step_lines


def show_difference(a: str, b: str, *, full: bool = False, database: Database, as_json: bool) -> None:
    """Print the first step at which two threads part, then all that differs."""
    with open_session(database) as session:
        difference = diff(session, a, b)
    if as_json:
        click.echo(json.dumps(_json(difference), ensure_ascii=False))
        return
    for line in (*_first_lines(difference, full=full), *_lines(difference)):
        click.echo(line)


def _json(difference: Difference) -> Any:
    first = difference.first
    return plain(
        {
            "a": difference.a.thread.thread_id,
            "b": difference.b.thread.thread_id,
            "same": difference.same,
            "first": first
            and {
                "number": first.number,
                "path": first.path,
                "what": first.what,
                "a": _step_json(difference.a, first.a),
                "b": _step_json(difference.b, first.b),
            },
            "parting": difference.parting,
            "calls": [asdict(call) for call in difference.calls],
            "state": difference.state,
            "cost_a": cost_json(difference.a.cost),
            "cost_b": cost_json(difference.b.cost),
        }
    )


def _step_json(run: Run, span: Span | None) -> dict[str, Any] | None:
    return None if span is None else step_json(run.by_id[span.id])


def _first_lines(difference: Difference, *, full: bool) -> Iterator[str]:
    first = difference.first
    if first is None:
        return
    yield click.style(f"first difference: {one_line(first.path)}, {', '.join(first.what)}", bold=True)
    for run, span in ((difference.a, first.a), (difference.b, first.b)):
        if span is not None:
            yield f"in {one_line(run.thread.thread_id)}:"
            yield from (f"  {line}" for line in step_lines(run.by_id[span.id], full=full))
    yield ""


def _lines(difference: Difference) -> Iterator[str]:
    threads = (difference.a.thread.thread_id, difference.b.thread.thread_id)
    width = max(map(len, threads))
    a, b = (one_line(thread).ljust(width) for thread in threads)
    if difference.same:
        yield f"{a.strip()} and {b.strip()} went the same way, to the same answers and state."
    if difference.parting is not None:
        yield f"path      they part after {difference.parting} steps"
        rest = difference.steps[difference.parting :]
        for name, way in ((a, [pair.a for pair in rest]), (b, [pair.b for pair in rest])):
            yield f"  {name}  {_way([span for span in way if span is not None])}"
    for item in difference.calls:
        yield f"call      {one_line(item.path)}: {', '.join(item.what)}"
        for name, call in ((a, item.a), (b, item.b)):
            if call is not None:
                yield f"  {name}  {_call(call, item)}"
    for field, values in difference.state.items():
        yield f"state     {one_line(field)}"
        for name, value in zip((a, b), values, strict=True):
            yield f"  {name}  {one_line(show_value(value), 160)}"
    yield "cost"
    for name, run in ((a, difference.a), (b, difference.b)):
        yield f"  {name}  {run.cost.calls} calls, {cost_line(run.cost)}"


def _way(way: Sequence[Span], most: int = 6) -> str:
    shown = [
        one_line(span.path) + (f" ({one_line(choice)})" if (choice := choice_of(span)) else "")
        for span in way[:most]
    ]
    return (" -> ".join(shown) + (" -> …" if len(way) > most else "")) or "(ends there)"


def _call(call: Row, difference: CallDifference) -> str:
    parts = []
    if "model" in difference.what:
        parts.append(one_line(call["model_asked"]))
    if "prompt" in difference.what:
        parts.append(one_line(f"asked {json.loads(call['messages'])[-1]['content']}", 100))
    parts.append(one_line(call["answer"] or "", 160))
    return clean(" | ".join(parts))
