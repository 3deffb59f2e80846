"""One OTLP endpoint, and what becomes of spans that are sent there.

Nothing here goes through OpenTelemetry's SDK: its span processor drops what its queue cannot hold, and tells
nobody what arrived. Only its messages are used, which are OTLP's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...state.errors import SettingsError
from ...state.masking import EVERYTHING, Masker
from ..record.attributes import braintrust_attributes, genai_attributes, genai_name
from ..record.spans import Row, Span, Trace
from .http_session import HttpOutcome, HttpSession
from .langfuse import langfuse_attributes, langfuse_name
from .langfuse_client import LangfuseClient
from .otlp_spans import Dialect, request_of

DIALECTS: dict[str, Dialect] = {
    "otel": Dialect(genai_attributes, genai_name),
    "braintrust": Dialect(braintrust_attributes, genai_name),
    "langfuse": Dialect(langfuse_attributes, langfuse_name, merges=True),
}

MOST_SPANS = 400
MOST_BYTES = 3_000_000
MOST_SAID = 3
# The columns that can be long, of calls, nodes and retrievals.
_LONG = (
    *("messages", "params", "answer", "tool_calls", "reasoning", "media", "input", "output", "interrupts"),
    *("query", "passages", "error", "problem"),
)

CUT = 100_000  # characters of a text in a span that is refused as it is
_PASSING = (408, 425, 429)
UNFIT = (400, 413, 422)


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

    `settled` are those of the refused that are not worth another try. `blocked` says that the
    destination takes nothing now, so that the rest waits.
    """

    arrived: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    blocked: bool = False

    @property
    def problem(self) -> str | None:
        """What went wrong, in a line; the first of it, where it is much."""
        problems = list(dict.fromkeys(self.problems))
        more = f" (and {len(problems) - MOST_SAID} more)" if len(problems) > MOST_SAID else ""
        return "; ".join(problems[:MOST_SAID]) + more if problems else None

    def __add__(self, other: Delivery) -> Delivery:
        return Delivery(
            self.arrived + other.arrived,
            self.refused + other.refused,
            self.settled + other.settled,
            self.problems + other.problems,
            self.blocked or other.blocked,
        )


class Sender:
    """Sends spans to one destination, over one kept connection."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.name = destination.name
        named = destination.dialect
        self.dialect = DIALECTS[named] if isinstance(named, str) else named
        self._post = HttpSession(destination.headers)

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
        try:
            request = request_of(spans, self.dialect, to.mask, {"service.name": to.service}, to.scope, most)
        except ImportError:
            raise SettingsError(
                "To send traces, install an extra: pip install 'stepgraph[langfuse]' (or [otel]). "
                "They are in the local file."
            ) from None
        outcome = self._post.post(to.url, request.SerializeToString(), to.timeout_s)
        outcome = replace(outcome, rejected=to.mask.text(outcome.rejected))
        delivery = delivery_of(to.name, outcome, tuple(span.id for span in spans))
        if delivery.refused and len(spans) > 1:
            half = len(spans) // 2
            return self._send(spans[:half]) + self._send(spans[half:])
        if delivery.refused and most is None:
            return self._send(spans, CUT)
        return delivery

    def send_scores(self, scores: Sequence[tuple[Trace, Row]]) -> Delivery:
        """Send scores, to a destination that takes any: Langfuse."""
        to = self.destination
        if to.client is None or not scores:
            return Delivery()
        try:
            outcome = to.client.send(scores, to.mask)
        except SettingsError as error:
            return Delivery(refused=tuple(score["id"] for _, score in scores), problems=(str(error),))
        delivery = Delivery(arrived=outcome.arrived)
        named = {score["id"]: (trace.thread_id, score["name"]) for trace, score in scores}
        for id_, reason in outcome.refused:
            thread, name = named[id_]
            problem = f"{to.name} refused the score {name!r} of the thread {thread!r}: {to.mask.text(reason)}"
            delivery += Delivery(refused=(id_,), settled=(id_,), problems=(problem,))
        if outcome.stopped:
            why = outcome.error if outcome.status is None else ""
            delivery += delivery_of(to.name, HttpOutcome(False, outcome.status, why), ())
        return delivery

    def close(self) -> None:
        self._post.close()


def delivery_of(name: str, outcome: HttpOutcome, ids: tuple[str, ...]) -> Delivery:
    if outcome.success:
        rejected = f"{name} took the request and rejected of it {outcome.rejected}"
        return Delivery(arrived=ids, problems=(rejected,) if outcome.rejected else ())
    status = outcome.status
    if status is None:
        return Delivery(problems=(f"{name} cannot be reached: {outcome.error}",), blocked=True)
    problem = f"{name} answered {status} {outcome.error}".rstrip()
    if status in UNFIT:
        return Delivery(refused=ids, problems=(problem,))
    if status in _PASSING or status >= 500:
        return Delivery(problems=(problem,), blocked=True)
    return Delivery(problems=(f"{problem}: check the keys and the address",), blocked=True)


def _portions(spans: Sequence[Span]) -> Iterator[list[Span]]:
    portion: list[Span] = []
    size = 0
    for span in spans:
        row = span.row
        weight = sum([len(value) for name in _LONG if (value := row.get(name))])
        if portion and (len(portion) >= MOST_SPANS or size + weight > MOST_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(span)
        size += weight
    if portion:
        yield portion
