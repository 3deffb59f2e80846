"""`stepgraph eval sweep`: the cheapest models that keep a suite's scores."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from ...evals.running.runner import new_run
from ...evals.suite.loading import load_suite, load_target
from ...evals.sweeps.assignment import Axis
from ...evals.sweeps.frontier import shown, sweep_sections
from ...evals.sweeps.sweep import asweep
from ...providers.settings import binding_of, parse_binding
from ...runners.bindings import parse_models, using_named
from ...state.database import Database
from ...state.errors import InputError
from ...state.session.session import Session
from ...state.statuses import Lane
from ...tracing.record.text import clean, one_line
from ..exit_codes import ExitCode
from .eval_run import EvalProgress, show_sections, with_options


def run_sweep(
    reference: str,
    *,
    graph: str | None,
    models: Sequence[str],
    steps: Sequence[str],
    metrics: Sequence[str],
    margin: float,
    name: str | None,
    folder: Path,
    repeats: int | None,
    jobs: int | None,
    limits: Sequence[str],
    database: Database,
    as_json: bool,
    files: Mapping[str, Path | None],
    lane: Lane | None = None,
) -> ExitCode:
    """Sweep a suite's models and return the exit code."""
    suite = with_options(load_suite(reference), repeats, jobs, limits)
    loaded = load_target(suite, graph)
    axes, fixed = _axes(models, steps)
    candidates = {spec for axis in axes for spec in axis.models}
    settings = {spec: binding for spec in candidates if (binding := binding_of(spec)) is not None}
    run = name or new_run(suite)

    def starting(named: Mapping[str, str]) -> None:
        if not as_json:
            click.echo(clean(shown(named)), err=True)

    with Session(database) as session, using_named(fixed):
        work = asweep(
            suite,
            loaded.graph,
            session,
            axes,
            models=settings,
            run=run,
            folder=folder,
            metrics=metrics,
            margin=margin,
            starting=starting,
            progress=EvalProgress(quiet=as_json),
            lane=lane or "live",
        )
        try:
            result = asyncio.run(work)
        except (KeyboardInterrupt, asyncio.CancelledError):
            click.echo(f"Stopped. Go on with it: the same command with --run {one_line(run)}", err=True)
            raise KeyboardInterrupt from None
    best = result.cheapest
    values = {**asdict(result), "cheapest": None if best is None else dict(best.models)}
    show_sections(sweep_sections(result), values, as_json, files)
    if not (as_json or result.complete):
        click.echo(f"Go on with it, under a larger budget: the same command with --run {one_line(run)}")
    return ExitCode.DONE if result.complete else ExitCode.PARTIAL


def _axes(models: Sequence[str], steps: Sequence[str]) -> tuple[list[Axis], dict[str, str]]:
    """Return what is swept, and what is bound as it is."""
    axes: list[Axis] = []
    fixed: list[str] = []
    for text in models:
        role, sign, specs = text.partition("=")
        if not sign or "," not in specs:
            fixed.append(text)
        else:
            axes.append(Axis(role.lower(), _specs(specs, f"--model {text}")))
    for text in steps:
        step, sign, specs = text.partition("=")
        if not sign:
            raise InputError(f"--step {text}: expected STEP=SPEC,SPEC…")
        axes.append(Axis(step, _specs(specs, f"--step {text}"), "step"))
    return axes, parse_models(fixed)


def _specs(text: str, where: str) -> tuple[str, ...]:
    """Return the models of a list: specs, or roles that the settings bind."""
    specs = tuple(spec.strip() for spec in text.split(",") if spec.strip())
    for spec in specs:
        if binding_of(spec) is None:
            parse_binding(spec, where)
    return specs
