"""Commands that measure: how good a workflow is, and what a model's endpoint can do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..exit_codes import help_text
from ..options import budget_option, database_option, json_option, lane_option, model_option

F = TypeVar("F", bound=Callable[..., Any])


def file_option(name: str, text: str) -> Callable[[F], F]:
    """Return an option that names a file."""
    return click.option(name, type=click.Path(dir_okay=False, path_type=Path), help=text)


html_option = file_option("--html", "Write one HTML page.")
markdown_option = file_option("--markdown", "Write Markdown, for a pull request.")
junit_option = file_option("--junit", "Write JUnit XML.")
baseline_option = file_option("--baseline", "The results of the version to compare with.")
no_baseline_option = click.option("--no-baseline", is_flag=True, help="Skip gates that need a baseline.")


def results_option(text: str) -> Callable[[F], F]:
    """Return the option for the folder with results."""
    return click.option(
        "--results",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("stepgraph-evals"),
        show_default=True,
        help=text,
    )


@click.group("eval", epilog=help_text())
def evaluate() -> None:
    """Find out how good a workflow is: suites of cases, gates, comparisons."""


@evaluate.command("run")
@click.argument("suite")
@click.option("--graph", help="The graph to run, instead of the suite's.")
@click.option(
    "--run", "name", metavar="NAME", help="The run's name; an earlier run goes on. Default: a new one."
)
@results_option("The folder for NAME.jsonl, which keeps the trials.")
@baseline_option
@no_baseline_option
@click.option("--case", "only", multiple=True, metavar="ID", help="Only this case. Repeatable.")
@click.option("--repeats", type=click.IntRange(min=1), help="How often each case runs.")
@click.option("--jobs", type=click.IntRange(min=1), help="Trials at a time; in the batch lane, all are.")
@budget_option
@lane_option
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
    from ..support.eval_run import run_eval

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
@click.option(
    "--verdict",
    type=click.Choice(["right", "wrong"]),
    default="right",
    show_default=True,
    help="What you say of the run. Of a wrong one, the case does not expect the output again.",
)
@click.option(
    "--correct", multiple=True, metavar="FIELD=VALUE", help="What a wrong run should have given. Repeatable."
)
@click.option("--judge", metavar="NAME", help="Add your verdict to the labels of this judge of the suite.")
@click.option("--by", metavar="NAME", help="Whose verdict it is.")
@click.option("--graph", help="The graph, instead of the suite's or the record's.")
@database_option
@json_option
def eval_add(thread: str, **options: Any) -> None:
    """Add the recorded run THREAD to a suite as a case: its input, its output and its path."""
    from ..support.eval_add import add_case

    add_case(thread, **options)


@evaluate.command("push")
@click.argument("suite")
@click.option("--run", "name", metavar="NAME", required=True, help="The run to send.")
@results_option("The folder with NAME.jsonl.")
@database_option
@json_option
def eval_push(suite: str, **options: Any) -> None:
    """Send a run of SUITE to Langfuse: its cases as a dataset, its trials as an experiment on it.

    Sending it again changes nothing. Exit code 7: not all of it arrived, send it again.
    """
    from ..support.eval_push import push_eval

    sys.exit(push_eval(suite, **options))


@evaluate.command("check")
@click.argument("suite")
@click.option("--graph", help="The graph to check against, instead of the suite's.")
@json_option
def eval_check(suite: str, graph: str | None, as_json: bool) -> None:
    """Check SUITE against its graph, without asking any model."""
    from ..support.eval_run import check_eval

    check_eval(suite, graph, as_json=as_json)


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
    from ..support.eval_run import report_eval

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
    from ..support.eval_run import compare_evals

    compare_evals(a, b, as_json=as_json, files={"html": html, "markdown": markdown})


@evaluate.command("blame")
@click.argument("a", metavar="RUN_A|THREAD")
@click.argument("b", metavar="[RUN_B]", required=False)
@click.option("--case", metavar="ID", help="The case that THREAD is measured by. Default: as its name says.")
@click.option("--suite", "reference", help="The suite. Default: the file that the run's results name.")
@click.option("--graph", help="The graph of version B, instead of the suite's.")
@click.option(
    "--old",
    metavar="FILE:GRAPH",
    help="Version A's graph, in a checkout of its own. Its nodes run beside B's, and are put back into B.",
)
@results_option("The folder with the runs' results, for runs that are given by name.")
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
    from ..support.eval_blame import blame_runs

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
@results_option("The folder for the results of each assignment.")
@click.option("--repeats", type=click.IntRange(min=1), help="How often each case runs.")
@click.option("--jobs", type=click.IntRange(min=1), help="Trials at a time; in the batch lane, all are.")
@click.option("--budget", "limits", multiple=True, metavar="LIMIT=N", help="A limit for the whole sweep.")
@lane_option
@database_option
@html_option
@markdown_option
@json_option
def eval_sweep(suite: str, html: Path | None, markdown: Path | None, **options: Any) -> None:
    """Find the cheapest models for SUITE's workflow that keep its scores."""
    from ..support.eval_sweep import run_sweep

    sys.exit(run_sweep(suite, files={"html": html, "markdown": markdown}, **options))


@evaluate.command("improve")
@click.argument("suite")
@click.argument("node")
@click.option("--graph", help="The graph to run, instead of the suite's.")
@click.option(
    "--metric",
    help="The score to raise. Default: the node's own, else the first gate's, else one of whole runs.",
)
@click.option(
    "--part",
    type=click.Choice(["prompt", "system"]),
    help="Rewrite the prompt or the system message. Default: the longer one.",
)
@click.option("--seed", default=0, show_default=True, help="By which the cases to hold out are drawn.")
@click.option(
    "--held-out",
    type=float,
    default=0.5,
    show_default=True,
    help="The share of the cases that is held out for the test.",
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=12, show_default=True, help="How many new prompts to try."
)
@click.option(
    "--run", "name", metavar="NAME", help="The search's name. One of that name that was stopped goes on."
)
@results_option("The folder for the results on the held-out cases.")
@click.option("--repeats", type=click.IntRange(min=1), help="How often each case runs.")
@click.option("--jobs", type=click.IntRange(min=1), help="Trials at a time.")
@click.option(
    "--budget",
    "limits",
    multiple=True,
    metavar="LIMIT=N",
    help="A limit for search and test together: calls=400, usd=2. Default: the suite's. Repeatable.",
)
@model_option
@click.option(
    "--write",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the new prompt there, if it is better.",
)
@click.option("--force", is_flag=True, help="With --write: put it in the place of a file that is there.")
@database_option
@html_option
@markdown_option
@json_option
def eval_improve(suite: str, node: str, html: Path | None, markdown: Path | None, **options: Any) -> None:
    """Look for a better prompt of NODE in SUITE's workflow, and test it on held-out cases.

    The model of the role `reflector` (else `default`) reads what failed and proposes prompts. No code is
    changed: the report has the new prompt.
    """
    from ..support.eval_improve import improve_prompt

    sys.exit(improve_prompt(suite, node, files={"html": html, "markdown": markdown}, **options))


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
