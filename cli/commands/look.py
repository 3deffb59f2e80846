"""Commands that look at what ran."""

from __future__ import annotations

from typing import Any

import click

from ...state.statuses import RUN_STATES
from ..options import database_option, json_option

ORDERS = ("latest", "costliest", "longest")
PERIODS = ("hour", "day", "week", "month", "ever")


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.option(
    "--search", metavar="TEXT", default="", help="In the thread's id, graph or error; a user or tag."
)
@click.option("--status", type=click.Choice(RUN_STATES), help="Only threads with this status.")
@click.option("--order", type=click.Choice(ORDERS), default="latest", show_default=True)
@database_option
@json_option
def threads(**options: Any) -> None:
    """List the threads: status, time, tokens, cost, and whether their traces were sent."""
    from ..support.threads import show_threads

    show_threads(**options)


@click.command()
@click.argument("thread")
@click.option("--waterfall", is_flag=True, help="Draw when each step ran, with the critical path.")
@click.option("--step", metavar="NODE", help="All about one step, by its path or name: the state in and out.")
@click.option("--full", is_flag=True, help="Print prompts, answers and states whole.")
@database_option
@json_option
def show(thread: str, **options: Any) -> None:
    """Show what THREAD did, step by step: routes, prompts, answers, tokens, time and cost."""
    from ..support.show import show_run

    show_run(thread, **options)


@click.command()
@click.argument("thread")
@database_option
@json_option
def history(thread: str, **options: Any) -> None:
    """List the checkpoints of THREAD: what changed, what ran next, what that cost."""
    from ..support.time_travel import show_history

    show_history(thread, **options)


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--full", is_flag=True, help="Print the first step that differs whole.")
@database_option
@json_option
def diff(a: str, b: str, **options: Any) -> None:
    """Show the first step at which the threads A and B part, then all that differs."""
    from ..support.diff import show_difference

    show_difference(a, b, **options)


@click.command()
@click.argument("thread", required=False)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port. Default: one that is free.")
@click.option(
    "--open/--no-open", "browse", default=True, show_default=True, help="Open the page in the browser."
)
@click.option("--read-only", is_flag=True, help="Pages without forms: nothing can be decided or run.")
@click.option("--graph", help="The graph to go on with, of threads that were run from Python: file.py:attr.")
@database_option
@click.option(
    "--on",
    metavar="ENGINE",
    envvar="STEPGRAPH_ON",
    help="The engine of the threads that workers run, if it is elsewhere: temporal://host:port.",
)
def ui(thread: str | None, **options: Any) -> None:
    """Show the runs, or THREAD, on a web page that only this machine can reach.

    There you decide what waits for a person, let runs go on, and run them again. Ctrl-C ends the page.
    """
    from ..support.pages import serve_pages

    serve_pages(thread, **options)


@click.command()
@click.argument("scope", required=False)
@click.option("--per", type=click.Choice(PERIODS), help="Only with this period; ever: it never begins anew.")
@click.option(
    "--set",
    "limits",
    multiple=True,
    metavar="LIMIT=N",
    help="Set usd, tokens or calls in the place of what runs and settings say; usd=none: no limit.",
)
@click.option("--reset", is_flag=True, help="Take back what was set by hand.")
@click.option(
    "--release",
    "give_back",
    is_flag=True,
    help="Give back what processes that died had set aside.",
)
@click.option("--past", is_flag=True, help="Also the periods that are over.")
@database_option
@json_option
def budgets(scope: str | None, **options: Any) -> None:
    """List the budgets that threads share, or that of SCOPE: its limits, what is spent, reserved and left."""
    from ..support.budgets import show_budgets

    show_budgets(scope, **options)
