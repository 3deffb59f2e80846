"""`stepgraph eval sweep`: the cheapest models that keep a suite's scores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from ...evals.report.render import as_text
from ...evals.running.runner import new_run
from ...evals.suite.loading import load_suite, load_target
from ...evals.sweeps.assignment import Axis
from ...evals.sweeps.frontier import shown, sweep_sections
from ...evals.sweeps.sweep import asweep
from ...providers.settings import binding_of, parse_binding
from ...providers.stack.roles import using
from ...runners.bindings import parse_models
from ...state.errors import InputError
from ...state.session.session import Session
from ..exit_codes import ExitCode
from .eval_run import EvalProgress, write_sections
from .limits import parse_budget
from .text import clean, one_line


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
    database: Path,
    as_json: bool,
    files: Mapping[str, Path | None],
) -> ExitCode:
    """Sweep a suite's models and return the exit code."""
    suite = load_suite(reference)
    changes: dict[str, Any] = {"repeats": repeats or suite.repeats, "concurrency": jobs or suite.concurrency}
    if limits:
        changes["budget"] = parse_budget(limits)
    suite = replace(suite, **changes)
    loaded = load_target(suite, graph)
    axes, fixed = _axes(models, steps)
    candidates = {spec for axis in axes for spec in axis.models}
    settings = {name: binding for name in candidates if (binding := binding_of(name)) is not None}
    run = name or new_run(suite)

    def starting(named: Mapping[str, str]) -> None:
        if not as_json:
            click.echo(clean(shown(named)), err=True)

    with Session(database) as session, using(**fixed):
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
        )
        try:
            found = asyncio.run(work)
        except (KeyboardInterrupt, asyncio.CancelledError):
            click.echo(f"Stopped. Go on with it: the same command with --run {one_line(run)}", err=True)
            raise KeyboardInterrupt from None
    parts = sweep_sections(found)
    write_sections(parts, files)
    if as_json:
        best = found.cheapest
        told = {**asdict(found), "cheapest": None if best is None else dict(best.models)}
        click.echo(json.dumps(told))
    else:
        click.echo(clean(as_text(parts)))
        if not found.complete:
            click.echo(f"Go on with it, under a larger budget: the same command with --run {one_line(run)}")
    return ExitCode.DONE if found.complete else ExitCode.PARTIAL


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
