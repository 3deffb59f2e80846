"""What a reflecting model is shown of a trial: what a step was asked and answered, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...nodes.steps import Step
from ...state.journal.journal import Journal
from ..files.results import Results, Trial
from ..scoring.evaluators import shown
from ..scoring.score import NODE, NOTHING_EXPECTED, expected_of
from ..suite.model import Case, Suite
from .reflection import Example
from .target_step import asked_in

SHOWN = 2000  # characters of each part


def example_of(
    journal: Journal, suite: Suite, trial: Trial, node: str, step: Step[Any, Any], metric: str
) -> Example:
    """Return what a trial of a case shows."""
    requests = asked_in(journal, trial.thread, step)
    last = requests[-1] if requests else None
    score = trial.scores.get(metric)
    reasons = [f"{name}: {s.reason}" for name, s in trial.scores.items() if s.passed is False and s.reason]
    case = next(case for case in suite.cases if case.id == trial.case)
    return Example(
        asked=_cut(last.question) if last else "nothing: the run ended before",
        answered=_cut(last.answer) if last else "",
        score=0.0 if score is None or score.value is None else round(score.value, 3),
        feedback=_cut("; ".join(reasons) or (trial.error or "")),
        expected=_cut(_expected(suite, case, node, metric)),
    )


def _expected(suite: Suite, case: Case, node: str, metric: str) -> str:
    """Return what a case expects, as far as the metric looks at it."""
    for evaluator in suite.evaluators:
        if evaluator.name == metric:
            expected = expected_of(evaluator, case)
            return "" if expected is NOTHING_EXPECTED else shown(expected)
    if metric == f"{NODE}{node}":
        return shown(case.expect.nodes.get(node))
    return shown(case.expect.output) if case.expect.has_output else shown(dict(case.expect.branches))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def is_failure(trial: Trial, metric: str) -> bool:
    """Tell whether a trial failed, as far as a score goes."""
    score = trial.scores.get(metric)
    return score is None or score.passed is False


def may_improve(trial: Trial, metric: str) -> bool:
    """Tell whether a trial could have scored more."""
    score = trial.scores.get(metric)
    return is_failure(trial, metric) or score is None or (score.value or 0.0) < 1


def node_was_right(own: Sequence[str], results: Results, case: str, metric: str) -> bool:
    """Tell whether the node's own scores say that what failed of a case was not its fault."""
    trials = [t for t in results.trials.values() if t.case == case and is_failure(t, metric)]
    names = [name for name in own if name != metric]
    scores = [trial.scores[name] for trial in trials for name in names if name in trial.scores]
    return bool(scores) and all(score.passed for score in scores)
