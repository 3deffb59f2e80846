"""Cases from pydantic-evals' datasets, and reports for its tools. The adapter of pydantic-evals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from ...state.errors import InputError
from ..statistics.compare import ordered
from ..suite.model import Case, Expected
from .located import INSTALL_HELP
from .results import Results, Trial

if TYPE_CHECKING:
    from pydantic_evals import Dataset
    from pydantic_evals.reporting import EvaluationReport


def cases_of(dataset: Dataset[Any, Any, Any]) -> tuple[Case, ...]:
    """Return a dataset's cases: inputs as the state's fields, expected outputs as fields of the final one.

    Its evaluators are not taken over: make them `Code`, or run `as_evaluation_report` through them.
    """
    cases = []
    for number, case in enumerate(dataset.cases, 1):
        inputs = to_jsonable_python(case.inputs, fallback=repr)
        if not isinstance(inputs, Mapping):
            raise InputError(
                f"The case {case.name or number!r} has {type(case.inputs).__name__} as inputs; expected the "
                "state's fields: a mapping, dataclass or pydantic model."
            )
        wanted = to_jsonable_python(case.expected_output, fallback=repr)
        expect = Expected(output=wanted, has_output=wanted is not None)
        cases.append(Case(str(case.name or number), inputs, expect))
    return tuple(cases)


def as_evaluation_report(results: Results) -> EvaluationReport[Any, Any, Any]:
    """Return results as pydantic-evals' report: yes-or-no scores as assertions, others as scores.

    A trial that is not done is a failure there, and pydantic-evals leaves failures out of its averages.
    """
    try:
        from pydantic_evals.reporting import EvaluationReport, ReportCaseFailure
    except ImportError:
        raise InputError(f"Reports for pydantic-evals need it. {INSTALL_HELP}") from None
    trials = ordered(results)
    repeated = results.header.repeats > 1
    done = [_case(trial, repeated) for trial in trials if trial.status == "done"]
    failures: list[Any] = [
        ReportCaseFailure(
            error_message=trial.error or trial.status, error_stacktrace="", **_identity(trial, repeated)
        )
        for trial in trials
        if trial.status != "done"
    ]
    return EvaluationReport(name=results.header.run, cases=done, failures=failures)


def _identity(trial: Trial, repeated: bool) -> dict[str, Any]:
    """Return which case a trial is of; results do not hold what the case itself says."""
    return {
        "name": f"{trial.case} [{trial.repeat}]" if repeated else trial.case,
        "source_case_name": trial.case if repeated else None,
        **dict.fromkeys(("inputs", "metadata", "expected_output")),
    }


def _case(trial: Trial, repeated: bool) -> Any:
    from pydantic_evals.evaluators import EvaluationResult, EvaluatorSpec
    from pydantic_evals.reporting import ReportCase

    scores: dict[str, Any] = {}
    assertions: dict[str, Any] = {}
    for name, score in trial.scores.items():
        if score.value is None:
            continue
        yes_or_no = score.passed is not None and score.value in (0.0, 1.0)
        source = EvaluatorSpec(name=name, arguments=None)
        value: Any = score.passed if yes_or_no else score.value
        result = EvaluationResult(name=name, value=value, reason=score.reason or None, source=source)
        (assertions if yes_or_no else scores)[name] = result
    metrics: dict[str, float | int] = {"tokens": trial.cost.tokens, "calls": trial.cost.calls}
    if trial.cost.usd is not None:
        metrics["cost_usd"] = trial.cost.usd
    return ReportCase(
        **_identity(trial, repeated),
        output=json.loads(trial.output) if isinstance(trial.output, str) else trial.output,
        metrics=metrics,
        attributes={"thread": trial.thread},
        scores=scores,
        labels={},
        assertions=assertions,
        task_duration=trial.seconds,
        total_duration=trial.seconds,
    )
