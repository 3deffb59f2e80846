"""The commands and their options. What they do is imported when they run, so that help is instant."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
    """Run GRAPH: a ready graph (support-desk), module:attr or file.py:attr.

    A graph with messages in its state is a conversation: run it again on its --thread to say the next thing.
    """
    from .running import run_graph

    sys.exit(run_graph(graph, **options))


@cli.command()
@click.argument("name")
def new(name: str) -> None:
    """Write a starter workflow to the new folder NAME: a package, a test, an eval. It runs at once."""
    from .starting import start

    start(name)


@cli.command()
@database_option
@json_option
def pending(**options: Any) -> None:
    """List what threads wait for: reviews and other questions, the oldest first."""
    from .reviewing import show_pending

    show_pending(**options)


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
        json_option,
    ):
        command = option(command)
    return click.argument("thread")(command)


@cli.command()
@click.option("--reason", default="", help="A remark for the record.")
@review_options
def approve(thread: str, **options: Any) -> None:
    """Approve what a review on THREAD shows, and go on with the thread."""
    from .reviewing import answer_review

    sys.exit(answer_review(thread, "approve", **options))


@cli.command()
@click.option("--reason", required=True, help="Why; the workflow may use it.")
@review_options
def reject(thread: str, **options: Any) -> None:
    """Reject what a review on THREAD shows, and go on with the thread."""
    from .reviewing import answer_review

    sys.exit(answer_review(thread, "reject", **options))


@cli.command()
@click.option("--value", help="The new value: text for a text field, else JSON.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change one key of it. Repeatable.")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read it here.")
@click.option("--reason", default="", help="A remark for the record.")
@review_options
def edit(thread: str, value: str | None, sets: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Put another value in the place of what a review on THREAD shows, and go on.

    Without --value, --set or --file, your editor ($EDITOR) opens with the value.
    """
    from .reviewing import Edit, answer_review

    sys.exit(answer_review(thread, "edit", edit=Edit(value, sets, file), **options))


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
@click.argument("graph")
@click.option(
    "--input",
    "-i",
    "inputs",
    multiple=True,
    metavar="INPUT",
    help="What the run would begin with, as for `run`: makes prompts whose length counts.",
)
@model_option
@database_option
@json_option
def estimate(graph: str, **options: Any) -> None:
    """Say what a run of GRAPH can cost at the very most, and what it cost before. Asks no model."""
    from .estimates import show_estimate

    show_estimate(graph, **options)


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
@budget_option
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
@database_option
@json_option
def effects(**options: Any) -> None:
    """List the side effects of which nobody knows whether they happened."""
    from .deciding import show_effects

    show_effects(**options)


@cli.command()
@click.argument("key")
@click.option("--done/--again", "happened", default=None, help="It happened; or it did not: do it again.")
@click.option("--wrote", metavar="JSON", help="With --done: what its node would have written to the state.")
@database_option
def effect(key: str, **options: Any) -> None:
    """Say whether the side effect KEY happened, so that its thread can go on."""
    from .deciding import decide

    decide(key, **options)


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


@cli.group()
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
    from .checking import check

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
    from .conforming import conform

    sys.exit(conform(where, **options))


@models.command()
@click.argument("name", metavar="PROVIDER|VARIABLE")
@click.option("--delete", is_flag=True, help="Take it out of the keyring.")
def key(name: str, **options: Any) -> None:
    """Keep a key in the system's keyring: of a provider, or under an api_key_env of your own."""
    from .conforming import keep_key

    keep_key(name, **options)


EVAL_CODES = """\b
Exit codes:
  0  every gate passed (without gates: every trial)
  1  a gate failed
  2  bad suite or command line: nothing was run
  3  partial: the suite's budget ended
"""

html_option = click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Write one HTML page."
)
markdown_option = click.option(
    "--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write Markdown, for a pull request."
)
junit_option = click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML."
)
baseline_option = click.option(
    "--baseline",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The results of the version to compare with.",
)
no_baseline_option = click.option("--no-baseline", is_flag=True, help="Skip gates that need a baseline.")


@cli.group("eval", epilog=EVAL_CODES)
def evaluate() -> None:
    """Find out how good a workflow is: suites of cases, gates, comparisons."""


@evaluate.command("run")
@click.argument("suite")
@click.option("--graph", help="The graph to run, instead of the suite's.")
@click.option(
    "--run", "name", metavar="NAME", help="The run's name; an earlier run goes on. Default: a new one."
)
@click.option(
    "--results",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("stepgraph-evals"),
    show_default=True,
    help="The folder for NAME.jsonl, which keeps the trials.",
)
@baseline_option
@no_baseline_option
@click.option("--case", "only", multiple=True, metavar="ID", help="Only this case. Repeatable.")
@click.option("--repeats", type=click.IntRange(min=1), help="How often each case runs.")
@click.option("--jobs", type=click.IntRange(min=1), help="Trials at a time.")
@budget_option
@model_option
@database_option
@click.option("--langfuse", is_flag=True, help="Send it to Langfuse, as an experiment on a dataset.")
@html_option
@markdown_option
@junit_option
@json_option
def eval_run(
    suite: str, html: Path | None, markdown: Path | None, junit: Path | None, **options: Any
) -> None:
    """Run SUITE: a .yaml or .jsonl file, module:attr, file.py:attr, or the name of a ready graph."""
    from .evaluating import run_eval

    files = {"html": html, "markdown": markdown, "junit": junit}
    sys.exit(run_eval(suite, files=files, **options))


@evaluate.command("add")
@click.argument("thread")
@click.option(
    "--suite",
    "file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The suite's file; a missing one is begun.",
)
@click.option("--case", metavar="ID", help="The case's id. Default: the thread's.")
@click.option(
    "--expect",
    multiple=True,
    type=click.Choice(["output", "route", "path", "fill"]),
    help="What of the run to expect again; fill: the output is left to be written. Default: all but fill.",
)
@click.option("--field", "only", multiple=True, metavar="NAME", help="Only this field of the output.")
@click.option("--graph", help="The graph, instead of the suite's or the record's.")
@database_option
@json_option
def eval_add(thread: str, **options: Any) -> None:
    """Add the recorded run THREAD to a suite as a case: its input, its output and its path."""
    from .adding import add_case

    add_case(thread, **options)


@evaluate.command("push")
@click.argument("suite")
@click.option("--run", "name", metavar="NAME", required=True, help="The run to send.")
@click.option(
    "--results",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("stepgraph-evals"),
    show_default=True,
    help="The folder with NAME.jsonl.",
)
@database_option
@json_option
def eval_push(suite: str, **options: Any) -> None:
    """Send a run of SUITE to Langfuse: its cases as a dataset, its trials as an experiment on it.

    Sending it again changes nothing. Exit code 3: not all of it arrived, send it again.
    """
    from .pushing import push_eval

    sys.exit(push_eval(suite, **options))


@evaluate.command("check")
@click.argument("suite")
@click.option("--graph", help="The graph to check against, instead of the suite's.")
def eval_check(suite: str, graph: str | None) -> None:
    """Check SUITE against its graph, without asking any model."""
    from .evaluating import check_eval

    check_eval(suite, graph)


@evaluate.command("report")
@click.argument("results", type=click.Path(dir_okay=False, path_type=Path))
@baseline_option
@no_baseline_option
@html_option
@markdown_option
@junit_option
@json_option
def eval_report(
    results: Path, html: Path | None, markdown: Path | None, junit: Path | None, **options: Any
) -> None:
    """Show RESULTS of an earlier run again, and write reports of it."""
    from .evaluating import report_eval

    files = {"html": html, "markdown": markdown, "junit": junit}
    sys.exit(report_eval(results, files=files, **options))


@evaluate.command("compare")
@click.argument("a", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("b", type=click.Path(dir_okay=False, path_type=Path))
@html_option
@markdown_option
@json_option
def eval_compare(a: Path, b: Path, html: Path | None, markdown: Path | None, as_json: bool) -> None:
    """Compare the results B with A, case by case: better, worse or undecided."""
    from .evaluating import compare_evals

    compare_evals(a, b, as_json=as_json, files={"html": html, "markdown": markdown})


@evaluate.command("blame")
@click.argument("a", metavar="RUN_A|THREAD")
@click.argument("b", metavar="[RUN_B]", required=False)
@click.option("--case", metavar="ID", help="The case that THREAD is measured by. Default: as its name says.")
@click.option("--suite", "reference", help="The suite. Default: the file that the run's results name.")
@click.option("--graph", help="The graph of version B, instead of the suite's.")
@click.option(
    "--results",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("stepgraph-evals"),
    show_default=True,
    help="The folder with the runs' results, for runs that are given by name.",
)
@click.option("--no-graft", "graft", flag_value=False, default=True, help="Ask no model: only suspect.")
@click.option("--jobs", type=click.IntRange(min=1), help="Grafts at a time.")
@click.option("--budget", "limits", multiple=True, metavar="LIMIT=N", help="A limit for all grafts.")
@model_option
@database_option
@html_option
@markdown_option
@json_option
def eval_blame(a: str, b: str | None, html: Path | None, markdown: Path | None, **options: Any) -> None:
    """Find the first node that made RUN_B worse than RUN_A, or the point where THREAD went wrong.

    RUN_B's version must be the one at hand. Its nodes run again on the states that RUN_A recorded.
    """
    from .blaming import blame_runs

    sys.exit(blame_runs(a, b, files={"html": html, "markdown": markdown}, **options))


@evaluate.command("sweep")
@click.argument("suite")
@click.option("--graph", help="The graph to run, instead of the suite's.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="ROLE=SPEC,SPEC…",
    help="Models to try for a role, the reference first: specs, or roles of the settings. Repeatable.",
)
@click.option(
    "--step",
    "steps",
    multiple=True,
    metavar="STEP=SPEC,SPEC…",
    help="Models to try for one step, whatever its role. Repeatable.",
)
@click.option("--metric", "metrics", multiple=True, help="A score to keep. Default: those of the gates.")
@click.option(
    "--margin", type=float, default=0.05, show_default=True, help="The loss of a score that is borne."
)
@click.option("--run", "name", metavar="NAME", help="The sweep's name; an earlier one goes on.")
@click.option(
    "--results",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("stepgraph-evals"),
    show_default=True,
    help="The folder for the results of each assignment.",
)
@click.option("--repeats", type=click.IntRange(min=1), help="How often each case runs.")
@click.option("--jobs", type=click.IntRange(min=1), help="Trials at a time.")
@click.option("--budget", "limits", multiple=True, metavar="LIMIT=N", help="A limit for the whole sweep.")
@database_option
@html_option
@markdown_option
@json_option
def eval_sweep(suite: str, html: Path | None, markdown: Path | None, **options: Any) -> None:
    """Find the cheapest models for SUITE's workflow that keep its scores.

    Exit codes: 0 done, 2 bad suite or command line, 3 partial: the budget ended.
    """
    from .sweeping import run_sweep

    sys.exit(run_sweep(suite, files={"html": html, "markdown": markdown}, **options))


@cli.group()
def trace() -> None:
    """Look at traces, compare them, and send them to Langfuse or any OTLP endpoint."""


@trace.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@database_option
@json_option
def trace_list(**options: Any) -> None:
    """List the runs, the latest first: time, cost, and whether they were sent."""
    from .tracing import list_traces

    list_traces(**options)


@trace.command("show")
@click.argument("thread")
@click.option("--step", metavar="NODE", help="All about one step: its path or name.")
@click.option("--full", is_flag=True, help="Print prompts, answers and states whole.")
@database_option
@json_option
def trace_show(thread: str, **options: Any) -> None:
    """Show THREAD as a waterfall with the critical path, or one step with its state in and out."""
    from .tracing import show_trace

    show_trace(thread, **options)


@trace.command("diff")
@click.argument("a")
@click.argument("b")
@click.option("--full", is_flag=True, help="Print prompts, answers and states whole.")
@database_option
@json_option
def trace_diff(a: str, b: str, **options: Any) -> None:
    """Show the first step at which A and B part, and all that differs."""
    from .tracing import diff_traces

    diff_traces(a, b, **options)


@trace.command("export")
@click.argument("threads", nargs=-1)
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="Default: standard output.")
@click.option("--html", is_flag=True, help="Write one thread as one HTML page that needs nothing else.")
@database_option
def trace_export(threads: tuple[str, ...], html: bool, **options: Any) -> None:
    """Write the spans of THREADS, or of all, as JSON lines, masked; or one run as an HTML page."""
    if html:
        from .looking import export_page

        export_page(threads, **options)
        return
    from .tracing import export_traces

    export_traces(threads, **options)


@trace.command("push")
@click.argument("threads", nargs=-1)
@click.option("--since", metavar="AGE", help="Only runs changed in that time: 12h, 7d.")
@database_option
def trace_push(threads: tuple[str, ...], **options: Any) -> None:
    """Send the traces of THREADS, or of all, that have not arrived yet. Can be repeated."""
    from .tracing import push_traces

    sys.exit(push_traces(threads, **options))


@cli.command()
@click.argument("thread", required=False)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: one that is free.")
@click.option("--open/--no-open", "browse", default=True, show_default=True, help="Open it in the browser.")
@database_option
def ui(thread: str | None, **options: Any) -> None:
    """Look at the runs, or at THREAD, on a web page that only this machine can reach."""
    from .looking import serve_pages

    serve_pages(thread, **options)


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
    if isinstance(error, errors.BudgetEnded):
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
        from .text import clean

        click.echo(clean(f"Error: {error}"), err=True)
        sys.exit(exit_code(error))
