"""The questions of reviews in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ...tracing.record.pending import due_of, is_review, is_wait
from ...tracing.record.text import clean, show_value

MOST_SHOWN = 2000  # characters of what a person decides on, unless they ask for all


def show_asked(value: Any, *, full: bool = False) -> str:
    """Return what a person is to decide on: whole, or cut at its end with its length told."""
    text = show_value(value, None)
    if full or len(text) <= MOST_SHOWN:
        return text
    return (
        f"{text[:MOST_SHOWN]}…\n[cut: {MOST_SHOWN:,} of {len(text):,} characters are shown; "
        "all of them: stepgraph pending --full]"
    )


def is_long(value: Any) -> bool:
    """Tell whether a value is shown whole only where somebody asks for it."""
    return len(show_value(value, None)) > MOST_SHOWN


def asked_lines(question: Any, inner: str, *, full: bool = False) -> Iterator[str]:
    """Yield the lines of what a review shows: its field with the value."""
    if is_review(question):
        shown = show_asked(question.get("value"), full=full).replace("\n", f"\n{inner}    ")
        yield f"{inner}{clean(str(question.get('field')))}: {shown}"


def show_question(question: Any, *, full: bool = False) -> str:
    """Return what an interrupt asks, for a reader."""
    due = due_of(question)
    if not is_review(question) and not is_wait(question):
        return show_asked(question, full=full)
    until = f" (until {show_time(due)})" if due is not None else ""
    problem = f" (the last answer was not taken: {question['problem']})" if question.get("problem") else ""
    if due is not None and is_wait(question):
        return clean(f"{question.get('wait')}: until {show_time(due)}{problem}")
    return clean(f"{question.get('review')}: {question.get('question')}{until}{problem}")


def show_time(at: datetime) -> str:
    """Return a time as this machine's users read it."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
