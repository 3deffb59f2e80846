"""As much of Langfuse's API as datasets and experiments need, on loopback: what it got is kept as it came."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from stepgraph.tracing.export.otlp import Destination
from stepgraph.tracing.export.settings import langfuse

NOW = "2026-11-01T12:00:00Z"
PROJECT = "project-1"


class LangfuseServer:
    """Takes datasets, items, spans and scores. `refuses` names paths that answer with `status`."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.items: dict[str, dict[str, Any]] = {}
        self.refuses = "nothing"
        self.status = 503
        self.page = 100
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def project(self) -> Destination:
        return langfuse("pk-lf-test", "sk-lf-test", self.url)

    def bodies(self, path: str) -> list[Any]:
        """Return what was posted to a path, in the order in which it came."""
        return [json.loads(body) for place, _, body in self.posts if place == path]

    @property
    def scores(self) -> list[dict[str, Any]]:
        return [score for body in self.bodies("/api/public/scores") for score in body]

    @property
    def spans(self) -> list[Span]:
        found = []
        for path, _, body in self.posts:
            if path.endswith("/v1/traces"):
                request = ExportTraceServiceRequest.FromString(body)
                found += [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
        return found

    def answer_to(self, path: str, body: bytes) -> Any:
        if path == "/api/public/v2/datasets":
            name = json.loads(body)["name"]
            dates = {"createdAt": NOW, "updatedAt": NOW}
            return {"id": f"dataset {name}", "name": name, "metadata": {}, "projectId": PROJECT, **dates}
        if path == "/api/public/dataset-items":
            item = json.loads(body)
            self.items[item["id"]] = item
            return _stored(item)
        if path == "/api/public/scores":
            return {"accepted": len(json.loads(body))}
        return {}

    def listed(self, query: dict[str, list[str]]) -> Any:
        page = int(query["page"][0])
        found = [item for item in self.items.values() if item["datasetName"] == query["datasetName"][0]]
        pages = -(-len(found) // self.page)
        shown = found[(page - 1) * self.page : page * self.page]
        meta = {"page": page, "limit": self.page, "totalItems": len(found), "totalPages": pages}
        return {"data": [_stored(item) for item in shown], "meta": meta}

    def _handler(self) -> Any:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if server.refuses in self.path:
                    return self._answer(server.status, {"message": "out of order"})
                server.posts.append((self.path, dict(self.headers), body))
                code = 202 if self.path.endswith("/scores") else 200
                return self._answer(code, server.answer_to(self.path, body))

            def do_GET(self) -> None:
                self._answer(200, server.listed(parse_qs(urlsplit(self.path).query)))

            def _answer(self, status: int, data: Any) -> None:
                body = json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        return Handler


def _stored(item: dict[str, Any]) -> dict[str, Any]:
    dates = {"createdAt": NOW, "updatedAt": NOW}
    kept = {"expectedOutput": None, "metadata": None, "mediaReferences": [], **item}
    return {**kept, "status": "ACTIVE", "datasetId": f"dataset {item['datasetName']}", **dates}


def attributes(span: Span) -> dict[str, str]:
    """Return a span's text attributes."""
    return {pair.key: pair.value.string_value for pair in span.attributes}
