"""Who may see the page, or call a workflow: requests to this machine by name, with the token."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer, browsers do not say where a form comes from
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
UNTOLD = {"referrer-policy": "no-referrer"}  # the address has the token in it
TOLD = "Open the address that `stepgraph ui` printed; it has a token in it."
FORM = "application/x-www-form-urlencoded"
ONCE = (b"host", b"origin", b"content-type", b"sec-fetch-site")  # which of two counts, nobody can say
HOSTS = ("127.0.0.1", "localhost")


class AccessGuard:
    """Lets through what carries the token as a cookie; a first request may carry it in its address.

    A request under any other name than this machine's own is refused, whatever it carries: a page from
    elsewhere may have had its name point here. A POST is let through only where the pages have forms
    (`writes`), and only from one of these pages itself.
    """

    def __init__(self, app: App, token: str, port: int, *, writes: bool = False) -> None:
        self._app = app
        self._token = token
        self._cookie = f"stepgraph_{port}"
        self._hosts = {f"{host}:{port}" for host in HOSTS}
        self._once: set[str] = set()
        self._writes = writes

    def admit_once(self) -> str:
        """Return a token that lets in whoever shows it first."""
        token = secrets.token_urlsafe(32)
        self._once.add(token)
        return token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = {name.lower() for name, _ in message["headers"]}
                more = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in sent]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        names = [name.lower() for name, _ in scope["headers"]]
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        if any(names.count(name) > 1 for name in ONCE):
            await _answer(send_safely, 400, "A header that counts once was sent twice.")
        elif headers.get("host", "") not in self._hosts:
            await _answer(send_safely, 421, "This page is at 127.0.0.1 only.")
        elif scope["method"] == "POST" and self._writes:
            if not self._is_known(headers.get("cookie", "")):
                await _answer(send_safely, 403, TOLD)
            elif not _is_from_here(headers):
                await _answer(send_safely, 403, "A form is taken from these pages only.")
            else:
                await self._app(scope, receive, send_safely)
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send_safely, 405, "The page only reads.")
        else:
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            known = self._is_known(headers.get("cookie", ""))
            token = dict(query).get("token")
            if token is not None and (known or self._is_right(token) or token in self._once):
                self._once.discard(token)
                await self._enter(scope["path"], query, send_safely)
            elif known:
                await self._app(scope, receive, send_safely)
            else:
                await _answer(send_safely, 403, TOLD)

    async def _enter(self, path: str, query: list[tuple[str, str]], send: Send) -> None:
        """Take the token out of the address, into a cookie."""
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        path = "/" + quote(path.lstrip("/"))
        cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"
        to = f"{path}?{rest}" if rest else path
        await _answer(send, 303, "", {"location": to, "set-cookie": cookie, **UNTOLD})

    def _is_known(self, cookies: str) -> bool:
        """Tell whether one of the cookies is ours. They are read before anybody is known: in linear time."""
        pairs = (each.partition("=") for each in cookies.split(";"))
        return any(name.strip() == self._cookie and self._is_right(value.strip()) for name, _, value in pairs)

    def _is_right(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self._token.encode())


def _is_from_here(headers: Mapping[str, str]) -> bool:
    """Tell whether a browser sent a form of a page that it got from the same address."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    same = headers.get("origin") == f"http://{headers.get('host', '')}"
    return kind == FORM and same and headers.get("sec-fetch-site", "same-origin") == "same-origin"


class BearerGuard:
    """Lets through what carries the token in its header `Authorization: Bearer …`."""

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        sent = [value for name, value in scope.get("headers", ()) if name.lower() == b"authorization"]
        kind, _, token = (sent[0] if len(sent) == 1 else b"").partition(b" ")
        if secrets.compare_digest(token.strip(), self._token) and kind.lower() == b"bearer":
            await self._app(scope, receive, send)
        else:
            message = "Send the token that `stepgraph mcp --http` printed: Authorization: Bearer TOKEN."
            await _answer(send, 401, message, {"www-authenticate": "Bearer"})


async def _answer(send: Send, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
    from starlette.responses import PlainTextResponse

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await PlainTextResponse(text, status, headers)({"type": "http"}, receive, send)
