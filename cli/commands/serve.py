"""Commands that offer a workflow to other programs."""

from __future__ import annotations

from typing import Any

import click

from ..options import budget_option, database_option, model_option


@click.command()
@click.argument("graph")
@click.option("--http", is_flag=True, help="Serve HTTP to this machine, instead of stdin and stdout.")
@click.option("--port", type=click.IntRange(1, 65535), help="With --http: the port; default: any free one.")
@click.option(
    "--token-env",
    metavar="VARIABLE",
    help="With --http: which environment variable has the token that clients send; default: a new one.",
)
@budget_option
@model_option
@database_option
def mcp(graph: str, **options: Any) -> None:
    """Serve GRAPH as an MCP tool: its state is the tool's input, its end the result."""
    from ..support.mcp_serving import serve_graph

    serve_graph(graph, **options)
