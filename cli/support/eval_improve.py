"""`stepgraph eval improve`: a better prompt for one node, if held-out cases say so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from ...evals.improving.improve import aimprove
from ...evals.improving.plan import ImprovePlan
from ...evals.improving.sections import improve_sections, plan_lines
from ...evals.improving.template import Part
from ...evals.running.runner import new_run
from ...evals.suite.loading import load_suite, load_target
from ...runners.bindings import parse_models, using_named
from ...state.database import Database
from ...state.errors import InputError
from ...state.private_files import make_folder, open_private
from ...state.session.session import Session
from ...tracing.record.text import clean, one_line
from ..exit_codes import ExitCode
from .eval_run import show_sections, with_options
from .limits import parse_budget


def improve_prompt(
    reference: str,
    node: str,
    *,
    graph: str | None,
    metric: str | None,
    part: Part | None,
    seed: int,
    held_out: float,
    rounds: int,
    name: str | None,
    folder: Path,
    repeats: int | None,
    jobs: int | None,
    limits: Sequence[str],
    models: Sequence[str],
    write: Path | None,
    force: bool,
    database: Database,
    as_json: bool,
    files: Mapping[str, Path | None],
) -> ExitCode:
    """Look for a better prompt and return the exit code; without one, nothing is written."""
    there = None if write is None else _there(write)
    if there is not None and not force:
        raise InputError(f"--write {str(write)!r}: there is a file of that name. --force replaces it.")
    suite = with_options(load_suite(reference), repeats, jobs, ())
    loaded = load_target(suite, graph)
    run = name or new_run(suite)

    def announce(line: str) -> None:
        if not as_json:
            click.echo(clean(line), err=True)

    def starting(plan: ImprovePlan) -> None:
        for line in plan_lines(plan):
            announce(line)

    with Session(database) as session, using_named(parse_models(models)):
        work = aimprove(
            suite,
            loaded.graph,
            session,
            node,
            budget=parse_budget(limits) if limits else None,
            metric=metric,
            run=run,
            folder=folder,
            seed=seed,
            held_out=held_out,
            rounds=rounds,
            part=part,
            starting=starting,
            announce=announce,
        )
        try:
            result = asyncio.run(work)
        except (KeyboardInterrupt, asyncio.CancelledError):
            click.echo(f"Stopped. Go on with it: the same command with --run {one_line(run)}", err=True)
            raise KeyboardInterrupt from None
    show_sections(improve_sections(result), asdict(result), as_json, files)
    if result.verdict == "better" and write is not None:
        _write(write, result.template.text, there)
        announce(f"\nThe new prompt is in {write}. Put it in the code of {node} yourself.")
    elif not (as_json or result.complete):
        click.echo(f"Go on with it, under a larger budget: the same command with --run {one_line(run)}")
    return ExitCode.DONE if result.complete else ExitCode.PARTIAL


def _there(path: Path) -> bytes | None:
    """Return what is in a file, None where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"The prompt {str(path)!r} cannot be written: {error}.") from None


def _write(path: Path, text: str, before: bytes | None) -> None:
    """Write the prompt; a file that somebody has written since this began stays."""
    if _there(path) != before:
        raise InputError(
            f"{str(path)!r} was changed meanwhile, so the new prompt, which the report shows, was not "
            "written. The same command again pays nothing for what is on record: give --write another name."
        )
    try:
        make_folder(path.parent)
        with open_private(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise InputError(f"The prompt {str(path)!r} cannot be written: {error}.") from None
