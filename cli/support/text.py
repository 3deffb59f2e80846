"""The questions of reviews in a terminal."""

from __future__ import annotations

from typing import Any

from ...state.names import REVIEW
from ...tracing.record.text import clean, show_value


def is_review(asked: Any) -> bool:
    """Tell whether an interrupt's value is the question of a review."""
    return isinstance(asked, dict) and asked.get("kind") == REVIEW


def show_question(asked: Any) -> str:
    """Return what an interrupt asks, for a reader."""
    if not is_review(asked):
        return show_value(asked)
    problem = f" (the last answer was not taken: {asked['problem']})" if asked.get("problem") else ""
    return clean(f"{asked.get('review')}: {asked.get('question')}{problem}")
