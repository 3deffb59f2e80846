"""How good a workflow is: suites of cases, scores, statistics, reports, and what to blame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..state.lazy_names import lazy_names

if TYPE_CHECKING:
    from ..providers.prices import Price
    from .diagnosis.blame import Blame, ablame, blame
    from .diagnosis.locate import RunDiagnosis, locate
    from .files.pydantic_evals import as_evaluation_report, cases_of
    from .files.results import Results, Trial, read_results
    from .files.suite_file import read_suite
    from .report.gates import GateResult
    from .report.junit import as_junit
    from .report.render import as_html, as_markdown, as_text
    from .report.sections import comparison_sections, sections
    from .report.summary import Report, summarise
    from .running.runner import arun_suite, run_suite
    from .scoring.evaluators import Code, Exact, Numeric, Schema, Similarity
    from .scoring.judge import Agreement, Judge, Label, calibrate, read_labels
    from .scoring.openevals import Messages
    from .statistics.compare import Comparison, compare
    from .statistics.confusion import Confusion, confusion
    from .suite.loading import load_suite, load_target
    from .suite.model import (
        Case,
        Evaluator,
        EvaluatorInput,
        Expected,
        Gate,
        PathExpected,
        RoundsExpected,
        Score,
        Suite,
    )
    from .sweeps.assignment import Axis
    from .sweeps.frontier import Sweep
    from .sweeps.savings import Savings, Used, savings, used_calls
    from .sweeps.sweep import asweep, sweep
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "..providers.prices": "Price",
            ".diagnosis.blame": "Blame ablame blame",
            ".diagnosis.locate": "RunDiagnosis locate",
            ".files.pydantic_evals": "as_evaluation_report cases_of",
            ".files.results": "Results Trial read_results",
            ".files.suite_file": "read_suite",
            ".report.gates": "GateResult",
            ".report.junit": "as_junit",
            ".report.render": "as_html as_markdown as_text",
            ".report.sections": "comparison_sections sections",
            ".report.summary": "Report summarise",
            ".running.runner": "arun_suite run_suite",
            ".scoring.evaluators": "Code Exact Numeric Schema Similarity",
            ".scoring.judge": "Agreement Judge Label calibrate read_labels",
            ".scoring.openevals": "Messages",
            ".statistics.compare": "Comparison compare",
            ".statistics.confusion": "Confusion confusion",
            ".suite.loading": "load_suite load_target",
            ".suite.model": "Case Evaluator EvaluatorInput Expected Gate PathExpected "
            "RoundsExpected Score Suite",
            ".sweeps.assignment": "Axis",
            ".sweeps.frontier": "Sweep",
            ".sweeps.savings": "Savings Used savings used_calls",
            ".sweeps.sweep": "asweep sweep",
        },
    )

__all__ = [
    "Agreement",
    "Axis",
    "Blame",
    "Case",
    "Code",
    "Comparison",
    "Confusion",
    "Evaluator",
    "EvaluatorInput",
    "Exact",
    "Expected",
    "Gate",
    "GateResult",
    "Judge",
    "Label",
    "Messages",
    "Numeric",
    "PathExpected",
    "Price",
    "Report",
    "Results",
    "RoundsExpected",
    "RunDiagnosis",
    "Savings",
    "Schema",
    "Score",
    "Similarity",
    "Suite",
    "Sweep",
    "Trial",
    "Used",
    "ablame",
    "arun_suite",
    "as_evaluation_report",
    "as_html",
    "as_junit",
    "as_markdown",
    "as_text",
    "asweep",
    "blame",
    "calibrate",
    "cases_of",
    "compare",
    "comparison_sections",
    "confusion",
    "load_suite",
    "load_target",
    "locate",
    "read_labels",
    "read_results",
    "read_suite",
    "run_suite",
    "savings",
    "sections",
    "summarise",
    "sweep",
    "used_calls",
]
