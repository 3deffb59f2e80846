"""What makes a plan sound: it has subtasks, not too many, and no two of them are about the same thing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..state.json_text import json_text
from ..state.schema import values_of

MAX_SHOWN = 80
Subject = Callable[[Any], str]

_WORD = re.compile(r"\w+")


def subject_of(task: Any) -> str:
    """Return what a subtask is about: the text in its fields, or all of it as JSON if there is none."""
    texts = [value for value in values_of(task).values() if isinstance(value, str) and value.strip()]
    return " ".join(texts) or json_text(task)


def likeness(one: str, other: str) -> float:
    """Return the share of words that two texts have in common, 0 to 1; order and case do not count."""
    left, right = _words(one), _words(other)
    return len(left & right) / len(left | right) if left or right else 1.0


def problem_with(subjects: Sequence[str], *, max_items: int, similarity: float) -> str | None:
    """Return what is wrong with a plan, in words that tell a model what to fix, or None."""
    if not subjects:
        return "The plan is empty. Name at least one subtask."
    if len(subjects) > max_items:
        return (
            f"The plan has {len(subjects)} subtasks, but at most {max_items} are allowed. Merge or drop some."
        )
    for number, subject in enumerate(subjects, 1):
        if not _words(subject):
            return f"Subtask {number} says nothing."
    overlaps = [
        f"Subtasks {i + 1} and {j + 1} overlap: {_shown(subjects[i])} and {_shown(subjects[j])}."
        for j in range(len(subjects))
        for i in range(j)
        if likeness(subjects[i], subjects[j]) >= similarity
    ]
    if overlaps:
        return f"{' '.join(overlaps)} Merge them, or make each about something else."
    return None


def without_overlaps(tasks: Sequence[Any], subject: Subject, similarity: float) -> list[Any]:
    """Return the subtasks without those that are about the same as one before them."""
    kept: list[Any] = []
    for task in tasks:
        if not is_known(subject(task), map(subject, kept), similarity):
            kept.append(task)
    return kept


def is_known(subject: str, others: Iterable[str], similarity: float) -> bool:
    """Tell whether a subtask is about the same as one of the others."""
    return any(likeness(subject, other) >= similarity for other in others)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…")
