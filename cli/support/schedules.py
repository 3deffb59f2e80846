"""`stepgraph schedule`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from ...runners.loading import load_graph
from ...runners.scheduling import schedule, scheduled, schedules, shown_time
from ...state.database import Database
from ...state.errors import InputError
from ...state.journal.schedules import ScheduleRecord
from ...state.session.session import Session
from ...state.statuses import Lane
from ...tracing.record.text import one_line
from .inputs import read_inputs
from .limits import parse_age, parse_budget

DONE: Final = {"pause": "paused", "resume": "goes on", "remove": "removed"}


def add_schedule(
    name: str,
    graph: str,
    *,
    inputs: Sequence[str],
    every: str | None,
    cron: str | None,
    timezone: str,
    missed: Any,
    limits: Sequence[str],
    cache_s: str | None,
    lane: Lane | None,
    database: Database,
    on: str | None,
) -> None:
    """Add a schedule, after its input was checked against its graph's state."""
    items = read_inputs(inputs, load_graph(graph).state)
    if len(items) != 1:
        raise InputError("Each job of a schedule begins with the same input: give one.")
    if items[0].error:
        raise items[0].error
    with Session(database) as session:
        added = schedule(
            name,
            graph,
            items[0].data,
            every=None if every is None else parse_age(every),
            cron=cron,
            timezone=timezone,
            missed=missed,
            db=session,
            on=on,
            budget=parse_budget(limits),
            cache_s=None if cache_s is None else parse_age(cache_s),
            lane=lane,
        )
        click.echo(_line(added.record()))


def list_schedules(*, database: Database, as_json: bool) -> None:
    """Print all schedules."""
    with Session(database) as session:
        rows = schedules(session)
        for each in rows:
            click.echo(json.dumps(asdict(each)) if as_json else _line(each))
        if not rows and not as_json:
            click.echo("There are no schedules.")


def change_schedule(name: str, what: str, *, database: Database, on: str | None) -> None:
    """Do to a schedule what its handle does."""
    with Session(database) as session:
        handle = scheduled(name, db=session, on=on)
        begun = getattr(handle, what)()
        if what == "remove":
            click.echo(f"{one_line(name)}  {DONE[what]}")
        elif what == "run_now":
            click.echo(f"{one_line(begun)}  begins. Wait for it: stepgraph resume {one_line(begun)}")
        else:
            click.echo(_line(handle.record()))


def _line(each: ScheduleRecord) -> str:
    zone = ZoneInfo(each.timezone)
    when = f"{each.cron} ({each.timezone})" if each.cron else f"each {each.every_s:g} s"
    parts = [one_line(each.name), one_line(each.graph), when, f"on {each.engine}"]
    if each.status == "paused":
        parts.append("paused")
    elif each.engine.startswith("temporal:"):
        parts.append("its times are in Temporal")
    else:
        parts.append(f"next {shown_time(each.next_at, zone)}")
    if each.last_at is not None:
        parts.append(f"last {shown_time(each.last_at, zone)}")
    return "  ".join(parts)
