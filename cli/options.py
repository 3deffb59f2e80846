"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

database_option = click.option(
    "--db",
    "database",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("stepgraph.sqlite"),
    envvar="STEPGRAPH_DB",
    show_default=True,
    help="The SQLite file with checkpoints and journal.",
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
    help="A limit for each thread: tokens, usd, calls, seconds or supersteps. Repeatable.",
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
