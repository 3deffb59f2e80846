"""Commands about models: what their endpoints can do, and their keys."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..options import json_option


@click.group()
def models() -> None:
    """Find out what endpoints can do, and keep their keys."""


@models.command()
@click.argument("names", nargs=-1, metavar="[ROLE|SPEC]...")
@click.option("--offline", is_flag=True, help="Only show the records, and where they come from.")
@json_option
def check(names: tuple[str, ...], **options: Any) -> None:
    """Show what the bound models should be able to do, and ask them whether they can.

    It asks about thirty short questions of each. Exit code 1 if one does otherwise than its record says.
    """
    from ..support.models_check import check

    sys.exit(check(names, **options))


@models.command()
@click.argument("where", metavar="URL")
@click.option("--model", metavar="NAME", help="Default: the first one that the endpoint lists.")
@click.option(
    "--key-env", metavar="VARIABLE", help="Which environment variable, or keyring entry, has the key."
)
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=60.0, show_default=True)
@click.option("--at-once", "calls_at_once", type=click.IntRange(min=1), default=8, show_default=True)
@json_option
def conform(where: str, **options: Any) -> None:
    """Examine the endpoint at URL, a provider, or local: what works, what is missing, what is wrong.

    It asks about thirty short questions, which a hosted model charges for. Exit code 1 if a check fails.
    """
    from ..support.models_conform import conform

    sys.exit(conform(where, **options))


@models.command()
@click.argument("name", metavar="PROVIDER|VARIABLE")
@click.option("--delete", is_flag=True, help="Take it out of the keyring.")
def key(name: str, **options: Any) -> None:
    """Keep a key in the system's keyring: of a provider, or under an api_key_env of your own."""
    from ..support.models_conform import keep_key

    keep_key(name, **options)
