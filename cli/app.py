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
@click.option("--graph", help="The graph to load, instead of the one on record.")
@click.option("--answer", help="The answer to a thread that waits for one: JSON, or else text.")
@click.option("--force", is_flag=True, help="Go on although the graph's shape changed.")
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


@cli.command()
@click.argument("thread")
@database_option
@json_option
def history(thread: str, **options: Any) -> None:
    """List the checkpoints of THREAD: what changed, what ran next, what that cost."""
    from .traveling import show_history

    show_history(thread, **options)


@cli.command()
@click.argument("thread")
@click.option("--at", metavar="CHECKPOINT", help="A checkpoint's id, its beginning, or a superstep's number.")
@click.option("--call", metavar="CALL", help="Go back to before one call: its id, or a step's name.")
@click.option("--set", "sets", multiple=True, metavar="FIELD=VALUE", help="Change the state. Repeatable.")
@click.option("--prompt", help="With --call: ask this instead of the last user message.")
@click.option("--answer", help="With --call: ask nobody, take this as the answer.")
@click.option("--as-node", metavar="NODE", help="With --set: whose edges to follow from there.")
@click.option("--thread", "new_thread", metavar="NEW", help="The new thread's id; default: a new one.")
@click.option("--run/--no-run", default=True, show_default=True, help="Run the new thread, and compare.")
@model_option
@database_option
@json_option
def fork(thread: str, **options: Any) -> None:
    """Begin a new thread from a point of THREAD, which stays as it was."""
    from .traveling import fork_thread

    sys.exit(fork_thread(thread, **options))


@cli.command()
@click.argument("a")
@click.argument("b")
@database_option
@json_option
def diff(a: str, b: str, **options: Any) -> None:
    """Tell where the threads A and B differ: path, calls, state, cost."""
    from .traveling import show_difference

    show_difference(a, b, **options)


@cli.command()
@click.argument("query", metavar="SELECT")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Rows at most.")
@click.option("--timeout", type=click.FloatRange(min=0), default=10.0, show_default=True, help="Seconds.")
@database_option
@json_option
def sql(query: str, **options: Any) -> None:
    """Run one SELECT on the record, read-only: "SELECT * FROM costs_by_step"."""
    from .upkeep import run_sql

    run_sql(query, **options)


@cli.command()
@click.argument("threads", nargs=-1)
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="Default: standard output.")
@database_option
def export(threads: tuple[str, ...], **options: Any) -> None:
    """Write the records of THREADS, or of all, as JSON lines."""
    from .upkeep import export_records

    export_records(threads, **options)


@cli.command()
@click.option("--older-than", metavar="AGE", help="Not changed for so long: 12h, 30d.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Spare the N latest threads.")
@click.option("--status", "statuses", multiple=True, help="Only with this status. Repeatable.")
@click.option("--thread", "threads", multiple=True, metavar="THREAD", help="Only this one. Repeatable.")
@click.option("--checkpoints-only", is_flag=True, help="Keep calls and visits; only of ended threads.")
@click.option("--with-effects", is_flag=True, help="Forget which side effects happened, too.")
@click.option("--force", is_flag=True, help="Take threads that seem to be running, too.")
@click.option("--yes", is_flag=True, help="Do it; without it, only say what would go.")
@database_option
def prune(**options: Any) -> None:
    """Delete threads that fit all options, and shrink the file."""
    from .upkeep import prune_threads

    prune_threads(**options)


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
        from .text import clean

        click.echo(clean(f"Error: {error}"), err=True)
        sys.exit(exit_code(error))
