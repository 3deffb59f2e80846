"""`stepgraph eval`: run a suite, report on it, compare two versions."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from ...evals.files.results import Results, Trial, read_results
from ...evals.report.gates import needs_baseline
from ...evals.report.junit import as_junit
from ...evals.report.render import as_html, as_markdown, as_text
from ...evals.report.sections import Section, comparison_sections, problem_of, sections
from ...evals.report.summary import Outcome, Report, summarise
from ...evals.running.runner import arun_suite, new_run
from ...evals.statistics.compare import compare
from ...evals.suite.check import check_suite
from ...evals.suite.loading import load_suite, load_target
from ...evals.suite.model import Suite
from ...evals.suite.targets import target_of
from ...runners.bindings import parse_models, using_named
from ...state.cost import NOTHING
from ...state.database import Database, option_for
from ...state.errors import InputError, did_you_mean
from ...state.money import shown
from ...state.private_files import make_folder, open_private
from ...state.session.session import Session
from ...state.statuses import Lane
from ...tracing.record.text import clean, one_line
from ..exit_codes import ExitCode
from .limits import parse_budget

OUTCOMES: dict[Outcome, ExitCode] = {
    "passed": ExitCode.DONE,
    "failed": ExitCode.FAILED,
    "partial": ExitCode.PARTIAL,
}


def run_eval(
    reference: str,
    *,
    graph: str | None,
    name: str | None,
    folder: Path,
    baseline: Path | None,
    no_baseline: bool,
    only: Sequence[str],
    repeats: int | None,
    jobs: int | None,
    limits: Sequence[str],
    models: Sequence[str],
    database: Database,
    as_json: bool,
    files: dict[str, Path | None],
    langfuse: bool = False,
    lane: Lane | None = None,
) -> ExitCode:
    """Run a suite and return the exit code; what Langfuse does with it does not change that."""
    suite = with_options(_only(load_suite(reference), only), repeats, jobs, limits)
    loaded = load_target(suite, graph)
    check_suite(suite, target_of(loaded.graph, suite.node))
    before = read_results(baseline) if baseline is not None else None
    if needs_baseline(tuple(suite.gates)) and before is None and not no_baseline:
        raise InputError(
            "A gate compares with a baseline: give --baseline RESULTS.jsonl, or --no-baseline for the "
            "first run."
        )
    bound = parse_models(models)
    run = name or new_run(suite)
    path = folder / f"{run}.jsonl"
    project = None
    if langfuse:
        from .eval_push import find_project

        project = find_project()
    again = f"stepgraph eval run {reference} --run {run}{' --lane batch' if lane == 'batch' else ''}"
    progress = EvalProgress(quiet=as_json)
    with Session(database) as session, using_named(bound):
        work = arun_suite(
            suite,
            loaded.graph,
            session,
            run=run,
            results=path,
            models=bound,
            progress=progress,
            lane=lane or "live",
        )
        try:
            results = asyncio.run(work)
        except (KeyboardInterrupt, asyncio.CancelledError):
            progress.end()
            click.echo(f"Stopped. Go on with it: {one_line(again, 1000)}", err=True)
            raise KeyboardInterrupt from None
    progress.end()
    report = summarise(results, before, skip_baseline=no_baseline)
    _show(report, path, as_json, files)
    if not as_json:
        click.echo(f"\nResults: {path}")
        if not report.complete:
            click.echo(f"Go on with it, under a larger budget: {one_line(again, 1000)} --budget …")
        if report.bad:
            thread = one_line(report.bad[0].thread)
            click.echo(f"See what a trial did: stepgraph show {thread}{option_for(database)}")
    if project is not None:
        from .eval_push import push_after

        push_after(suite, results, project, database, reference)
    return OUTCOMES[report.outcome]


def _only(suite: Suite, only: Sequence[str]) -> Suite:
    known = [case.id for case in suite.cases]
    for case in only:
        if case not in known:
            raise InputError(f"The suite has no case {case!r}. {did_you_mean(case, known)}")
    return suite.only(only) if only else suite


def with_options(suite: Suite, repeats: int | None, jobs: int | None, limits: Sequence[str]) -> Suite:
    """Return the suite with what the options of the command line say instead of it."""
    return replace(
        suite,
        repeats=repeats or suite.repeats,
        concurrency=jobs or suite.concurrency,
        budget=parse_budget(limits) if limits else suite.budget,
    )


class EvalProgress:
    """How far a suite is and what it cost so far, on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._cost = NOTHING
        self._bad = 0
        self._last_tenth = -1

    def __call__(self, results: Results, trial: Trial) -> None:
        self._cost += trial.cost
        self._bad += not trial.passed
        if self._quiet:
            return
        done, wanted = len(results.trials), results.wanted
        if not trial.passed:
            self.end()
            click.echo(f"  {one_line(trial.case)}: {one_line(problem_of(trial), 140)}", err=True)
        if not self._live and done * 10 // wanted == self._last_tenth:
            return
        self._last_tenth = done * 10 // wanted
        unknown = " + unknown" if self._cost.unknown else ""
        cost = f"${shown(self._cost.known_usd)}{unknown} so far"
        line = f"{done} of {wanted} trials, {self._bad} failed, {cost}"
        click.echo(f"\r{line}" if self._live else line, err=True, nl=not self._live)

    def end(self) -> None:
        """Leave the line that is rewritten."""
        if self._live and not self._quiet and self._last_tenth >= 0:
            click.echo("", err=True)


def check_eval(reference: str, graph: str | None, *, as_json: bool = False) -> None:
    """Say that a suite fits its graph, or raise what is wrong with it; nothing is asked or paid."""
    suite = load_suite(reference)
    check_suite(suite, target_of(load_target(suite, graph).graph, suite.node))
    trials = len(suite.cases) * suite.repeats
    if as_json:
        sizes = {"suite": suite.name, "cases": len(suite.cases), "trials": trials, "gates": len(suite.gates)}
        click.echo(json.dumps(sizes, ensure_ascii=False))
        return
    counts = f"{len(suite.cases)} cases, {trials} trials, {len(suite.gates)} gates"
    click.echo(clean(f"{suite.name}: {counts}. It fits its graph."))


def report_eval(
    path: Path, *, baseline: Path | None, no_baseline: bool, as_json: bool, files: dict[str, Path | None]
) -> ExitCode:
    """Show the results of an earlier run and return its exit code."""
    before = read_results(baseline) if baseline is not None else None
    report = summarise(read_results(path), before, skip_baseline=no_baseline)
    _show(report, path, as_json, files)
    return OUTCOMES[report.outcome]


def compare_evals(a: Path, b: Path, *, as_json: bool, files: dict[str, Path | None]) -> None:
    """Show how the results B differ from A."""
    comparison = compare(read_results(a), read_results(b))
    if not comparison.differences:
        raise InputError(f"{a} and {b} share no case and metric, so there is nothing to compare.")
    show_sections(comparison_sections(comparison), asdict(comparison), as_json, files)


def _show(report: Report, path: Path, as_json: bool, files: Mapping[str, Path | None]) -> None:
    if (junit := files.get("junit")) is not None:
        _save(junit, as_junit(report))
    show_sections(sections(report), summary(report, path), as_json, files)


def show_sections(
    parts: Sequence[Section],
    values: dict[str, Any],
    as_json: bool,
    files: Mapping[str, Path | None],
) -> None:
    """Write the HTML page and the Markdown that are asked for, then print the sections, or values as JSON."""
    if (page := files.get("html")) is not None:
        _save(page, as_html(parts))
    if (markdown := files.get("markdown")) is not None:
        _save(markdown, as_markdown(parts))
    click.echo(json.dumps(values) if as_json else clean(as_text(parts)))


def _save(path: Path, text: str) -> None:
    try:
        make_folder(path.parent)
        with open_private(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"The report {str(path)!r} cannot be written: {error}.") from None


def summary(report: Report, path: Path) -> dict[str, Any]:
    """Return a report's figures for programs."""
    return {
        "run": report.header.run,
        "suite": report.header.suite,
        "outcome": report.outcome,
        "trials": len(report.trials),
        "wanted": report.wanted,
        "metrics": {metric.name: asdict(metric) for metric in report.metrics},
        "gates": [
            {"gate": str(r.gate), "status": r.status, "measured": r.measured, "why": r.why}
            for r in report.gates
        ],
        "comparison": None if report.comparison is None else asdict(report.comparison),
        "cost_usd": report.cost.usd,
        "judges_usd": report.judged.usd,
        "results": str(path),
    }
