"""Commands that answer what threads wait for: reviews, and side effects with an unknown end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..options import (
    budget_option,
    cache_option,
    database_option,
    json_option,
    model_option,
    on_option,
)


@click.command()
@click.option("--full", is_flag=True, help="Print values of any length whole.")
@database_option
@json_option
def pending(**options: Any) -> None:
    """List what threads wait for: reviews and other questions, the oldest first."""
    from ..support.review import show_pending

    show_pending(**options)


full_option = click.option(
    "--full", is_flag=True, help="You saw all of a long value; it is printed whole, and goes on."
)


def review_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what the commands that answer a review have in common."""
    for option in (
        click.option("--review", metavar="NAME", help="Which one, if several wait: its name, path or id."),
        click.option("--by", metavar="WHO", help="Who decides; default: the user of this machine."),
        click.option("--graph", help="The graph to load, instead of the one on record."),
        budget_option,
        cache_option,
        model_option,
        database_option,
        on_option,
        json_option,
    ):
        command = option(command)
    return click.argument("thread")(command)


@click.command()
@click.option("--reason", default="", help="A remark for the record.")
@full_option
@review_options
def approve(thread: str, **options: Any) -> None:
    """Approve what a review on THREAD shows, and go on with the thread."""
    from ..support.review import answer_review

    sys.exit(answer_review(thread, "approve", **options))


@click.command()
@click.option("--reason", required=True, help="Why; the workflow may use it.")
@review_options
def reject(thread: str, **options: Any) -> None:
    """Reject what a review on THREAD shows, and go on with the thread."""
    from ..support.review import answer_review

    sys.exit(answer_review(thread, "reject", **options))


@click.command()
@click.option("--value", help="The new value: text for a text field, else JSON.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change one key of it. Repeatable.")
@full_option
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read it here.")
@click.option("--reason", default="", help="A remark for the record.")
@review_options
def edit(thread: str, value: str | None, sets: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Put another value in the place of what a review on THREAD shows, and go on.

    Without --value, --set or --file, your editor ($EDITOR) opens with the value.
    """
    from ..support.review import Edit, answer_review

    sys.exit(answer_review(thread, "edit", edit=Edit(value, sets, file), **options))


@click.command()
@database_option
@json_option
def effects(**options: Any) -> None:
    """List the side effects of which nobody knows whether they happened."""
    from ..support.effects import show_effects

    show_effects(**options)


@click.command()
@click.argument("key")
@click.option("--done/--again", "happened", default=None, help="It happened; or it did not: do it again.")
@click.option("--wrote", metavar="JSON", help="With --done: what its node would have written to the state.")
@click.option("--by", help="Who decides. Default: your user name on this machine.")
@click.option("--change", is_flag=True, help="Change what was decided before.")
@database_option
def effect(key: str, **options: Any) -> None:
    """Say whether the side effect KEY happened, so that its thread can go on."""
    from ..support.effects import decide

    decide(key, **options)
