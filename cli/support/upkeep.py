"""`stepgraph sql`, `stepgraph export` and `stepgraph prune`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

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
from ...tracing.record.rows import records
from .limits import parse_age
from .show import open_session
from .text import one_line, plain

CELL = 80


def run_sql(sql: str, *, limit: int, timeout: float, database: Path, as_json: bool) -> None:
    """Print the rows of one SELECT."""
    result = select(database, sql, limit=limit, timeout_s=timeout)
    if as_json:
        for row in result.dicts():
            told = {name: _told(value) for name, value in row.items()}
            click.echo(json.dumps(told, ensure_ascii=False))
    else:
        lines = [result.columns, *([_cell(value) for value in row] for row in result.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(result.columns))]
        for number, line in enumerate(lines):
            text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            click.secho(text, bold=number == 0)
    if result.more:
        click.echo(f"There are more than {limit} rows; --limit shows more.", err=True)


def _told(value: Any) -> Any:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else plain(value)


def _cell(value: Any) -> str:
    return "" if value is None else one_line(str(_told(value)), CELL)


def export_records(threads: Sequence[str], *, to: Path | None, database: Path) -> None:
    """Write the records of threads as JSON lines, to a file or to standard output."""
    with open_session(database) as session:
        rows = records(session, threads)
        if to is None:
            for row in rows:
                click.echo(json.dumps(row, ensure_ascii=False))
            return
        number = 0
        try:
            with to.open("w", encoding="utf-8") as file:
                for row in rows:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    number += 1
        except OSError as error:
            raise InputError(f"{to} cannot be written: {error.strerror}. Name another file.") from None
    click.echo(f"{number} records in {to}.")


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
    database: Path,
) -> None:
    """Delete threads or their old checkpoints and shrink the file; without `yes`, say what would go."""
    if not (threads or statuses or older_than or keep is not None or checkpoints_only):
        raise InputError("Say which threads: --older-than 30d, --keep 100, --status done or --thread ID.")
    age_s = parse_age(older_than) if older_than else None
    choice = PruneFilter(threads, statuses, age_s, keep, force)
    with open_session(database) as session:
        chosen = choose(session, choice, checkpoints_only=checkpoints_only)
        names = [doomed.thread_id for doomed in chosen]
        if not yes:
            for doomed in chosen:
                click.echo(_line(doomed))
            what = (
                "would lose the checkpoints they no longer need" if checkpoints_only else "would be deleted"
            )
            click.echo(f"{len(chosen)} threads {what}. Nothing was done; --yes does it.")
            return
        if checkpoints_only:
            click.echo(f"{delete_checkpoints(session, names)} checkpoints of {len(names)} threads deleted.")
        else:
            delete_threads(session, names, effects=with_effects)
            click.echo(f"{len(names)} threads deleted.")
    shrunk = shrink(database)
    click.echo(f"{database}: {shrunk.before:,} bytes before, {shrunk.after:,} after.")
    if shrunk.problem:
        click.echo(shrunk.problem, err=True)


def _line(doomed: PruneCandidate) -> str:
    name = one_line(doomed.thread_id)
    return f"{name}  {doomed.status}  {doomed.checkpoints} checkpoints  {doomed.calls} calls"
