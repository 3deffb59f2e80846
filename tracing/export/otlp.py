"""One OTLP endpoint, and what becomes of spans that are sent there.

Spans go through OpenTelemetry's exporter, the object that Langfuse's SDK sends with too. It is used
directly, without the SDK's span processor: that drops what its queue cannot hold, and tells nobody
what arrived.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...state.errors import SettingsError
from ...state.masking import EVERYTHING, Masker
from ..record.attributes import genai_attributes
from ..record.spans import Row, Span, Trace
from .http_session import HttpOutcome, HttpSession
from .langfuse import langfuse_attributes
from .langfuse_client import LangfuseClient
from .otlp_spans import Dialect, readable

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

DIALECTS: dict[str, Dialect] = {"otel": genai_attributes, "langfuse": langfuse_attributes}

MOST_SPANS = 400
MOST_BYTES = 3_000_000
CUT = 100_000  # characters of a text in a span that is refused as it is
_PASSING = (408, 425, 429)
_UNFIT = (400, 413, 422)


@dataclass(frozen=True)
class Destination:
    """Where traces go: an OTLP address over HTTP, its headers, and in whose words spans are told.

    `name` stands for it in the record of what was sent; the headers, which hold keys, are never kept.
    `scope` is the name, version and attributes of the instrumentation that spans claim to come from.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    dialect: str | Dialect = "otel"
    timeout_s: float = 10.0
    mask: Masker = field(default=EVERYTHING, repr=False)
    service: str = "stepgraph"
    scope: tuple[str, str, Mapping[str, str]] | None = None
    client: LangfuseClient | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Delivery:
    """What became of spans: the ids that arrived, those that were refused for good, and what went wrong.

    `blocked` says that the destination takes nothing now, so that the rest waits.
    """

    arrived: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    problem: str | None = None
    blocked: bool = False

    def __add__(self, other: Delivery) -> Delivery:
        return Delivery(
            self.arrived + other.arrived,
            self.refused + other.refused,
            other.problem or self.problem,
            self.blocked or other.blocked,
        )


class Sender:
    """Sends spans to one destination, over one kept connection."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.name = destination.name
        self._post = HttpSession(destination.headers)
        self._exporter: SpanExporter | None = None

    def send(self, spans: Sequence[Span]) -> Delivery:
        """Send spans in portions; the first portion that the server does not take now ends it."""
        delivery = Delivery()
        for portion in _portions(spans):
            delivery += self._send(portion)
            if delivery.blocked:
                break
        return delivery

    def _send(self, spans: Sequence[Span], most: int | None = None) -> Delivery:
        to = self.destination
        exporter = self._exporter_of()
        dialect = DIALECTS[to.dialect] if isinstance(to.dialect, str) else to.dialect
        made = readable(spans, dialect, to.mask, {"service.name": to.service}, to.scope, most)
        outcome = self._post.outcome_of(lambda: exporter.export(made))
        delivery = _delivery(to.name, outcome, tuple(span.id for span in spans))
        if delivery.refused and len(spans) > 1:
            half = len(spans) // 2
            return self._send(spans[:half]) + self._send(spans[half:])
        if delivery.refused and most is None:
            return self._send(spans, CUT)
        return delivery

    def _exporter_of(self) -> SpanExporter:
        if self._exporter is None:
            try:
                from opentelemetry.exporter.otlp.proto.http import Compression
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            except ImportError:
                raise SettingsError(
                    "To send traces, install an extra: pip install 'stepgraph[langfuse]' (or [otel]). "
                    "They are in the local file."
                ) from None
            self._exporter = OTLPSpanExporter(
                endpoint=self.destination.url,
                headers=dict(self.destination.headers),
                timeout=self.destination.timeout_s,
                compression=Compression.Gzip,
                session=self._post.session,
            )
        return self._exporter

    def send_scores(self, scores: Sequence[tuple[Trace, Row]]) -> Delivery:
        """Send scores, to a destination that takes any: Langfuse."""
        to = self.destination
        if to.client is None or not scores:
            return Delivery()
        ids = tuple(score["id"] for _, score in scores)
        try:
            outcome = to.client.send(scores, to.mask)
        except SettingsError as error:
            return Delivery(refused=ids, problem=str(error))
        delivery = _delivery(to.name, outcome, ids)
        if delivery.refused and len(scores) > 1:
            half = len(scores) // 2
            return self.send_scores(scores[:half]) + self.send_scores(scores[half:])
        return delivery

    def close(self) -> None:
        if self._exporter is not None:
            self._exporter.shutdown()
            self._exporter = None


def _delivery(name: str, outcome: HttpOutcome, ids: tuple[str, ...]) -> Delivery:
    if outcome.success:
        return Delivery(arrived=ids)
    status = outcome.status
    if status is None:
        return Delivery(problem=f"{name} cannot be reached: {outcome.error}", blocked=True)
    problem = f"{name} answered {status}"
    if status in _UNFIT:
        return Delivery(refused=ids, problem=problem)
    if status in _PASSING or status >= 500:
        return Delivery(problem=problem, blocked=True)
    return Delivery(problem=f"{problem}: check the keys and the address", blocked=True)


def _portions(spans: Sequence[Span]) -> Iterator[list[Span]]:
    portion: list[Span] = []
    size = 0
    for span in spans:
        weight = sum(len(value) for value in span.row.values() if isinstance(value, str))
        if portion and (len(portion) >= MOST_SPANS or size + weight > MOST_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(span)
        size += weight
    if portion:
        yield portion
