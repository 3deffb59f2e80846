"""Decisions of other libraries, as choices: LangChain's come with probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .ask import Choice

REFUSED = "refusal"


def choice_of(value: Any) -> Choice[Any]:
    """Return the choice that a classifier's value stands for: a `Choice`, a decision of LangChain's, a label.

    A decision of `OpenAIDecisions` is an answer, or a response with one answer: a choice, or a predicate,
    which chooses True or False. What was refused is "I don't know".
    """
    if isinstance(value, Choice):
        return value
    answers = _of(value, "answers")
    if isinstance(answers, Mapping) and len(answers) == 1:
        value = next(iter(answers.values()))
    if _of(value, "type") == REFUSED:
        return Choice(label=None, reason="the model refused to decide")
    if isinstance(probability := _of(value, "probability"), (int, float)):
        return Choice(label=probability >= 0.5, confidence=max(probability, 1 - probability))
    if not is_decision(value):
        return Choice(label=value)
    label, probabilities = _of(value, "choice"), _of(value, "probabilities")
    confidence = _of(value, "confidence")
    ranked = sorted(probabilities.items(), key=lambda each: -each[1])
    reason = ", ".join(f"{name} {share:.2f}" for name, share in ranked[:5])
    return Choice(
        label=label, confidence=probabilities.get(label) if confidence is None else confidence, reason=reason
    )


def is_decision(value: Any) -> bool:
    """Tell whether a value is a choice with the probabilities of all that could be chosen."""
    return isinstance(_of(value, "probabilities"), Mapping) and _of(value, "choice") is not None


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
