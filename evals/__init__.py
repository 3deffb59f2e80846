"""How good a workflow is: suites of cases, scores, statistics, reports, and what to blame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..state.lazy_names import lazy_names

if TYPE_CHECKING:
    from ..providers.prices import Price as Price
    from .diagnosis.blame import ablame as ablame, blame as blame
    from .diagnosis.findings import Blame as Blame
    from .diagnosis.locate import RunDiagnosis as RunDiagnosis, locate as locate
    from .files.pydantic_evals import as_evaluation_report as as_evaluation_report, cases_of as cases_of
    from .files.results import Results as Results, Trial as Trial, read_results as read_results
    from .files.suite_file import read_suite as read_suite
    from .improving.improve import Improvement as Improvement, aimprove as aimprove, improve as improve
    from .langfuse.imports import import_dataset as import_dataset, import_export as import_export
    from .replays.cases import CaseDifference as CaseDifference
    from .replays.replay import ReplayReport as ReplayReport, areplay as areplay, replay as replay
    from .replays.sections import replay_sections as replay_sections
    from .report.gates import GateResult as GateResult
    from .report.junit import as_junit as as_junit
    from .report.render import as_html as as_html, as_markdown as as_markdown, as_text as as_text
    from .report.sections import comparison_sections as comparison_sections, sections as sections
    from .report.summary import Report as Report, summarise as summarise
    from .running.runner import arun_suite as arun_suite, run_suite as run_suite
    from .scoring.agreement import Agreement as Agreement
    from .scoring.evaluators import (
        Code as Code,
        Exact as Exact,
        Numeric as Numeric,
        Schema as Schema,
        Similarity as Similarity,
    )
    from .scoring.judge import (
        Judge as Judge,
        Label as Label,
        calibrate as calibrate,
        read_labels as read_labels,
    )
    from .scoring.openevals import Messages as Messages
    from .scoring.tool_matching import ToolCalls as ToolCalls
    from .statistics.compare import Comparison as Comparison, compare as compare
    from .statistics.confusion import Confusion as Confusion, confusion as confusion
    from .suite.loading import load_suite as load_suite, load_target as load_target
    from .suite.model import (
        Case as Case,
        Evaluator as Evaluator,
        EvaluatorInput as EvaluatorInput,
        Expected as Expected,
        Gate as Gate,
        PathExpected as PathExpected,
        RoundsExpected as RoundsExpected,
        Score as Score,
        Suite as Suite,
        ToolUse as ToolUse,
    )
    from .sweeps.assignment import Axis as Axis
    from .sweeps.frontier import Sweep as Sweep
    from .sweeps.savings import Savings as Savings, Used as Used, savings as savings, used_calls as used_calls
    from .sweeps.sweep import asweep as asweep, sweep as sweep
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "..providers.prices": "Price",
            ".diagnosis.blame": "ablame blame",
            ".diagnosis.findings": "Blame",
            ".diagnosis.locate": "RunDiagnosis locate",
            ".files.pydantic_evals": "as_evaluation_report cases_of",
            ".files.results": "Results Trial read_results",
            ".files.suite_file": "read_suite",
            ".improving.improve": "Improvement aimprove improve",
            ".langfuse.imports": "import_dataset import_export",
            ".replays.cases": "CaseDifference",
            ".replays.replay": "ReplayReport areplay replay",
            ".replays.sections": "replay_sections",
            ".report.gates": "GateResult",
            ".report.junit": "as_junit",
            ".report.render": "as_html as_markdown as_text",
            ".report.sections": "comparison_sections sections",
            ".report.summary": "Report summarise",
            ".running.runner": "arun_suite run_suite",
            ".scoring.agreement": "Agreement",
            ".scoring.evaluators": "Code Exact Numeric Schema Similarity",
            ".scoring.judge": "Judge Label calibrate read_labels",
            ".scoring.openevals": "Messages",
            ".scoring.tool_matching": "ToolCalls",
            ".statistics.compare": "Comparison compare",
            ".statistics.confusion": "Confusion confusion",
            ".suite.loading": "load_suite load_target",
            ".suite.model": "Case Evaluator EvaluatorInput Expected Gate PathExpected "
            "RoundsExpected Score Suite ToolUse",
            ".sweeps.assignment": "Axis",
            ".sweeps.frontier": "Sweep",
            ".sweeps.savings": "Savings Used savings used_calls",
            ".sweeps.sweep": "asweep sweep",
        },
    )
