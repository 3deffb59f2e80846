"""`stepgraph mcp`: a workflow as an MCP tool, over stdin and stdout or over HTTP to this machine."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

import click

from ...nodes.code_tools import code_server, code_tools
from ...nodes.mcp_sessions import INSTALL_HELP
from ...providers.keys import find_key
from ...runners.bindings import check_roles, parse_models
from ...runners.loading import load_graph
from ...state.database import Database
from ...state.errors import InputError, SettingsError
from ...state.keys_in_use import remember
from ...state.session.session import Session
from ...tracing.export.live import Tracing
from ...ui.guarding import BearerGuard
from .limits import parse_budget
from .mcp_tool import WorkflowTool

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server.lowlevel import Server

    Serve = Callable[[], Server[Any, Any]]

LEAST_TOKEN = 16
CODE_TOOLS = "code-tools"


def serve_graph(
    reference: str,
    *,
    http: bool,
    port: int | None,
    token_env: str | None,
    folder: str | None,
    write: bool,
    limits: Sequence[str],
    models: Sequence[str],
    database: Database,
) -> None:
    """Serve a graph until the client leaves, or until interrupted."""
    if not http and (port is not None or token_env is not None):
        raise InputError(f"{'--port' if port is not None else '--token-env'} goes with --http.")
    token = _token(token_env)
    try:
        import mcp as _  # noqa: F401
    except ImportError:
        raise SettingsError(f"The packages of MCP are not installed. {INSTALL_HELP}") from None
    if reference != CODE_TOOLS and (folder is not None or write):
        raise InputError(f"{'--folder' if folder is not None else '--write'} goes with {CODE_TOOLS}.")

    def offer(serve: Serve) -> None:
        if pipes is not None:
            asyncio.run(_over_stdio(serve, *pipes))
        else:
            with suppress(KeyboardInterrupt):
                _over_http(serve, port or 0, token, shows_token=token_env is None)

    if reference == CODE_TOOLS:
        tools = code_tools(folder or ".", write=write)
        pipes = None if http else _kept_for_the_protocol()
        offer(lambda: code_server(tools))
        return
    pipes = None if http else _kept_for_the_protocol()
    loaded = load_graph(reference)
    bound = parse_models(models)
    check_roles(bound, loaded.graph)
    with Session(database, tracing=Tracing()) as session:
        offer(WorkflowTool(loaded, session, bound, parse_budget(limits)).server)


def _token(variable: str | None) -> str:
    """Return the token that clients must send: from the environment, else a new one. Raises SettingsError."""
    if variable is None:
        token = secrets.token_urlsafe(32)
        remember(token)  # so that it gets into no record
        return token
    token = find_key(variable, "stepgraph mcp --http") or ""
    if len(token) < LEAST_TOKEN:
        raise SettingsError(
            f"{variable} has no token for --http: at least {LEAST_TOKEN} characters, such as those of "
            '`python -c "import secrets; print(secrets.token_urlsafe(32))"`.'
        )
    return token


def _kept_for_the_protocol() -> tuple[int, int]:
    """Return stdin and stdout, which nobody else has from now on: what is printed goes to stderr."""
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout.flush()
    os.dup2(2, 1)
    return reading, writing


async def _over_stdio(serve: Serve, reading: int, writing: int) -> None:
    import anyio
    from mcp.server.stdio import stdio_server

    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb") as stdout:
        source = anyio.wrap_file(TextIOWrapper(stdin, encoding="utf-8", errors="replace"))
        target = anyio.wrap_file(TextIOWrapper(stdout, encoding="utf-8"))
        async with stdio_server(source, target) as (incoming, outgoing):
            server = serve()
            await server.run(incoming, outgoing, server.create_initialization_options())


def _over_http(serve: Serve, port: int, token: str, *, shows_token: bool) -> None:
    import uvicorn
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp.server.transport_security import TransportSecuritySettings
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from ...ui.serving import LOOPBACK, listen

    with listen(port) as listening:
        own = listening.getsockname()[1]
        hosts = [f"{LOOPBACK}:{own}", f"localhost:{own}"]
        manager = StreamableHTTPSessionManager(
            serve(),
            security_settings=TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[]),
        )

        @asynccontextmanager
        async def running(_: Starlette) -> AsyncIterator[None]:
            async with manager.run():
                yield

        guarded = BearerGuard(manager.handle_request, token)
        app = Starlette(routes=[Mount("/", app=guarded)], lifespan=running)
        shown = token if shows_token else "the token that you gave"
        click.echo(f"http://{LOOPBACK}:{own}/mcp\nAuthorization: Bearer {shown}\nCtrl-C ends it.")
        settings = uvicorn.Config(
            app, access_log=False, log_level="warning", server_header=False, timeout_graceful_shutdown=2
        )
        uvicorn.Server(settings).run(sockets=[listening])
