"""Commands that offer a workflow to other programs."""

from __future__ import annotations

from typing import Any

import click

from ..options import budget_option, database_option, model_option, on_option


@click.command()
@click.argument("graph")
@click.option("--http", is_flag=True, help="Serve HTTP to this machine, instead of stdin and stdout.")
@click.option("--port", type=click.IntRange(1, 65535), help="With --http: the port; default: any free one.")
@click.option(
    "--token-env",
    metavar="VARIABLE",
    help="With --http: which environment variable has the token that clients send; default: a new one.",
)
@click.option("--folder", metavar="FOLDER", help="With code-tools: the folder; default: this one.")
@click.option("--write", is_flag=True, help="With code-tools: apply_edit writes the files.")
@budget_option
@model_option
@database_option
def mcp(graph: str, **options: Any) -> None:
    """Serve GRAPH as an MCP tool: its state is the tool's input, its end the result.

    `code-tools` serves the workers on code instead, without a model: search_code, compress_code, apply_edit.
    """
    from ..support.mcp_serving import serve_graph

    serve_graph(graph, **options)


@click.command()
@click.argument("graphs", nargs=-1, required=True)
@on_option
@click.option(
    "--at-once", type=click.IntRange(min=1), default=100, show_default=True, help="Threads at a time."
)
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(min=0),
    default=20.0,
    show_default=True,
    help="Seconds in which calls under way may end, when the worker is to end.",
)
@click.option(
    "--metrics",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve figures for Prometheus to this machine: http://127.0.0.1:PORT/metrics.",
)
@click.option("--finish", is_flag=True, help="Begin no threads: go on with those of the graphs' versions.")
@model_option
@database_option
def worker(graphs: tuple[str, ...], **options: Any) -> None:
    """Run the threads of GRAPHS that `run --on` or `submit` hand over, until SIGTERM or Ctrl-C.

    Start as many as you like, on any machine that reaches the database. NAME=GRAPH serves one under another
    name.
    """
    from ..support.workers import serve_graphs

    serve_graphs(graphs, **options)
