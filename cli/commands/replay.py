"""The command that sends recorded runs through a changed graph."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ..options import database_option, json_option, model_option
from .measure import file_option, html_option, markdown_option


@click.command("replay")
@click.argument("graph")
@click.option(
    "--runs",
    metavar="WORDS",
    default="",
    help='Which runs: "graph=support-desk since 7d limit 200". Words: graph=, status=, user=, tag=, thread=, '
    "since, until, limit, forks.",
)
@file_option(
    "--langfuse-export", "Replay the runs in this file, which Langfuse exported: JSON, JSON lines or CSV."
)
@click.option("--dataset", metavar="NAME", help="Replay the items of this dataset in Langfuse.")
@click.option(
    "--run", "name", metavar="NAME", help="The replay's name. One of that name that was stopped goes on."
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="By which runs are drawn, where there is a limit, and the order of each pair.",
)
@click.option(
    "--allow-effects",
    "effects",
    multiple=True,
    metavar="NAME",
    help="An effect that may happen though the record does not know it. Repeatable.",
)
@click.option(
    "--allow-tools", "tools", is_flag=True, help="Let agents run tool calls that the record does not know."
)
@click.option(
    "--usd", type=click.FloatRange(min=0), help="The most dollars that new calls, and the judge, may cost."
)
@click.option("--dry-run", is_flag=True, help="Make no new call; show where the change would make one.")
@click.option(
    "--judge",
    metavar="QUESTION",
    help="Ask the model of the role judge which result is better. It is not told which one is new.",
)
@click.option(
    "--decide",
    "person",
    is_flag=True,
    help="Choose the better results yourself, here. You are not told which one is new.",
)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME",
    help="Judge only this field. Default: all that differ. Repeatable.",
)
@click.option(
    "--suite", help="Score both sides with those evaluators of this suite that need no expected value."
)
@click.option("--all", "everything", is_flag=True, help="List the cases that do not differ, too.")
@click.option("--jobs", type=click.IntRange(min=1), default=8, show_default=True, help="Runs at a time.")
@model_option
@database_option
@html_option
@markdown_option
@json_option
def replay(
    graph: str, html: Path | None, markdown: Path | None, langfuse_export: Path | None, **options: Any
) -> None:
    """Send the inputs of recorded runs through a changed GRAPH, and show what the change makes different.

    A call that a run made is answered from its record, if the same model is bound; only new calls are paid
    for. Effects and tools are answered from the record too; one that it does not know is not done. The same
    command again goes on with a replay that was stopped.
    """
    from ..support.replay import replay_runs

    sys.exit(
        replay_runs(graph, export=langfuse_export, files={"html": html, "markdown": markdown}, **options)
    )
