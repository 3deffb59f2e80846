"""Commands for jobs that begin by themselves."""

from __future__ import annotations

from typing import Any

import click

from ..exit_codes import help_text
from ..options import (
    budget_option,
    cache_option,
    database_option,
    input_option,
    json_option,
    lane_option,
    on_option,
)


@click.group(epilog=help_text())
def schedule() -> None:
    """Have workers begin jobs by themselves, at times."""


@schedule.command()
@click.argument("name")
@click.argument("graph")
@input_option("field=value (repeatable), JSON, or a .json file: what each job begins with.")
@click.option("--every", metavar="SPAN", help="Each so long, as 90s, 15m, 1h or 1d, from midnight UTC on.")
@click.option("--cron", metavar="LINE", help="Minute, hour, day, month, weekday: '0 7 * * 1-5'.")
@click.option("--timezone", default="UTC", show_default=True, help="With --cron: a name as Europe/Berlin.")
@click.option(
    "--missed",
    type=click.Choice(["skip", "one", "all"]),
    default="one",
    show_default=True,
    help="Which of the times at which no worker lived begin a job when one does: none, the last, or each.",
)
@budget_option
@cache_option
@lane_option
@database_option
@on_option
def add(name: str, graph: str, **options: Any) -> None:
    """Have a job of GRAPH begin at times, on the thread NAME-TIME. Workers have to serve the graph."""
    from ..support.schedules import add_schedule

    add_schedule(name, graph, **options)


@schedule.command("list")
@database_option
@json_option
def list_(**options: Any) -> None:
    """Show all schedules: when each began a job last, and begins the next one."""
    from ..support.schedules import list_schedules

    list_schedules(**options)


@schedule.command()
@click.argument("name")
@database_option
@on_option
def pause(name: str, **options: Any) -> None:
    """Begin no more jobs of NAME, until it is to go on."""
    from ..support.schedules import change_schedule

    change_schedule(name, "pause", **options)


@schedule.command()
@click.argument("name")
@database_option
@on_option
def resume(name: str, **options: Any) -> None:
    """Begin jobs of NAME again, from now on."""
    from ..support.schedules import change_schedule

    change_schedule(name, "resume", **options)


@schedule.command()
@click.argument("name")
@database_option
@on_option
def remove(name: str, **options: Any) -> None:
    """Forget NAME. Jobs that it began go on."""
    from ..support.schedules import change_schedule

    change_schedule(name, "remove", **options)


@schedule.command("run-now")
@click.argument("name")
@database_option
@on_option
def run_now(name: str, **options: Any) -> None:
    """Begin a job of NAME now, beside its times."""
    from ..support.schedules import change_schedule

    change_schedule(name, "run_now", **options)
