"""The command line: its commands, imported when they are asked for, and its exit codes."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from ..state.errors import StepgraphError

EXIT_CODES = """\b
Exit codes:
  0  done
  1  a workflow failed: a gate, an answer that never fitted, an error in a node
  2  bad input: the command line, the graph, the state, the settings
  3  a model could not be reached, or refused
  4  the SQLite file cannot be used
  5  a workflow waits for an answer
  6  a budget ended: the result is partial
"""

MODULES = {
    "answering": ("approve", "edit", "effect", "effects", "pending", "reject"),
    "endpoints": ("models",),
    "evals": ("eval",),
    "records": ("diff", "export", "history", "prune", "show", "sql", "threads", "ui"),
    "running": ("estimate", "fork", "graph", "new", "resume", "run"),
    "traces": ("trace",),
}


class Commands(click.Group):
    """Commands whose modules are imported when a command of theirs is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(name for names in MODULES.values() for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module, names in MODULES.items():
            if cmd_name in names:
                found = vars(import_module(f".commands.{module}", __package__)).values()
                commands = (item for item in found if isinstance(item, click.Command))
                return next(command for command in commands if command.name == cmd_name)
        return None


@click.group(cls=Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stepgraph")
def cli() -> None:
    """Run agentic workflows on LangGraph, resume them, and see what every step did and cost."""


def exit_code(error: BaseException) -> int:
    """Return the exit code for an error."""
    from ..state import errors

    wrong = (errors.InputError, errors.DefinitionError, errors.SettingsError)
    if isinstance(error, (*wrong, errors.ThreadBusy, errors.GraphChanged, errors.EffectUnknown)):
        return 2
    if isinstance(error, errors.ModelError):
        return 3
    if isinstance(error, errors.StoreError):
        return 4
    if isinstance(error, errors.BudgetExceeded):
        return 6
    return 1


def main() -> None:
    """Run the command line; every expected error becomes one message and an exit code."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped. `stepgraph threads` lists what can be resumed.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except StepgraphError as error:
        from .support.text import clean

        click.echo(clean(f"Error: {error}"), err=True)
        sys.exit(exit_code(error))
