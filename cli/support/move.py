"""`stepgraph move`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from ...state.database import database_of
from ...state.errors import InputError
from ...state.session.session import Session
from ...tracing.record.move import Moved, move_threads
from ...tracing.record.text import one_line
from ..exit_codes import ExitCode, exit_code


def move(threads: Sequence[str], *, left: str, right: str, keep: bool, as_json: bool) -> ExitCode:
    """Move threads from one database to another, and return the exit code: that of what was not moved."""
    source, target = database_of(left), database_of(right)
    if isinstance(source, Path) and not source.exists():
        raise InputError(f"There is no file {source}. --from names the database that has the threads.")
    if _is_same(source, target):
        raise InputError(f"--from and --to are both {source}. Name two databases.")
    worst = ExitCode.DONE
    moved = refused = rows = 0
    with Session(left) as session, Session(right) as other:
        for family in move_threads(session, other, threads, keep=keep):
            if family.problem is not None:
                refused += len(family.threads)
                worst = max(worst, exit_code(family.problem))
            else:
                moved += len(family.threads)
                rows += sum(family.rows.values())
            _tell(family, as_json)
    if not as_json:
        what = "copied" if keep else "moved"
        click.echo(f"{moved} threads {what} with {rows:,} rows, from {source} to {target}.")
        if refused:
            click.echo(
                f"{refused} threads were not {what}. Repeat it for them when that is settled.", err=True
            )
    return worst


def _is_same(source: object, target: object) -> bool:
    if isinstance(source, Path) and isinstance(target, Path):
        return source.resolve() == target.resolve()
    return str(source) == str(target)


def _tell(family: Moved, as_json: bool) -> None:
    if as_json:
        fields = {
            "threads": list(family.threads),
            "status": "refused" if family.problem else "there" if family.already else "moved",
            "rows": dict(family.rows),
            "bytes": family.size,
            "problem": None if family.problem is None else str(family.problem),
        }
        click.echo(json.dumps(fields, ensure_ascii=False))
        return
    names = ", ".join(one_line(name) for name in family.threads)
    if family.problem is not None:
        click.echo(f"{names}: {family.problem}", err=True)
    elif family.already:
        click.echo(f"{names}: had arrived before")
    else:
        click.echo(f"{names}: {sum(family.rows.values()):,} rows, {family.size:,} bytes")
