"""What an OTLP endpoint answers is read within a bound, whatever it says."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stepgraph.tracing.export.http_session import MOST_READ, HttpSession

FLOOD = b" " * (8 << 20)


class Flood(BaseHTTPRequestHandler):
    """Answers with 8 MiB; `/packed` with these in gzip; `/broken` with no gzip; `/short` with 2 bytes."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = {"/flood": FLOOD, "/packed": gzip.compress(FLOOD), "/broken": b"no gzip"}.get(self.path, b"ok")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.path in ("/packed", "/broken"):
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:  # who asked has read enough
            self.close_connection = True

    def log_message(self, *_: object) -> None: ...


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of a connection that was given up: that is what this is about."""


@pytest.fixture
def address() -> Iterator[str]:
    with Quiet(("127.0.0.1", 0), Flood) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@pytest.mark.parametrize("path", ["/flood", "/packed"])
def test_no_more_than_the_bound_is_kept_of_an_answer(address: str, path: str) -> None:
    post = HttpSession({})
    kept: list[Any] = []
    outcome = post.outcome_of(lambda: not kept.append(post.session.post(address + path, data=b"x")))
    post.close()
    assert outcome.success
    assert len(kept[0].content) == MOST_READ


def test_an_answer_that_cannot_be_unpacked_is_an_outcome(address: str) -> None:
    post = HttpSession({})
    outcome = post.post(f"{address}/broken", b"", 10)
    assert (outcome.success, outcome.error) == (False, "ContentDecodingError")
    assert post.post(f"{address}/short", b"", 10).success
    post.close()
