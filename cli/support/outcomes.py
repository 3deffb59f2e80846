"""How a run ended, told to a reader or to a program."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import click

from ...runners.bindings import model_options
from ...state.database import option_for
from ...state.session.session import Session
from ...tracing.record.reads import cost_of_calls, read_calls
from ...tracing.record.text import clean, cost_line, duration, estimates_json, one_line, show_value
from ...tracing.record.threads import find_thread
from ..exit_codes import ExitCode
from .text import asked_lines

OutcomeStatus = Literal["done", "partial", "interrupted", "failed", "refused"]


@dataclass
class RunOutcome:
    """How a run ended; `output` is its state as JSON, `unmerged` what no field holds yet.

    `asked` is what its reviews show. `timed` says that it waits for times only, so that nobody is asked
    anything.
    """

    thread: str
    status: OutcomeStatus
    code: ExitCode
    seconds: float = 0.0
    output: Any = None
    error: str | None = None
    reviews: int = 0
    asked: list[Any] = field(default_factory=list)
    timed: bool = False
    rejected: bool = False
    unmerged: dict[str, list[str]] = field(default_factory=dict)
    ended_early: str | None = None
    cut: tuple[str, ...] = ()


def outcome_json(session: Session, outcome: RunOutcome) -> dict[str, Any]:
    cost = cost_of_calls(read_calls(session.journal, outcome.thread))
    return {
        "thread": outcome.thread,
        "status": outcome.status,
        "output": outcome.output,
        **({"unmerged": outcome.unmerged} if outcome.unmerged else {}),
        **({"cut": list(outcome.cut)} if outcome.cut else {}),
        **({"ended_early": outcome.ended_early} if outcome.ended_early else {}),
        "error": outcome.error,
        **({"asked": [_question_row(question) for question in outcome.asked]} if outcome.asked else {}),
        "calls": cost.calls,
        "input_tokens": cost.input_tokens,
        "output_tokens": cost.output_tokens,
        "cost_usd": cost.usd,
        **(estimates_json(cost) if cost.estimated_tokens or cost.estimated_usd else {}),
        "seconds": round(outcome.seconds, 3),
    }


def _question_row(question: Mapping[str, Any]) -> dict[str, Any]:
    return {name: question.get(name) for name in ("review", "question", "field", "value")}


def print_outcome(outcome: RunOutcome, data: Mapping[str, Any]) -> None:
    for name, value in (outcome.output or {}).items():
        if data.get(name) != value and value not in (None, "", [], {}):
            shown = show_value(value).replace("\n", "\n        ")
            click.echo(f"    {name}: {shown}")
    for path, answers in outcome.unmerged.items():
        for answer in answers:
            click.echo(f"    ({path}): {show_value(answer)}".replace("\n", "\n        "))
    colour = {"done": "green", "interrupted": "yellow", "partial": "yellow"}.get(outcome.status, "red")
    click.secho(f"  {outcome.status}", fg=colour, nl=False)
    early = outcome.ended_early and f"ended early, {outcome.ended_early}"
    why = outcome.error or early
    click.echo(f" in {duration(outcome.seconds)}" + (f": {clean(why)}" if why else ""))
    for question in outcome.asked:
        for line in asked_lines(question, "    "):
            click.echo(line)
    click.echo()


def print_summary(session: Session, outcomes: list[RunOutcome], seconds: float) -> None:
    began = time.time() - seconds  # before anything is read, which may take a while
    calls = [call for outcome in outcomes for call in read_calls(session.journal, outcome.thread)]
    cost = cost_of_calls(call for call in calls if call["started_at"] >= began)
    states = ", ".join(
        f"{sum(o.status == status for o in outcomes)} {status}"
        for status in dict.fromkeys(o.status for o in outcomes)
    )
    click.echo(f"{states}; {cost.calls} model calls, {cost_line(cost)}, {duration(seconds)}.")
    if cost.calls < len(calls):
        whole = cost_of_calls(calls)
        click.echo(f"With what was done before: {whole.calls} model calls, {cost_line(whole)}.")
    ran = [outcome for outcome in outcomes if outcome.status != "refused"]
    if ran:
        option = option_for(session.database)
        click.echo(f"See every step of a run:  stepgraph show {_typed(ran[0].thread)}{option}")
        for outcome in ran:
            if outcome.rejected:
                thread = _typed(outcome.thread)
                click.echo(
                    f"A rejection stands. To decide otherwise, fork: stepgraph history {thread}{option}"
                )
            elif outcome.status != "done":
                option = model_options(find_thread(session.journal, outcome.thread).models) + option
                if outcome.timed:
                    click.echo(f"Go on when it is time:     stepgraph resume --due{option}")
                    break
                rest = {"interrupted": " --answer …", "partial": " --budget …"}.get(outcome.status, "")
                verb = "approve" if outcome.reviews else "resume"
                rest = "" if outcome.reviews else rest
                click.echo(
                    f"Go on with it:            stepgraph {verb} {_typed(outcome.thread)}{rest}{option}"
                )
                if outcome.reviews:
                    click.echo("Or: reject --reason …, edit --value …; `stepgraph pending` lists what waits.")
            else:
                continue
            break


def _typed(thread: str) -> str:
    """Return a thread's name as one types it in a shell."""
    return shlex.quote(one_line(thread, 1000))
