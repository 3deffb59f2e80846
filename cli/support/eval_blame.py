"""`stepgraph eval blame`: which node made B worse than A, or where one run went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click

from ...evals.diagnosis.blame import ablame
from ...evals.diagnosis.findings import GraftPlan
from ...evals.diagnosis.locate import case_of, locate
from ...evals.diagnosis.sections import blame_sections, located_sections
from ...evals.files.results import Results, read_results
from ...evals.files.suite_file import read_suite
from ...evals.suite.loading import load_suite, load_target
from ...evals.suite.model import Suite
from ...runners.bindings import known_models, parse_models
from ...runners.loading import Compiled, load_graph
from ...runners.user_code import is_inside, other_checkout
from ...state.database import Database
from ...state.errors import InputError
from ..exit_codes import ExitCode
from .eval_run import show_sections
from .limits import parse_budget
from .show import open_session


def blame_runs(
    a: str,
    b: str | None,
    *,
    case: str | None,
    reference: str | None,
    graph: str | None,
    old: str | None,
    folder: Path,
    graft: bool,
    jobs: int | None,
    limits: Sequence[str],
    models: Sequence[str],
    database: Database,
    as_json: bool,
    files: Mapping[str, Path | None],
) -> ExitCode:
    """Blame a node for what B lost against A, or say where the thread A went wrong; return the exit code."""
    if b is None:
        return _locate(a, case, reference, folder, database, as_json, files)
    if case is not None:
        raise InputError("--case is for one thread: give one thread, or two runs without --case.")
    before, after = _results(a, folder), _results(b, folder)
    suite = _suite(reference, after)
    suite = replace(suite, budget=parse_budget(limits), concurrency=jobs or suite.concurrency)
    loaded = load_target(suite, graph)
    bound = parse_models(models) or known_models(after.header.models, f"The run {after.header.run!r}")
    beside = None if old is None else _old_version(old)
    theirs = {} if old is None else known_models(before.header.models, f"The run {before.header.run!r}")
    with open_session(database) as session:
        work = ablame(
            before,
            after,
            suite,
            loaded.graph,
            session,
            graft=graft,
            announce=_announce,
            models=bound,
            old=beside,
            old_models=theirs,
        )
        result = asyncio.run(work)
    show_sections(blame_sections(result), asdict(result), as_json, files)
    return ExitCode.DONE if result.complete else ExitCode.PARTIAL


def _old_version(reference: str) -> Compiled:
    """Return the graph of another checkout; its modules may have the names of those that are loaded."""
    place, _, attribute = reference.rpartition(":")
    path = Path(place or reference).absolute()
    if path.suffix != ".py":
        raise InputError(
            f"--old {reference} names no file. Expected a file of the old version's checkout: "
            "../before/desk.py:graph."
        )
    with other_checkout(path.parent):
        return load_graph(f"{path}:{attribute}" if attribute else str(path)).graph


def _announce(plan: GraftPlan) -> None:
    """Say what the grafts may take before the first one runs, beside what the command prints."""
    click.echo(f"{plan} Most end earlier; --budget limits what they cost.", err=True)


def _locate(
    thread: str,
    case: str | None,
    reference: str | None,
    folder: Path,
    database: Database,
    as_json: bool,
    files: Mapping[str, Path | None],
) -> ExitCode:
    if reference is None:
        parts = thread.split("/")
        if parts[0] != "eval" or len(parts) < 3:
            raise InputError("Give the suite that the thread is to be measured by: --suite SUITE.")
        suite = _suite(None, _results(parts[1], folder))
    else:
        suite = load_suite(reference)
    with open_session(database) as session:
        result = asyncio.run(locate(session, suite, thread, case_of(suite, thread, case)))
    show_sections(located_sections(result), asdict(result), as_json, files)
    return ExitCode.DONE


def _results(text: str, folder: Path) -> Results:
    """Return the results of a file, or of a run by its name."""
    path = Path(text)
    return read_results(path if path.suffix == ".jsonl" or path.exists() else folder / f"{text}.jsonl")


def _suite(reference: str | None, results: Results) -> Suite:
    if reference is not None:
        return load_suite(reference)
    source = results.header.source
    if source is None:
        raise InputError(
            f"The run {results.header.run!r} does not say which file its suite is. Give it: --suite SUITE."
        )
    if not is_inside(Path(source)):
        raise InputError(f"The run's suite {source} lies outside this folder. Name it: --suite SUITE.")
    return read_suite(source)
