"""The HTTP connection to an OTLP endpoint, which says what the server answered.

Spans are posted over it, and OpenTelemetry's exporter of metrics has it underneath. The exporter tells only
whether it succeeded, tries again for seconds, adds the headers of the environment to every destination, and
logs each failure. Here a failure ends an export at once, with its reason: what to do about it, and when to
try again, is the outbox's business.
"""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .otlp_spans import own_version

if TYPE_CHECKING:
    import requests

MOST_READ = 1 << 16
_EXPORTER = "opentelemetry.exporter.otlp.proto.http.metric_exporter"
_UNTRACED = "_SUPPRESS_INSTRUMENTATION_KEY"  # as OpenTelemetry's own processors do around an export
_PROTOBUF = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
_OF_THE_BODY = {"content-type", "content-encoding", "user-agent"}


@dataclass(frozen=True)
class HttpOutcome:
    """What became of a request: the server's answer, or why there is none."""

    success: bool
    status: int | None = None
    error: str = ""
    rejected: str = ""  # what a server says that it left out of what it took


class Unsent(Exception):
    """A request that did not succeed. The exporter does not know it, so it does not try again."""


_quiet: ContextVar[bool] = ContextVar("stepgraph_exporting", default=False)


def _not_ours(_: logging.LogRecord) -> bool:
    return not _quiet.get()


class HttpSession:
    """Posts what it is handed, with these headers and those of the body only."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)
        self._known = _OF_THE_BODY | {name.lower() for name in headers}
        self._status: int | None = None
        self._error = self._rejected = ""

    def post(self, url: str, body: bytes, timeout_s: float) -> HttpOutcome:
        """Post an encoded OTLP request, and return what the server answered."""
        headers = {"User-Agent": f"stepgraph/{own_version()}", **self._headers, **_PROTOBUF}
        data = gzip.compress(body, mtime=0)
        return self.outcome_of(
            lambda: bool(self.session.post(url, data=data, headers=headers, timeout=timeout_s))
        )

    def outcome_of(self, export: Callable[[], bool]) -> HttpOutcome:
        """Export, quietly, and return what the server answered."""
        from opentelemetry import context

        self._status, self._error, self._rejected = None, "", ""
        quiet = _quiet.set(True)
        untraced = context.attach(context.set_value(getattr(context, _UNTRACED, _UNTRACED), True))
        try:
            success = export()
        except Unsent:
            success = False
        finally:
            context.detach(untraced)
            _quiet.reset(quiet)
        error = self._error or ("" if self._status else "what was to be sent could not be encoded")
        return HttpOutcome(success, self._status, error, self._rejected)

    @cached_property
    def session(self) -> requests.Session:
        """The session, which can be given to an exporter."""
        import requests

        post = self

        class Session(requests.Session):
            def request(self, *args: Any, **kwargs: Any) -> requests.Response:
                headers = kwargs.get("headers") or {}
                # A key would go to wherever an answer points, and a page to log in on would count as success.
                kwargs |= {"allow_redirects": False, "stream": True}
                kwargs["headers"] = {n: v for n, v in headers.items() if n.lower() in post._known}
                try:
                    response = super().request(*args, **kwargs)
                    _read(response)
                except requests.RequestException as error:
                    post._error = type(error).__name__
                    raise Unsent from None
                post._status = response.status_code
                if not 200 <= response.status_code < 300:
                    raise Unsent
                if "text/html" in response.headers.get("Content-Type", ""):
                    post._error = "with a web page"  # whatever took it was no OTLP endpoint
                    raise Unsent
                post._rejected = _rejected_by(response)
                return response

        logger = logging.getLogger(_EXPORTER)
        if _not_ours not in logger.filters:
            logger.addFilter(_not_ours)
        session = Session()
        session.verify = _file("CERTIFICATE") or True
        if certificate := _file("CLIENT_CERTIFICATE"):
            key = _file("CLIENT_KEY")
            session.cert = (certificate, key) if key else certificate
        return session

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if "session" in self.__dict__:
            self.__dict__.pop("session").close()


def _file(name: str) -> str | None:
    """Return the file that OpenTelemetry's variables name, such as the certificates to trust."""
    prefix = "OTEL_EXPORTER_OTLP"
    return os.environ.get(f"{prefix}_TRACES_{name}") or os.environ.get(f"{prefix}_{name}")


def _read(response: requests.Response) -> None:
    """Read the first 64 KiB of an answer, counted as they are unpacked; no server says more to this."""
    content = bytearray()
    with response:
        for part in response.iter_content(4096):
            content += part
            if len(content) >= MOST_READ:
                break
    response._content = bytes(content[:MOST_READ])  # noqa: SLF001


def _rejected_by(response: requests.Response) -> str:
    """Return what an OTLP server says that it rejected of a request that it took, and wants no more."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    if not response.content or "protobuf" not in response.headers.get("Content-Type", ""):
        return ""
    try:  # the answer for metrics has the same form
        partial = ExportTraceServiceResponse.FromString(response.content).partial_success
    except DecodeError:
        return ""
    return f"{partial.rejected_spans}: {partial.error_message}" if partial.rejected_spans else ""
