"""`stepgraph effects` and `stepgraph effect`."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import asdict
from typing import Any

import click

from ...runners.deciding import system_user
from ...state.database import Database, option_for
from ...state.errors import InputError
from ...state.journal.effects import EffectRecord
from ...tracing.record.text import one_line
from .show import open_session


def show_effects(*, database: Database, as_json: bool) -> None:
    """Print the side effects whose end is not on record."""
    with open_session(database) as session:
        effects = session.undecided_effects()
        busy = {effect.thread_id for effect in effects if session.claims.is_run(effect.thread_id)}
    if as_json:
        for effect in effects:
            row = {**asdict(effect), "error": effect.error, "running": effect.thread_id in busy}
            click.echo(json.dumps({n: v for n, v in row.items() if n != "result"}, ensure_ascii=False))
        return
    if not effects:
        click.echo("Of every side effect it is known whether it happened.")
    for effect in effects:
        click.echo(_line(effect, running=effect.thread_id in busy))


def _line(effect: EffectRecord, *, running: bool) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(effect.started_at))
    why = (
        f"failed: {effect.error}"
        if effect.error
        else "its thread is running"
        if running
        else "its end is not known"
    )
    return f"{one_line(effect.key, 1000)}  {one_line(effect.thread_id)}  {when}  {one_line(why, 160)}"


def decide(
    key: str, *, happened: bool | None, wrote: str | None, by: str | None, change: bool, database: Database
) -> None:
    """Put it on record whether a side effect happened."""
    if happened is None:
        raise InputError("Say whether it happened: --done, or --again if it did not.")
    with open_session(database) as session:
        effect = session.decide_effect(
            key, happened=happened, update=_update(wrote), by=by or system_user(), change=change
        )
    click.echo(f"{one_line(key, 1000)}  {'done' if happened else 'will be done again'}")
    option = option_for(database)
    thread = shlex.quote(one_line(effect.thread_id, 1000))
    click.echo(f"Go on with its thread:  stepgraph resume {thread}{option}")


def _update(wrote: str | None) -> dict[str, Any] | None:
    if wrote is None:
        return None
    try:
        update = json.loads(wrote)
    except (ValueError, RecursionError):
        update = None
    if not isinstance(update, dict):
        raise InputError(f"--wrote {wrote!r:.100}: expected a JSON object with fields of the state.")
    return update
