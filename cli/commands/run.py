"""Commands that run a workflow, or tell what a run would be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ..options import (
    budget_option,
    cache_option,
    database_option,
    input_option,
    json_option,
    lane_option,
    model_option,
    on_option,
)


@click.command()
@click.argument("graph")
@input_option("field=value (repeatable), JSON, a .json or .jsonl file, or - for standard input.")
@click.option("--limit", type=click.IntRange(min=1), help="Run only the first N inputs.")
@click.option("--thread", help="The thread's id, for a single input; default: a new one.")
@click.option("--restart", is_flag=True, help="Begin a thread anew that has not ended with this input.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Inputs at a time. Default: 1, or all in the batch lane."
)
@click.option("--stream", is_flag=True, help="Print what the steps say while they say it.")
@budget_option
@cache_option
@lane_option
@model_option
@database_option
@on_option
@json_option
def run(graph: str, **options: Any) -> None:
    """Run GRAPH: a ready graph (support-desk), module:attr or file.py:attr.

    A graph with messages in its state is a conversation: run it again on its --thread to say the next thing.
    """
    from ..support.run import run_graph

    sys.exit(run_graph(graph, **options))


@click.command()
@click.argument("name")
def new(name: str) -> None:
    """Write a starter workflow to the new folder NAME: a package, a test, an eval. It runs at once."""
    from ..support.starter import start

    start(name)


@click.command()
@click.argument("threads", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Resume every thread that has not ended.")
@click.option("--due", is_flag=True, help="Resume every thread whose wait or deadline is over.")
@click.option("--graph", help="The graph to load, instead of the one on record.")
@click.option("--answer", help="The answer to a thread that waits for one: JSON, or else text.")
@click.option("--force", is_flag=True, help="Go on although the graph's shape changed.")
@click.option("--here", is_flag=True, help="Run it in this process, although it was handed to workers.")
@click.option("--stream", is_flag=True, help="Print what the steps of a single thread say.")
@budget_option
@cache_option
@lane_option
@model_option
@database_option
@on_option
@json_option
def resume(threads: tuple[str, ...], **options: Any) -> None:
    """Go on with THREADS from their last checkpoint. Answered model calls are not paid again."""
    from ..support.run import resume_threads

    sys.exit(resume_threads(threads, **options))


@click.command()
@click.argument("graph")
@click.option(
    "--format",
    "form",
    type=click.Choice(["mermaid", "text", "svg", "png"]),
    help="Default: what the output file's ending says, else mermaid.",
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--flat", is_flag=True, help="Draw nested graphs as single nodes.")
def graph(graph: str, form: str | None, output: Path | None, flat: bool) -> None:
    """Draw GRAPH. Nothing is sent anywhere."""
    from ..support.draw import draw_graph

    draw_graph(graph, form, output, flat=flat)


@click.command()
@click.argument("graph")
@input_option("What the run would begin with, as for `run`: makes prompts whose length counts.")
@model_option
@lane_option
@database_option
@json_option
def estimate(graph: str, **options: Any) -> None:
    """Say what a run of GRAPH can cost at the very most, and what it cost before. Asks no model."""
    from ..support.estimate import show_estimate

    show_estimate(graph, **options)


@click.command()
@click.argument("thread")
@click.option("--at", metavar="CHECKPOINT", help="A checkpoint's id, its beginning, or a superstep's number.")
@click.option("--call", metavar="CALL", help="Go back to before one call: its id, or a step's name.")
@click.option("--set", "sets", multiple=True, metavar="FIELD=VALUE", help="Change the state. Repeatable.")
@click.option("--prompt", help="With --call: ask this instead of the last user message.")
@click.option("--answer", help="With --call: ask nobody, take this as the answer.")
@click.option("--as-node", metavar="NODE", help="With --set: whose edges to follow from there.")
@click.option("--thread", "new_thread", metavar="NEW", help="The new thread's id; default: a new one.")
@click.option("--graph", help="The graph to load, instead of the one on record.")
@click.option("--run/--no-run", default=True, show_default=True, help="Run the new thread, and compare.")
@budget_option
@model_option
@database_option
@json_option
def fork(thread: str, **options: Any) -> None:
    """Begin a new thread from a point of THREAD, which stays as it was."""
    from ..support.time_travel import fork_thread

    sys.exit(fork_thread(thread, **options))
