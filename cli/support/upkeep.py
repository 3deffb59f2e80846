"""`stepgraph sql` and `stepgraph prune`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ...state.database import Database
from ...state.errors import InputError
from ...tracing.record.prune import (
    PruneCandidate,
    PruneFilter,
    choose,
    delete_checkpoints,
    delete_threads,
    shrink,
)
from ...tracing.record.query import select
from ...tracing.record.text import one_line, plain
from .limits import parse_age
from .show import open_session

CELL = 80


def run_sql(sql: str, *, limit: int, timeout: float, database: Database, as_json: bool) -> None:
    """Print the rows of one SELECT."""
    result = select(database, sql, limit=limit, timeout_s=timeout)
    if as_json:
        for row in result.dicts():
            values = {name: _plain(value) for name, value in row.items()}
            click.echo(json.dumps(values, ensure_ascii=False))
    else:
        lines = [result.columns, *([_cell(value) for value in row] for row in result.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(result.columns))]
        for number, line in enumerate(lines):
            text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            click.secho(text, bold=number == 0)
    if result.more:
        click.echo(f"There are more than {limit} rows; --limit shows more.", err=True)


def _plain(value: Any) -> Any:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else plain(value)


def _cell(value: Any) -> str:
    return "" if value is None else one_line(str(_plain(value)), CELL)


def prune_threads(
    *,
    threads: Sequence[str],
    statuses: Sequence[str],
    older_than: str | None,
    keep: int | None,
    checkpoints_only: bool,
    with_effects: bool,
    force: bool,
    yes: bool,
    database: Database,
    as_json: bool = False,
) -> None:
    """Delete threads or their old checkpoints and shrink the file; without `yes`, say what would go."""
    if not (threads or statuses or older_than or keep is not None or checkpoints_only):
        raise InputError("Say which threads: --older-than 30d, --keep 100, --status done or --thread ID.")
    age_s = parse_age(older_than) if older_than else None
    choice = PruneFilter(threads, statuses, age_s, keep, force)
    with open_session(database) as session:
        chosen = choose(session, choice, checkpoints_only=checkpoints_only)
        names = [candidate.thread_id for candidate in chosen]
        report: dict[str, Any] = {"done": yes, "threads": [asdict(candidate) for candidate in chosen]}
        if not yes and as_json:
            click.echo(json.dumps(report, ensure_ascii=False))
            return
        if not yes:
            for candidate in chosen:
                click.echo(_line(candidate))
            what = (
                "would lose the checkpoints they no longer need" if checkpoints_only else "would be deleted"
            )
            click.echo(f"{len(chosen)} threads {what}. Nothing was done; --yes does it.")
            return
        if checkpoints_only:
            report["checkpoints"] = delete_checkpoints(session, names)
            line = f"{report['checkpoints']} checkpoints of {len(names)} threads deleted."
        else:
            delete_threads(session, names, effects=with_effects)
            line = f"{len(names)} threads deleted."
    if not as_json:
        click.echo(line)
    shrunk = shrink(database) if isinstance(database, Path) else None
    if as_json:
        report["bytes"] = shrunk and {"before": shrunk.before, "after": shrunk.after}
        click.echo(json.dumps(report, ensure_ascii=False))
    elif shrunk is None:
        click.echo("Postgres gives the space to new rows by itself (autovacuum).")
    else:
        click.echo(f"{database}: {shrunk.before:,} bytes before, {shrunk.after:,} after.")
    if shrunk is None:
        return
    if shrunk.problem:
        click.echo(shrunk.problem, err=True)


def _line(candidate: PruneCandidate) -> str:
    name = one_line(candidate.thread_id)
    return f"{name}  {candidate.status}  {candidate.checkpoints} checkpoints  {candidate.calls} calls"
