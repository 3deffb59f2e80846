"""Commands for new versions of a graph."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..exit_codes import help_text
from ..options import database_option, json_option, model_option


@click.group(epilog=help_text())
def deploy() -> None:
    """Bring new versions of a graph to threads that are under way."""


@deploy.command()
@click.argument("new", nargs=-1, required=True, metavar="NEW...")
@click.option("--old", metavar="OLD", help="The graph, or folder, on record that NEW takes the place of.")
@model_option
@database_option
@json_option
def check(new: tuple[str, ...], **options: Any) -> None:
    """Say for each thread that has not ended whether it goes on under the NEW version of its graph.

    NEW is file.py:attr, module:attr, a ready graph, or a folder with the new files. It takes the place of
    what has its file's name and attribute on record, or of OLD. Nothing is paid or written. Exit code 1 if
    a thread would not go on, or would pay again.
    """
    from ..support.deploy import check_deploy

    sys.exit(check_deploy(new, **options))
