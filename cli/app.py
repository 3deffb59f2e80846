"""The command line: its groups of commands, which are imported when a command is looked up."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from importlib import import_module
from typing import Any

import click

from ..state.errors import StepgraphError
from ..state.keys_in_use import without_keys
from ..state.tracebacks import told_of
from .exit_codes import ExitCode, exit_code, help_text
from .options import DATABASE
from .terminating import ended_by_sigterm
from .visible import make_visible

# What a person does: the module of those commands, and their names in the order of the help.
GROUPS = {
    "Run": ("run", ("run", "resume", "fork", "new", "graph", "estimate")),
    "Look": ("look", ("threads", "show", "history", "diff", "budgets", "ui")),
    "Decide": ("decide", ("pending", "approve", "edit", "reject", "effects", "effect")),
    "Measure": ("measure", ("eval", "models")),
    "Replay": ("replay", ("replay",)),
    "Code": ("code", ("code",)),
    "Serve": ("serve", ("worker", "mcp")),
    "Schedule": ("schedule", ("schedule",)),
    "Deploy": ("deploy", ("deploy",)),
    "Keep house": ("keep", ("sql", "export", "trace", "prune", "move")),
}
HOMES = {name: module for module, names in GROUPS.values() for name in names}


class CommandGroups(click.Group):
    """The commands by what a person does; a command's module is imported when the command is looked up."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. Raises StoreError where a damaged record is why it failed."""
        try:
            return super().invoke(ctx)
        except (StepgraphError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from .support.damaged import explain_damage

            explain_damage(ctx.meta.get(DATABASE), error)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in HOMES:
            return None
        members = vars(import_module(f".commands.{HOMES[cmd_name]}", __package__)).values()
        commands = (member for member in members if isinstance(member, click.Command))
        return next(command for command in commands if command.name == cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, HOMES))
        limit = formatter.width - 6 - width
        for title, (_, names) in GROUPS.items():
            commands = [self.get_command(ctx, name) for name in names]
            rows = [(f"{c.name:{width}}", c.get_short_help_str(limit)) for c in commands if c is not None]
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(cls=CommandGroups, epilog=help_text(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stepgraph")
def cli() -> None:
    """Run agentic workflows on LangGraph, resume them, and see what every step did and cost."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error becomes one message and an exit code."""
    out, err, line = sys.stdout, sys.stderr, warnings.formatwarning
    make_visible()
    try:
        with ended_by_sigterm() as terminated:
            _run(arguments, terminated)
    finally:
        sys.stdout, sys.stderr, warnings.formatwarning = out, err, line


def _run(arguments: list[str] | None, terminated: threading.Event) -> None:
    try:
        cli.main(arguments, standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.BAD_INPUT)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped. `stepgraph threads` lists what can be resumed.", err=True)
        if terminated.is_set():
            sys.stdout.flush()
            os._exit(143)  # whatever a node's thread still does is not waited for
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except StepgraphError as error:
        from ..tracing.record.text import clean

        click.echo(clean(without_keys(f"Error: {error}")), err=True)
        sys.exit(exit_code(error))
    except Exception as error:
        if os.environ.get("STEPGRAPH_TRACEBACK"):
            raise
        from ..tracing.record.text import one_line

        click.echo(f"Error: {one_line(_unexpected(error), 1000)}", err=True)
        sys.exit(ExitCode.FAILED)


def _unexpected(error: Exception) -> str:
    return (
        f"{told_of(error):.400}. This is a fault of stepgraph, or of "
        "the code that was run; STEPGRAPH_TRACEBACK=1 shows where."
    )
