"""The pages, served for real."""

from __future__ import annotations

import http.client
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from stepgraph import Session
from stepgraph.ui.actions import Actions
from stepgraph.ui.serving import application, listen, server

from .deciding import Recording

TOKEN = "a-token-for-tests"


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str


class Served:
    """A server of the pages in a thread of its own."""

    def __init__(self, session: Session, actions: Actions | None = None) -> None:
        self.session = session
        self._socket = listen(0)
        self.port = self._socket.getsockname()[1]
        self.app = application(session, token=TOKEN, port=self.port, actions=actions)
        self._server = server(self.app)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(
        self,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        cookie: str | None = TOKEN,
        method: str = "GET",
        body: str | None = None,
        **query: Any,
    ) -> Answered:
        """Ask for a page, with the right cookie if no other is given."""
        given = {"Cookie": f"stepgraph_{self.port}={cookie}"} if cookie is not None else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        address = f"{path}?{urlencode(query, doseq=True)}" if query else path
        connection.request(method, address, body, headers={**given, **(headers or {})})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return Answered(answer.status, {n.lower(): v for n, v in answer.getheaders()}, text)

    def post(
        self, path: str, form: dict[str, str], *, headers: dict[str, str] | None = None, **more: str
    ) -> Answered:
        """Send a form as a browser does from one of the pages."""
        given = {"Origin": self.url, "Content-Type": "application/x-www-form-urlencoded"}
        given |= headers or {}
        return self.get(path, method="POST", headers=given, body=urlencode({**form, **more}))

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


@pytest.fixture
def served(session: Session) -> Iterator[Served]:
    served = Served(session)
    yield served
    served.close()


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let each test load a file of the same name."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("desk", None)


@pytest.fixture
def launcher(session: Session) -> Iterator[Recording]:
    """Return one that begins nothing, and notes what it would."""
    launcher = Recording(session)
    yield launcher
    launcher.may_end.set()


@pytest.fixture
def desk(session: Session, launcher: Recording) -> Iterator[Served]:
    """Return pages with forms."""
    served = Served(session, Actions(session, launcher))
    yield served
    served.close()
