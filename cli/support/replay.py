"""`stepgraph replay`: recorded runs through a changed graph."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ...evals.langfuse.imports import import_dataset, import_export
from ...evals.replays.pairs import Choice, Pair, decide
from ...evals.replays.replay import ReplayReport, areplay, report_of
from ...evals.replays.sections import replay_sections
from ...evals.replays.selection import EXAMPLE
from ...evals.suite.loading import load_suite
from ...evals.suite.model import Evaluator
from ...runners.bindings import check_models, parse_models, using_named
from ...runners.loading import load_graph
from ...state.database import Database, option_for
from ...state.errors import InputError
from ...state.json_text import json_text
from ...state.session.session import Session
from ...tracing.record.text import clean, one_line
from ..exit_codes import ExitCode
from .eval_push import find_project
from .eval_run import show_sections
from .show import open_session

ANSWERS: dict[str, Choice | None] = {"1": "first", "2": "second", "0": "tie", "q": None}


def replay_runs(
    reference: str,
    *,
    runs: str,
    export: Path | None,
    dataset: str | None,
    name: str | None,
    seed: int,
    effects: Sequence[str],
    tools: bool,
    usd: float | None,
    dry_run: bool,
    judge: str | None,
    person: bool,
    fields: Sequence[str],
    suite: str | None,
    everything: bool,
    jobs: int,
    models: Sequence[str],
    database: Database,
    as_json: bool,
    files: Mapping[str, Path | None],
) -> ExitCode:
    """Replay recorded runs, print what differs, and return the exit code."""
    loaded = load_graph(reference)
    bound = parse_models(models)
    check_models(bound, loaded.graph)
    if not runs and export is None and dataset is None:
        raise InputError(f"Say which runs: --runs {EXAMPLE!r}, --langfuse-export FILE or --dataset NAME.")
    progress = _Progress(quiet=as_json)
    opened = Session(database) if export is not None or dataset is not None else open_session(database)
    with opened as session, using_named(bound):
        report = asyncio.run(
            areplay(
                loaded.graph,
                session,
                runs,
                threads=_imported(session, export, dataset),
                run=name,
                seed=seed,
                allow_effects=effects,
                allow_tools=tools,
                usd=usd,
                dry_run=dry_run,
                judge=judge,
                fields=fields,
                evaluators=_evaluators(suite),
                jobs=jobs,
                reference=loaded.reference,
                models=bound,
                progress=progress,
            )
        )
        progress.end()
        if person:
            report = _decided(session, report, fields)
    show_sections(replay_sections(report, everything), values_of(report), as_json, files)
    if not as_json:
        _print_report(report, database)
    return ExitCode.DONE if report.complete else ExitCode.PARTIAL


def _imported(session: Session, export: Path | None, dataset: str | None) -> list[str] | None:
    """Return the threads of what is imported from Langfuse, None where nothing is."""
    if export is None and dataset is None:
        return None
    threads = [] if export is None else import_export(session, export)
    if dataset is not None:
        client = find_project().client
        threads += [] if client is None else import_dataset(session, client, dataset)
    return list(dict.fromkeys(threads))


def _evaluators(suite: str | None) -> list[Evaluator]:
    if suite is None:
        return []
    evaluators = load_suite(suite).evaluators
    return [each for each in evaluators if not each.needs_expected and each.node is None]


def _print_report(report: ReplayReport, database: Database) -> None:
    shown = next((case for case in report.cases if case.what), None)
    if shown is not None:
        threads = f"{one_line(shown.origin)} {one_line(shown.thread)}"
        click.echo(f"\nSee what one did differently: stepgraph diff {threads}{option_for(database)}")
    if any(case.replayed.status == "interrupted" for case in report.cases):
        click.echo(f"See what waits for a person: stepgraph pending{option_for(database)}")


def values_of(report: ReplayReport) -> dict[str, Any]:
    """Return a report for programs."""
    return {
        "replay": report.plan.name,
        "graph": report.plan.graph,
        "runs": report.plan.runs,
        "seed": report.plan.seed,
        "complete": report.complete,
        "dry_run": report.dry_run,
        "found": report.plan.found,
        "left_out": list(report.plan.left_out),
        "differ": len(report.differing),
        "departures": report.departures,
        "paid": asdict(report.paid),
        "judged": asdict(report.judged),
        "comparison": asdict(report.comparison),
        "cases": [{**asdict(case), "what": list(case.what)} for case in report.cases],
    }


def _decided(session: Session, report: ReplayReport, fields: Sequence[str]) -> ReplayReport:
    """Let a person decide the pairs that nobody did, blind, in an order that the seed draws."""
    cases = decide(session, report.cases, report.plan.seed, _ask, fields)
    return report_of(session, report.plan, cases, report.scores, dry_run=report.dry_run)


def _ask(pair: Pair, number: int, of: int) -> Choice | None:
    click.echo(f"\nPair {number} of {of}", err=True)
    for title, side in (("input", pair.shared_values), ("1", pair.first), ("2", pair.second)):
        click.echo(f"[{title}]", err=True)
        for field, value in side.items():
            text = value if isinstance(value, str) else json_text(value)
            click.echo(clean(f"  {field}: {text}"), err=True)
    choice = click.prompt(
        "Which is better? 1, 2, 0 for neither, q to stop", type=click.Choice(list(ANSWERS)), err=True
    )
    return ANSWERS[choice]


class _Progress:
    """How many runs are replayed, on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._last_tenth = -1

    def __call__(self, done: int, of: int) -> None:
        if self._quiet or (not self._live and done * 10 // of == self._last_tenth):
            return
        self._last_tenth = done * 10 // of
        line = f"{done} of {of} runs replayed"
        click.echo(f"\r{line}" if self._live else line, err=True, nl=not self._live)

    def end(self) -> None:
        """Leave the line that is rewritten."""
        if self._live and not self._quiet and self._last_tenth >= 0:
            click.echo("", err=True)
