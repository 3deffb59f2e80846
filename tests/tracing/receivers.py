"""An OTLP receiver on loopback that decodes what it gets, or fails as a test tells it to."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from stepgraph.tracing.export.otlp import Destination
from stepgraph.tracing.export.settings import TracingSettings, langfuse


class Receiver:
    """Takes spans under any path, up to `limit` bytes at once, and scores, and has `prompts`.

    `status` is what it answers with; while `hold` is clear it hangs, and while `answers` is clear it takes
    what comes and does not say so. `takes` are the forms in which it takes scores: newer servers take a
    list, those of version 4 one object a request. `says` is what it answers to spans and metrics,
    in the form `kind`, and `redirects_to` where it sends who comes.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.asked: list[str] = []
        self.prompts: dict[str, dict[str, Any]] = {}
        self.bad_scores: set[str] = set()
        self.status = 200
        self.limit = 1 << 30
        self.says, self.kind = b"", "application/x-protobuf"
        self.redirects_to = ""
        self.hold = threading.Event()
        self.hold.set()
        self.answers = threading.Event()
        self.answers.set()
        self.takes: set[type] = {list}
        self.refused: list[Any] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> Any:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.hold.wait(30)
                status = receiver.status if len(body) <= receiver.limit else 413
                answer = receiver.says
                if status == 200 and self.path.endswith("/scores"):
                    status, answer = receiver.judge(json.loads(body))
                if status in (200, 202, 207):
                    receiver.requests.append((self.path, dict(self.headers), body))
                receiver.answers.wait(30)
                self._answer(status, answer)

            def do_GET(self) -> None:
                receiver.hold.wait(30)
                receiver.asked.append(self.path)
                name = self.path.removeprefix("/api/public/v2/prompts/").partition("?")[0]
                prompt = receiver.prompts.get(name)
                found = receiver.status == 200 and prompt is not None
                status = 404 if receiver.status == 200 and not found else receiver.status
                self._answer(status, json.dumps(prompt if found else {"message": "no"}).encode())

            def _answer(self, status: int, body: bytes) -> None:
                try:
                    self.send_response(status)
                    if receiver.redirects_to:
                        self.send_header("Location", receiver.redirects_to)
                    self.send_header("Content-Type", receiver.kind)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # nobody waits any more

            def log_message(self, *_: object) -> None: ...

        return Handler

    def judge(self, scores: Any) -> tuple[int, bytes]:
        """Return what Langfuse says of a score, or of a list of them: all accepted, or how many not."""
        given = scores if isinstance(scores, list) else [scores]
        bad = [score for score in given if isinstance(score, dict) and score["name"] in self.bad_scores]
        if type(scores) not in self.takes:
            self.refused.append(scores)
            expected = "array" if isinstance(scores, dict) else "object"
            problem = [{"code": "invalid_type", "path": [], "message": f"expected {expected}"}]
            return 400, json.dumps({"message": "Invalid request data", "error": problem}).encode()
        if isinstance(scores, dict):
            if bad:
                self.refused.append(scores)
                return 400, json.dumps({"message": f"{scores['name']} fits no config"}).encode()
            return 200, json.dumps({"id": scores["id"]}).encode()
        if not bad:
            return 202, json.dumps({"message": "Accepted"}).encode()
        errors = [{"message": f"{score['name']} fits no config"} for score in bad]
        told = {"accepted": len(given) - len(bad), "rejected": len(bad), "errors": errors}
        return 207, json.dumps(told).encode()

    @property
    def spans(self) -> list[Span]:
        """All spans that were accepted, in the order in which they came."""
        found = []
        for path, _, body in self.requests:
            if path.endswith("/v1/traces"):
                request = ExportTraceServiceRequest.FromString(body)
                found += [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
        return found

    @property
    def metrics(self) -> list[dict[str, Metric]]:
        """All metrics that were accepted, by name, of each request."""
        bodies = [body for path, _, body in self.requests if path.endswith("/v1/metrics")]
        requests = map(ExportMetricsServiceRequest.FromString, bodies)
        return [
            {
                metric.name: metric
                for r in request.resource_metrics
                for s in r.scope_metrics
                for metric in s.metrics
            }
            for request in requests
        ]

    @property
    def scores(self) -> list[dict[str, Any]]:
        bodies = [json.loads(body) for path, _, body in self.requests if path.endswith("/scores")]
        return [score for body in bodies for score in (body if isinstance(body, list) else [body])]

    def langfuse(self, timeout_s: float = 10.0) -> Destination:
        return langfuse("pk-lf-test", "sk-lf-test", self.url, timeout_s=timeout_s)

    def settings(self, **changes: Any) -> TracingSettings:
        return TracingSettings(destinations=(self.langfuse(),), **changes)


def attributes(span: Span | HistogramDataPoint | NumberDataPoint) -> dict[str, Any]:
    """Return the attributes of a span, or of a point of a metric, as Python values."""
    found: dict[str, Any] = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return found


def cost_of(span: Span) -> float:
    """Return what Langfuse would take for the cost of a span."""
    details = attributes(span).get("langfuse.observation.cost_details")
    return float(json.loads(details)["total"]) if details else 0.0


def by_name(spans: list[Span]) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = {}
    for span in spans:
        found.setdefault(span.name, []).append(span)
    return found
