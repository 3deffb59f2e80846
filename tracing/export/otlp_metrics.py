"""What a session's model calls used and took, as OpenTelemetry's metrics, sent by a thread of its own.

The names, units, attributes and boundaries are those of the conventions for generative AI. Their version
0.1 has new names for both metrics; most that reads them knows the former ones, so both are sent.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, Literal

from ...state.journal.records import Call, Record
from ...state.masking import EVERYTHING, Masker
from ...state.session.session import Session
from ..record.attributes import error_class, params_of, provider_name
from .http_session import HttpSession
from .otlp import UNFIT, delivery_of
from .otlp_spans import own_version

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter, MetricsData

Temporality = Literal["cumulative", "delta"]

INTERVAL_S: Final = 60.0
MOST_UNSENT: Final = 60  # intervals that a destination for deltas may be away
SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS: Final = tuple(4**power for power in range(14))


@dataclass(frozen=True)
class MetricsDestination:
    """Where metrics go: an OTLP address over HTTP and its headers, every how many seconds, summed or new."""

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 10.0
    interval_s: float = INTERVAL_S
    temporality: Temporality = "cumulative"
    mask: Masker = field(default=EVERYTHING, repr=False)
    service: str = "stepgraph"


class CallMetrics:
    """Counts model calls in the conventions' instruments, in a meter provider of its own."""

    def __init__(self, temporality: Temporality, service: str, mask: Masker) -> None:
        from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
        from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
        from opentelemetry.sdk.resources import Resource

        self._mask = mask
        kind = getattr(AggregationTemporality, temporality.upper())
        self._reader: InMemoryMetricReader = InMemoryMetricReader(
            preferred_temporality={Histogram: kind, Counter: kind}
        )
        # Each worker's sums are series of their own.
        resource = Resource({"service.name": service, "service.instance.id": str(uuid.uuid4())})
        self._provider: MeterProvider = MeterProvider([self._reader], resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("stepgraph", own_version())

        def histogram(name: str, unit: str, description: str, boundaries: tuple[float, ...]) -> Any:
            return meter.create_histogram(
                f"gen_ai.client.{name}", unit, description, explicit_bucket_boundaries_advisory=boundaries
            )

        self._tokens = histogram("token.usage", "{token}", "Number of input and output tokens used.", TOKENS)
        self._seconds = (
            histogram("operation.duration", "s", "GenAI operation duration.", SECONDS),
            histogram("inference.duration", "s", "GenAI client inference operation duration.", SECONDS),
        )
        kinds = ("input", "output", "cache_read.input", "cache_write.input", "reasoning.output")
        self._used = {
            kind: meter.create_counter(f"gen_ai.client.inference.usage.{kind}_tokens", "{token}")
            for kind in kinds
        }

    def count(self, call: Call) -> None:
        """Count an attempt at a call that asked a model."""
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _provider_in(call.params),
            "gen_ai.request.model": call.model_asked,
        }
        if call.model_answered is not None:
            attributes["gen_ai.response.model"] = call.model_answered
        attributes = {name: self._mask.text(value) for name, value in attributes.items()}
        failed = {"error.type": error_class(call.problem)} if call.status == "failed" else {}
        for seconds in self._seconds:
            seconds.record(call.latency_s, {**attributes, **failed})
        for kind, tokens in (("input", call.input_tokens), ("output", call.output_tokens)):
            if tokens is not None:
                self._tokens.record(tokens, {**attributes, "gen_ai.token.type": kind})
        used = {
            "input": call.input_tokens,
            "output": call.output_tokens,
            "cache_read.input": call.cached_tokens,
            "cache_write.input": call.cache_write_tokens,
            "reasoning.output": call.reasoning_tokens,
        }
        for kind, tokens in used.items():
            if tokens is not None:
                self._used[kind].add(tokens, {**attributes, "gen_ai.token.modality": "unknown"})

    def read(self) -> MetricsData | None:
        """Return what was counted: so far, or, as deltas, since the last time."""
        return self._reader.get_metrics_data()

    def close(self) -> None:
        self._provider.shutdown()


class MetricsExporter:
    """Sends the metrics of one session's calls to one destination, while its runs go on."""

    def __init__(self, session: Session, destination: MetricsDestination) -> None:
        self.name = destination.name
        self.problem: str | None = None
        self._to = destination
        self._journal = session.journal
        self._post = HttpSession(destination.headers)
        # The last sums say all; deltas that did not arrive are sent again.
        most = 1 if destination.temporality == "cumulative" else MOST_UNSENT
        self._unsent: deque[MetricsData] = deque(maxlen=most)
        self._beginning = threading.Lock()
        self._wake = threading.Event()
        self._gives_up = False
        self._thread: threading.Thread | None = None
        session.journal.listeners.append(self._hear)

    def _hear(self, record: Record) -> None:
        if isinstance(record, Call) and record.source == "model":
            with self._beginning:
                metrics = self._metrics
            if metrics is not None:
                metrics.count(record)

    @cached_property
    def _metrics(self) -> CallMetrics | None:
        """What counts; with the first call it begins to be sent. None where a package is missing."""
        try:
            metrics = CallMetrics(self._to.temporality, self._to.service, self._to.mask)
            exporter = self._exporter_of()
        except ImportError:
            self.problem = "To send metrics, install an extra: pip install 'stepgraph[otel]' (or [langfuse])."
            return None
        self._thread = threading.Thread(
            target=self._run, args=(metrics, exporter), name="stepgraph-metrics", daemon=True
        )
        self._thread.start()
        return metrics

    def _exporter_of(self) -> MetricExporter:
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter(
            endpoint=self._to.url,
            headers=dict(self._to.headers),
            timeout=self._to.timeout_s,
            compression=Compression.Gzip,
            session=self._post.session,
        )

    def stop(self) -> None:
        with suppress(ValueError):
            self._journal.listeners.remove(self._hear)
        self._wake.set()

    def join(self, until: float) -> None:
        """Wait for the last figures to be sent, until that time of the monotonic clock at most."""
        if self._thread is not None:
            self._thread.join(max(0.0, until - time.monotonic()))

    def give_up(self, until: float) -> None:
        """Begin no further request, and wait for the answer to the one that is under way."""
        self._gives_up = True
        self.join(until)

    def _run(self, metrics: CallMetrics, exporter: MetricExporter) -> None:
        try:
            while not self._wake.wait(self._to.interval_s):
                self._send(metrics, exporter)
            self._send(metrics, exporter)
        except ValueError as error:  # such as an address that is none
            self.problem = f"{type(error).__name__}: {error}"
        finally:
            metrics.close()
            exporter.shutdown()

    def _send(self, metrics: CallMetrics, exporter: MetricExporter) -> None:
        """Send what is counted, and before it what did not arrive the last times."""
        batch = metrics.read()
        if batch is not None:
            self._unsent.append(batch)
        while self._unsent and not self._gives_up:
            data = self._unsent[0]
            outcome = self._post.outcome_of(partial(_is_exported, exporter, data))
            self.problem = delivery_of(self.name, outcome, ()).problem
            if not outcome.success and outcome.status not in UNFIT:
                return  # they may be taken later
            self._unsent.popleft()


def _is_exported(exporter: MetricExporter, data: MetricsData) -> bool:
    return exporter.export(data).name == "SUCCESS"


@lru_cache(maxsize=64)  # a step's calls have the same parameters
def _provider_in(params: str) -> str:
    return provider_name(params_of({"params": params}).get("provider"))
