"""The questions of reviews in a terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ...state.names import REVIEW
from ...tracing.record.pending import due_of, is_wait
from ...tracing.record.text import clean, show_value


def is_review(asked: Any) -> bool:
    """Tell whether an interrupt's value is the question of a review."""
    return isinstance(asked, dict) and asked.get("kind") == REVIEW


def show_question(asked: Any) -> str:
    """Return what an interrupt asks, for a reader."""
    due = due_of(asked)
    if not is_review(asked) and not is_wait(asked):
        return show_value(asked)
    until = f" (until {show_time(due)})" if due is not None else ""
    problem = f" (the last answer was not taken: {asked['problem']})" if asked.get("problem") else ""
    if due is not None and is_wait(asked):
        return clean(f"{asked.get('wait')}: until {show_time(due)}{problem}")
    return clean(f"{asked.get('review')}: {asked.get('question')}{until}{problem}")


def show_time(at: datetime) -> str:
    """Return a time as this machine's users read it."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
