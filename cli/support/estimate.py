"""`stepgraph estimate`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import click

from ...graphs.cost_bound import Estimate, StepEstimate, estimate
from ...providers.keys import asking_nobody
from ...runners.bindings import check_roles, parse_models, using_named
from ...runners.loading import load_graph
from ...state.budget import ThreadBudgets
from ...state.database import Database, is_missing
from ...state.journal.budget_reads import accounts_of
from ...state.session.budget_rules import ruled, scopes_of
from ...state.session.session import Session
from ...state.statuses import Lane
from ...tracing.record.text import clean, money
from .budget_lines import account_lines
from .inputs import read_inputs


def show_estimate(
    reference: str,
    *,
    inputs: Sequence[str],
    models: Sequence[str],
    lane: Lane | None = None,
    database: Database,
    as_json: bool,
) -> None:
    """Print what a run can cost, and what runs cost before."""
    loaded = load_graph(reference)
    state = None
    if inputs:
        first = read_inputs(inputs, loaded.state)[0]
        if first.error:
            raise first.error
        state = first.state
    bound = parse_models(models)
    check_roles(bound, loaded.graph)
    with ExitStack() as stack:
        session = None if is_missing(database) else stack.enter_context(Session(database))
        stack.enter_context(asking_nobody())
        stack.enter_context(using_named(bound))
        result = estimate(loaded.graph, state, session=session, lane=lane or "live")
        budgets = () if session is None else ruled(scopes_of(graph=result.graph))
        limits = [] if session is None else accounts_of(session.journal, ThreadBudgets(ruled=budgets))
    click.echo(json.dumps(_plain(asdict(result))) if as_json else _shown(result))
    for line in [] if as_json else [line for account in limits for line in account_lines(account)]:
        click.echo(f"budget: {line}")


def _plain(value: Any) -> Any:
    """Return what JSON can hold; infinite becomes "unbounded"."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return "unbounded" if isinstance(value, float) and math.isinf(value) else value


def _shown(result: Estimate) -> str:
    lines = [f"{result.graph}: what one run can cost"]
    width = max((len(step.step) for step in result.steps), default=0)
    lines += [_step_line(step, width) for step in result.steps]
    lines += [
        f"calls:  {_range(result.least_calls, result.most_calls)}; "
        f"{_number(result.worst_calls)} if every answer must be asked for as often as its step tries",
        f"tokens: {'unknown' if result.tokens is None else f'at most {_number(result.tokens)}'}",
        f"cost:   {_money(result.usd)}",
    ]
    lines += [f"  unknown: {text}" for text in result.unknown]
    if past := result.past:
        runs = f"{past.runs} finished run{'s' if past.runs > 1 else ''}"
        lines.append(
            f"{runs} on record: on average {past.calls:.1f} calls, {past.tokens:,.0f} tokens, "
            f"{_average(past.usd)}; at most {past.most_calls} calls, {money(past.most_usd)}"
        )
    return clean("\n".join(lines))


def _step_line(step: StepEstimate, width: int) -> str:
    prompt = "?" if step.prompt_tokens is None else f"{step.prompt_tokens:,}"
    how = {"past": " (the longest so far)", "input": " (at most, as given)", None: ""}[step.prompt_from]
    answer = "?" if step.answer_tokens is None else f"{step.answer_tokens:,}"
    price = "" if step.usd_per_call is None else f", {money(step.usd_per_call)} a call"
    return (
        f"  {step.step:{width}}  {_range(step.least, step.most)} x {step.model or 'no model'}: "
        f"prompt {prompt}{how} + answer {answer} tokens{price}"
    )


def _range(low: float, high: float) -> str:
    return _number(high) if low == high else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return "unbounded" if math.isinf(value) else f"{value:,.0f}"


def _average(usd: float | None) -> str:
    return money(usd if usd is None else float(f"{usd:.3g}"))


def _money(usd: float | None) -> str:
    if usd is None:
        return "unknown"
    return "unbounded" if math.isinf(usd) else f"at most {money(usd)}"
