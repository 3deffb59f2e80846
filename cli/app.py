"""The commands and their options. What they do is imported when they run, so that help is instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

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
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON lines, for programs.")


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stepgraph")
def cli() -> None:
    """Run agentic workflows on LangGraph, resume them, and see what every step did and cost."""


@cli.command()
@click.argument("graph")
@click.option(
    "--input",
    "-i",
    "inputs",
    multiple=True,
    metavar="INPUT",
    help="field=value (repeatable), JSON, a .json or .jsonl file, or - for standard input.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Run only the first N inputs.")
@click.option("--thread", help="The thread's id, for a single input; default: a new one.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Inputs at a time.")
@budget_option
@cache_option
@model_option
@database_option
@json_option
def run(graph: str, **options: Any) -> None:
    """Run GRAPH: a ready graph (support-desk), module:attr or file.py:attr."""
    from .running import run_graph

    sys.exit(run_graph(graph, **options))


@cli.command()
@click.argument("threads", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Resume every thread that has not ended.")
@click.option("--answer", help="The answer to a thread that waits for one: JSON, or else text.")
@budget_option
@cache_option
@model_option
@database_option
@json_option
def resume(threads: tuple[str, ...], **options: Any) -> None:
    """Go on with THREADS from their last checkpoint. Answered model calls are not paid again."""
    from .running import resume_threads

    sys.exit(resume_threads(threads, **options))


@cli.command()
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@database_option
@json_option
def threads(**options: Any) -> None:
    """List the threads, the latest first."""
    from .showing import show_threads

    show_threads(**options)


@cli.command()
@click.argument("thread")
@click.option("--full", is_flag=True, help="Print prompts, answers and outputs whole.")
@database_option
@json_option
def show(thread: str, **options: Any) -> None:
    """Show what THREAD did, step by step: routes, prompts, answers, tokens, time and cost."""
    from .showing import show_thread

    show_thread(thread, **options)


@cli.command()
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
    from .drawing import draw_graph

    draw_graph(graph, form, output, flat=flat)


def exit_code(error: BaseException) -> int:
    """Return the exit code for an error."""
    from ..state import errors

    if isinstance(error, (errors.InputError, errors.DefinitionError, errors.SettingsError)):
        return 2
    if isinstance(error, errors.ModelError):
        return 3
    if isinstance(error, errors.StoreError):
        return 4
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
        click.echo(f"Error: {error}", err=True)
        sys.exit(exit_code(error))
