"""What stands beside a step for a reader, in the terminal and on the page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...state.names import BUDGET_ENDED
from ...state.statuses import CUT
from .pending import due_of, is_review, is_wait
from .run import Run
from .spans import Row, Span
from .text import duration, one_line, passages_line, show_value, sureness
from .values import changed_fields, public

SUPERSEDED_NOTE = "paid for and not used: another process had taken the thread over"
CUT_NOTE = "cut at the token limit"
_SOURCES = {
    "replayed": "replayed at no cost",
    "cache": "from the cache",
    "coalesced": "coalesced with an equal call",
}


def notes(run: Run, span: Span, call: Span | None) -> Iterator[str]:
    """Yield remarks on a span: what it decided, wrote and asks, what went wrong, its scores.

    `call` is the span itself, if it is a call, or the only call of a node, which needs no row of its own.
    """
    if span.kind == "run" and (waited := run.timeline.waited_before(span.started_at)):
        yield f"after a pause of {duration(waited)}"
    if span.decision:
        yield decision_note(span)
    if call is not None:
        yield from call_notes(call)
    if span.kind == "retrieval" and span.status != "failed":
        yield passages_line(span.row["kept"], span.row["left_out"])
    problem = span.error or (call.row.get("problem") if call is not None else None)
    if problem:
        yield one_line(problem, 120)
    if span.row.get("interrupts"):
        interrupts = json.loads(span.row["interrupts"])
        first = interrupts[0] if isinstance(interrupts, list) and interrupts else interrupts
        due = due_of(first)
        until = f"until {due.astimezone():%Y-%m-%d %H:%M:%S %Z}" if due is not None else ""
        if is_wait(first):
            yield f"waits {until}"
        elif isinstance(first, Mapping) and first.get("kind") == BUDGET_ENDED:
            yield one_line(str(first.get("message") or "its budget ended"), 120)
        else:
            yield f"asks {one_line(_question(first), 60)}{until and ', '}{until}"
    changed = changed_fields(span.row) if span.kind == "node" else None
    if changed and not span.decision:
        after = public(span.row["output"])
        yield "wrote " + one_line(
            ", ".join(f"{name} = {show_value(after[name], 40)}" for name in changed), 90
        )
    for score in run.scores.get(span.id, ()):
        value = score["label"] if in_words(score) else f"{score['value']:g}"
        yield f"{one_line(score['name'], 30)}: {one_line(str(value), 30)}"


def _question(value: Any) -> str:
    question = value.get("question") if is_review(value) else None
    return question if isinstance(question, str) and question else show_value(value, 200)


def decision_note(span: Span) -> str:
    """Return the choice that a step made, and how sure it was."""
    decision = span.decision or {}
    return f"→ {one_line(str(decision['choice']), 60)}{sureness(decision['confidence'])}"


def call_notes(call: Span) -> Iterator[str]:
    """Yield where the answer came from, unless from the model, and which attempt it was."""
    if call.source != "model":
        yield _SOURCES.get(call.source, call.source)
    if call.row.get("status") == "superseded":
        yield SUPERSEDED_NOTE
    if call.row["finish_reason"] == CUT:
        yield CUT_NOTE
    if call.row["attempt"] > 1:
        yield f"attempt {call.row['attempt']}"


def in_words(score: Row) -> bool:
    """Tell whether a score is told by its label: it is a text, or the number of what is true or false."""
    return score["value"] is None or score["label"] in ("true", "false")
