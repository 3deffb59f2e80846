"""`stepgraph eval push`, and `eval run --langfuse`: a run of a suite as an experiment in Langfuse."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import click

from ...evals.files.results import Results, read_results
from ...evals.langfuse.push import ExperimentReceipt, project_of, push_run
from ...evals.suite.loading import load_suite
from ...evals.suite.model import Suite
from ...state.database import Database, option_for
from ...state.session.session import Session
from ...tracing.export.otlp import Destination
from ...tracing.export.settings import read_settings
from ...tracing.record.text import clean, one_line
from ..exit_codes import ExitCode
from .show import open_session


def find_project() -> Destination:
    """Return the Langfuse project that the environment names. Raises SettingsError without one."""
    return project_of(read_settings().destinations)


def push_eval(reference: str, *, name: str, folder: Path, database: Database, as_json: bool) -> ExitCode:
    """Send a run of a suite, and return the exit code: DONE, or NOT_SENT if something still waits."""
    results = read_results(folder / f"{name}.jsonl")
    header = results.header
    suite = replace(load_suite(reference).only(list(header.cases)), repeats=header.repeats)
    project = find_project()
    with open_session(database) as session:
        pushed = push_run(suite, results, session, project)
    click.echo(json.dumps(asdict(pushed)) if as_json else clean(receipt_text(pushed)))
    return ExitCode.NOT_SENT if pushed.problem else ExitCode.DONE


def push_after(
    suite: Suite, results: Results, project: Destination, database: Database, reference: str
) -> None:
    """Send a run that has just ended, and report on standard error what arrived."""
    with Session(database) as session:
        pushed = push_run(suite, results, session, project)
    click.echo(clean(receipt_text(pushed)), err=True)
    if pushed.problem:
        again = f"stepgraph eval push {reference} --run {results.header.run}{option_for(database)}"
        click.echo(f"Nothing is lost. Send the rest with: {one_line(again, 1000)}", err=True)


def receipt_text(pushed: ExperimentReceipt) -> str:
    """Return what Langfuse has of a run, in one or two lines."""
    sent = f"{pushed.items} items, {pushed.traces} traces, {pushed.scores} scores"
    line = f"Langfuse: the dataset {pushed.dataset!r} has {sent} of this run."
    if pushed.problem:
        return f"{line} {pushed.problem}."
    return f"{line}\n{pushed.url}"
