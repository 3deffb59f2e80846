"""One OTLP endpoint, and what becomes of spans that are sent there."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..state.masking import EVERYTHING, Masker
from .attributes import genai_attributes
from .langfuse import PATH, SCORES_PATH, langfuse_attributes
from .spans import Span, Trace
from .tree import Row
from .wire import Dialect, encoded

if TYPE_CHECKING:
    import httpx

DIALECTS: dict[str, Dialect] = {"otel": genai_attributes, "langfuse": langfuse_attributes}

MOST_SPANS = 200
MOST_BYTES = 3_000_000
CUT = 100_000  # characters of a text in a span that is refused as it is
_PASSING = (408, 425, 429)
_UNFIT = (400, 413, 422)


@dataclass(frozen=True)
class Destination:
    """Where traces go: an OTLP address over HTTP, its headers, and in whose words spans are told.

    `name` stands for it in the record of what was sent; the headers, which hold keys, are never kept.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    dialect: str = "otel"
    timeout_s: float = 10.0
    mask: Masker = field(default=EVERYTHING, repr=False)
    service: str = "stepgraph"


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
        self._client: httpx.Client | None = None

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
        body = encoded(spans, DIALECTS[to.dialect], to.mask, {"service.name": to.service}, most)
        delivery = self._post(to.url, body, "x-protobuf", tuple(span.id for span in spans))
        if delivery.refused and len(spans) > 1:
            half = len(spans) // 2
            return self._send(spans[:half]) + self._send(spans[half:])
        if delivery.refused and most is None:
            return self._send(spans, CUT)
        return delivery

    def _post(self, url: str, body: bytes, kind: str, ids: tuple[str, ...]) -> Delivery:
        import httpx

        to = self.destination
        if self._client is None:
            self._client = httpx.Client(timeout=httpx.Timeout(to.timeout_s, connect=min(5.0, to.timeout_s)))
        told = {**to.headers, "Content-Type": f"application/{kind}", "Content-Encoding": "gzip"}
        try:
            response = self._client.post(url, content=gzip.compress(body, 1), headers=told)
        except httpx.HTTPError as error:
            return Delivery(problem=f"{to.name} cannot be reached: {type(error).__name__}", blocked=True)
        if response.is_success:
            return Delivery(arrived=ids)
        problem = f"{to.name} answered {response.status_code}"
        if response.status_code in _PASSING or response.status_code >= 500:
            return Delivery(problem=problem, blocked=True)
        if response.status_code not in _UNFIT:
            return Delivery(problem=f"{problem}: check the keys and the address", blocked=True)
        return Delivery(refused=ids, problem=problem)

    def send_score(self, trace: Trace, score: Row) -> Delivery:
        """Send one score, to a destination that takes scores: Langfuse."""
        to = self.destination
        if to.dialect != "langfuse":
            return Delivery()
        body = {
            "id": score["id"],
            "traceId": trace.id,
            "observationId": score["span"],
            "name": score["name"],
            "value": score["label"] if score["value"] is None else score["value"],
            "dataType": "CATEGORICAL" if score["value"] is None else "NUMERIC",
            "comment": score["comment"] and to.mask.text(score["comment"]),
            "environment": trace.environment,
        }
        told = {name: value for name, value in body.items() if value is not None}
        return self._post(
            to.url.replace(PATH, SCORES_PATH), json.dumps(told).encode(), "json", (score["id"],)
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


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
