"""The root of a trace that went on: what it says when the last of its invocations has ended.

Langfuse judges a trace by its root. A run that was killed and resumed, or that a person answered, has a root
which says how the first attempt ended; so it is told again, under its id, with what came of the whole.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...state.statuses import UNFINISHED
from ..record.spans import Span

_OF_THE_END = ("output", "interrupts")


def with_whole_roots(spans: Sequence[Span]) -> list[Span]:
    """Return a thread's spans; roots of traces of several invocations say how the last one ended.

    What has no input of its own, as a run that goes on or a fork, is given that of its trace.
    """
    runs: dict[int, list[Span]] = defaultdict(list)
    begun: dict[int, Span] = {}  # the first node of each trace, which got what its run was given
    for span in spans:
        number = span.trace.number
        if span.kind == "run":
            runs[number].append(span)
        elif span.kind == "node" and "/" not in span.path and span.row.get("input") is not None:
            first = begun.setdefault(number, span)
            begun[number] = min(first, span, key=lambda each: each.started_at)
    changed = {span.id: span for number, group in runs.items() for span in _updated(group, begun.get(number))}
    return [changed.get(span.id, span) for span in spans]


def delivery_id(span: Span) -> str:
    """Return what stands for a span in the note of what arrived: its id, or that of a later telling of it."""
    if span.revision is None:
        return span.id
    return hashlib.sha256(f"{span.id} {span.revision}".encode()).hexdigest()[:16]


def _updated(runs: list[Span], first: Span | None) -> Iterable[Span]:
    """Yield the invocations of one trace as they are to be told now."""
    runs.sort(key=lambda span: span.started_at)
    first_input = runs[0].row.get("input")  # what a later one was given is an answer
    if first_input is None and first is not None:
        first_input = first.row["input"]
    runs = [
        replace(run, row={**run.row, "input": first_input}) if run.row.get("input") is None else run
        for run in runs
    ]
    yield from runs
    root, last = runs[0], runs[-1]
    if root.parent_id is not None or last is root or last.status == UNFINISHED:
        return
    yield replace(
        root,
        status=last.status,
        error=last.error,
        ended_at=max(root.ended_at, last.ended_at),
        row={**root.row, **{name: last.row[name] for name in _OF_THE_END if name in last.row}},
        revision=f"{len(runs)} {last.status} {last.ended_at}",
    )
