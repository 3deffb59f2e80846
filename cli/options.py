"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..state.database import DEFAULT, VARIABLE, Database, database_of, is_postgres
from ..state.errors import StepgraphError


class DatabaseName(click.ParamType[Database]):
    """A path, or the address of a Postgres database, whose password is in no message."""

    name = "database"
    _path = click.Path(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Database:
        """Return the database; what cannot be one is a usage error."""
        if not isinstance(value, str) or not is_postgres(value):
            path: Path = self._path.convert(value, param, ctx)
            return path
        try:
            return database_of(value)
        except StepgraphError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what the help calls it."""
        return "FILE|URL"


DATABASE = "stepgraph.database"  # where a command's context holds the record that it reads


def _note_database(ctx: click.Context, _: click.Parameter, value: Database) -> Database:
    ctx.meta[DATABASE] = value
    return value


database_option = click.option(
    "--db",
    "database",
    type=DatabaseName(),
    default=DEFAULT,
    envvar=VARIABLE,
    callback=_note_database,
    show_default=True,
    help="Where runs are kept: a SQLite file, or postgresql://user@host/name.",
)
model_option = click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[ROLE=]SPEC",
    help="A model for one role, or for all: local, openai:gpt-5-mini, large=vllm:qwen3. Repeatable.",
)
budget_option = click.option(
    "--budget",
    "limits",
    multiple=True,
    metavar="LIMIT=N",
    help="A limit for each thread: tokens, usd, calls, seconds or supersteps; or a budget that threads "
    "share: scope=user:ada,per=day,usd=5. Repeatable.",
)
cache_option = click.option(
    "--cache",
    "cache_s",
    metavar="AGE",
    help="Let answers of other runs serve that are at most so old: 12h, 7d.",
)
lane_option = click.option(
    "--lane",
    type=click.Choice(["live", "batch"]),
    help="batch: by the providers' batch APIs, at half the price, within a day.",
)
on_option = click.option(
    "--on",
    metavar="ENGINE",
    envvar="STEPGRAPH_ON",
    help="Hand it to workers: local (the queue is the database), temporal://host:port, dbos.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON lines, for programs.")


def input_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option `--input`, whose help is the text."""
    return click.option("--input", "-i", "inputs", multiple=True, metavar="INPUT", help=text)
