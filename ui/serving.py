"""`stepgraph ui`: the pages, served to this machine only."""

from __future__ import annotations

import hmac
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl, quote

from ..state.errors import InputError, SettingsError
from ..state.masking import EVERYTHING, Masker
from ..state.session.session import Session
from .actions import Actions, FormData
from .guarding import AccessGuard
from .pages import Pages
from .queries import Query
from .records import Reader
from .templating import INSTALL_HELP, prepare

LOOPBACK = "127.0.0.1"


MOST_POSTED = 20_000_000  # bytes of a form


def application(
    session: Session, *, token: str, port: int, mask: Masker = EVERYTHING, actions: Actions | None = None
) -> AccessGuard:
    """Return the pages on a session's record as an ASGI application; without `actions`, they only read.

    Raises SettingsError without the extra.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.requests import Request
        from starlette.responses import Response
        from starlette.routing import Route
    except ImportError:
        raise SettingsError(INSTALL_HELP) from None
    prepare()
    form_token = hmac.new(token.encode(), b"forms", "sha256").hexdigest()  # the token itself is on no page
    pages = Pages(Reader(session), mask, actions, form_token)

    async def page(request: Request) -> Response:
        if request.method == "POST":
            form = await _form_of(request.stream())
            if form is None:
                return Response("The form is too large.", 413, media_type="text/plain")
            reply = await run_in_threadpool(pages.post, request.url.path, form)
        else:
            query = Query(request.query_params.multi_items())
            reply = await run_in_threadpool(pages.answer, request.url.path, query)
        headers = {"content-disposition": f'attachment; filename="{reply.save_as}"'} if reply.save_as else {}
        body = reply.body.encode("utf-8", "replace") if isinstance(reply.body, str) else reply.body
        return Response(body, reply.status, headers={**reply.headers, **headers, "content-type": reply.kind})

    app = Starlette(routes=[Route("/{path:path}", page, methods=["GET", "HEAD", "POST"])])
    return AccessGuard(app, token, port, writes=actions is not None)


async def _form_of(stream: AsyncIterator[bytes]) -> FormData | None:
    """Return what a form says, None if that is too much."""
    body = bytearray()
    async for part in stream:
        body += part
        if len(body) > MOST_POSTED:
            return None
    try:
        text = body.decode("latin-1")
        return FormData(parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=1000))
    except ValueError:
        return None


def listen(port: int) -> socket.socket:
    """Return a socket on this machine's own address. Raises InputError if the port is taken."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
        listening.listen()  # who opens the address at once waits, and is not turned away
    except OSError as error:
        listening.close()
        raise InputError(f"Port {port} cannot be used: {error.strerror}. Name another, or none.") from None
    return listening


def server(app: AccessGuard) -> Any:
    """Return a server of the pages; its `run` takes the sockets. Raises SettingsError without the extra."""
    try:
        import uvicorn
    except ImportError:
        raise SettingsError(INSTALL_HELP) from None
    settings = uvicorn.Config(
        app,
        access_log=False,  # it would have the token in it
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(settings)


def serve(
    session: Session,
    *,
    port: int = 0,
    mask: Masker = EVERYTHING,
    thread: str | None = None,
    actions: Actions | None = None,
    ready: Callable[[str, str], None],
) -> None:
    """Serve the pages until interrupted.

    `ready` is given the address with the token in it, and one that lets in only once: it may be handed to a
    browser on a command line, which others on this machine can see.
    """
    token = secrets.token_urlsafe(32)
    with listen(port) as listening:
        app = application(session, token=token, port=listening.getsockname()[1], mask=mask, actions=actions)
        where = f"run?thread={quote(thread, safe='')}&" if thread is not None else "?"
        at = f"http://{LOOPBACK}:{listening.getsockname()[1]}/{where}token="
        ready(at + token, at + app.admit_once())
        server(app).run(sockets=[listening])
