"""The HTTP connection under OpenTelemetry's exporter, which says what a server answered.

The exporter tells only whether it succeeded, tries again for seconds, adds the headers of the
environment to every destination, and logs each failure. Here a failure ends an export at once, with its
reason: what to do about it, and when to try again, is the outbox's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests

_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_UNTRACED = "_SUPPRESS_INSTRUMENTATION_KEY"  # as OpenTelemetry's own processors do around an export
_OF_THE_BODY = {"content-type", "content-encoding", "user-agent"}


@dataclass(frozen=True)
class HttpOutcome:
    """What became of a request: the server's answer, or why there is none."""

    success: bool
    status: int | None = None
    error: str = ""


class Unsent(Exception):
    """A request that did not succeed. The exporter does not know it, so it does not try again."""


_quiet: ContextVar[bool] = ContextVar("stepgraph_exporting", default=False)


def _not_ours(_: logging.LogRecord) -> bool:
    return not _quiet.get()


class HttpSession:
    """Posts what the exporter hands it, with these headers and those of the body only."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._known = _OF_THE_BODY | {name.lower() for name in headers}
        self._status: int | None = None
        self._error = ""

    def outcome_of(self, export: Callable[[], Any]) -> HttpOutcome:
        """Export, quietly, and return what the server answered."""
        from opentelemetry import context

        self._status, self._error = None, ""
        quiet = _quiet.set(True)
        untraced = context.attach(context.set_value(getattr(context, _UNTRACED, _UNTRACED), True))
        try:
            success = export().name == "SUCCESS"
        except Unsent:
            success = False
        finally:
            context.detach(untraced)
            _quiet.reset(quiet)
        return HttpOutcome(success, self._status, self._error or "the spans could not be encoded")

    @cached_property
    def session(self) -> requests.Session:
        """The session to give to an exporter."""
        import requests

        post = self

        class Session(requests.Session):
            def request(self, *args: Any, **kwargs: Any) -> requests.Response:
                given = kwargs.get("headers") or {}
                kwargs["headers"] = {n: v for n, v in given.items() if n.lower() in post._known}
                try:
                    response = super().request(*args, **kwargs)
                except requests.RequestException as error:
                    post._error = type(error).__name__
                    raise Unsent from None
                post._status = response.status_code
                if not response.ok or response.is_redirect:
                    raise Unsent
                return response

        logger = logging.getLogger(_EXPORTER)
        if _not_ours not in logger.filters:
            logger.addFilter(_not_ours)
        return Session()
