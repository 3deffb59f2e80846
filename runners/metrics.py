"""A worker's figures for Prometheus, on a port of this machine: what its calls cost and took, what waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from ..state.errors import InputError, SettingsError
from ..state.journal.budget_reads import accounts
from ..state.journal.records import Call, Record
from ..state.session.session import Session
from ..tracing.record.threads import count_statuses

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

HOST: Final = "127.0.0.1"
BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
MOST_BUDGETS: Final = 200  # those with the least left; each is a time series of its own


class WorkerMetrics:
    """Counts what a session's calls do, from now on, in a registry of its own."""

    def __init__(self, session: Session, running: Callable[[], int] = lambda: 0) -> None:
        if find_spec("prometheus_client") is None:
            raise SettingsError('Metrics need another package: pip install "stepgraph[metrics]".')
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self.registry: CollectorRegistry = CollectorRegistry()
        self._session, self._running = session, running
        own: Any = {"registry": self.registry}
        by_step = ["step", "model"]
        self._calls = Counter("stepgraph_calls", "Attempts at model calls.", [*by_step, "status"], **own)
        self._errors = Counter(
            "stepgraph_call_errors", "Failed calls, by their error.", ["model", "error"], **own
        )
        self._tokens = Counter(
            "stepgraph_tokens", "Tokens, as servers count them.", [*by_step, "kind"], **own
        )
        self._cost = Counter("stepgraph_cost_usd", "US dollars, as far as costs are known.", by_step, **own)
        self._unknown = Counter("stepgraph_unknown_costs", "Answers whose cost is not known.", by_step, **own)
        self._latency = Histogram(
            "stepgraph_call_seconds", "How long answered calls took.", by_step, buckets=BUCKETS, **own
        )
        self.registry.register(self)
        session.journal.listeners.append(self._hear)

    def close(self) -> None:
        """Count no more."""
        self._session.journal.listeners.remove(self._hear)

    def _hear(self, record: Record) -> None:
        if not isinstance(record, Call) or record.source != "model":
            return
        step, model = record.step, record.model_asked
        self._calls.labels(step, model, record.status).inc()
        if record.status == "failed":
            error = (record.problem or "unknown").partition(":")[0]
            self._errors.labels(model, error if error.isidentifier() else "unknown").inc()
            return
        self._latency.labels(step, model).observe(record.latency_s)
        for kind, tokens in (("input", record.input_tokens), ("output", record.output_tokens)):
            self._tokens.labels(step, model, kind).inc(tokens or 0)
        if record.cost_usd is None:
            self._unknown.labels(step, model).inc()
        else:
            self._cost.labels(step, model).inc(record.cost_usd)

    def collect(self) -> Iterator[Metric]:
        """Yield what the database says at the moment at which somebody asks."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        yield GaugeMetricFamily("stepgraph_worker_threads", "Threads that run here now.", self._running())
        renewals = self._session.claims.renewals
        yield CounterMetricFamily("stepgraph_lease_renewals", "Renewals of this worker's leases.", renewals)
        threads = GaugeMetricFamily(
            "stepgraph_threads", "Threads of the database, by status.", labels=["status"]
        )
        for status, number in count_statuses(self._session.journal).items():
            threads.add_metric([status], number)
        yield threads
        gauge = GaugeMetricFamily(
            "stepgraph_budget_left",
            "What shared budgets have left: calls, tokens or usd.",
            labels=["scope", "per", "resource"],
        )
        limits = [
            (
                amount / account.limits[resource] if account.limits[resource] else 0.0,
                account,
                resource,
                amount,
            )
            for account in accounts(self._session.journal)
            for resource, amount in account.left.items()
        ]
        for _, account, resource, amount in sorted(limits, key=lambda limit: limit[0])[:MOST_BUDGETS]:
            gauge.add_metric([account.scope, account.per or "ever", resource], amount)
        yield gauge


@contextmanager
def serving_metrics(
    session: Session, port: int | None, running: Callable[[], int] = lambda: 0
) -> Iterator[int | None]:
    """Serve a worker's metrics on a port of this machine, 0 for a free one; yield which. None serves none."""
    if port is None:
        yield None
        return
    metrics = WorkerMetrics(session, running)
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, addr=HOST, registry=metrics.registry)
    except OSError as error:
        metrics.close()
        raise InputError(f"--metrics {port}: {error.strerror or error}. Take another port, or 0.") from None
    try:
        yield server.server_port
    finally:
        metrics.close()
        server.shutdown()
        server.server_close()
        thread.join(5)
