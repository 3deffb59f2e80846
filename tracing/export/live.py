"""Sending traces while runs go on, from a thread of its own, which nobody ever waits for.

It reads what is committed, over a connection of its own: nothing is in memory only, so nothing is lost
with the process. A destination that does not answer is left alone for a while, longer each time.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ...state.errors import StepgraphError
from ...state.journal.records import Record
from ...state.journal.store import Reader
from ...state.masking import Masker
from ...state.session.session import Session
from ..record.read_spans import SpanReader, filled
from ..record.reads import already_sent, read_rows
from ..record.spans import Row
from .otlp import Destination, Sender
from .otlp_metrics import MetricsExporter
from .outbox import ExportBatch, deliver, grouped, in_sample, packed
from .settings import TracingSettings, read_settings

TICK_S = 1.0
CLOSE_S = 0.8  # for what is not on its way yet
ANSWER_S = 5.0  # for the answer to what is: sent again, Langfuse counts it twice until it merges
SETTLED_S = 0.5  # after its end a run's status may be made more precise
LONGEST_PAUSE_S = 60.0


class Tracing:
    """Sends a session's traces to Langfuse or any OTLP endpoint, while its runs go on.

    Without settings it reads `[tracing]` in stepgraph.toml and the environment, such as Langfuse's own
    LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL. Where these name no destination,
    nothing is sent and nothing else happens. One object serves one session.

        with Session("runs.sqlite", tracing=Tracing()) as session:
            app.invoke(Post("tea"), session.config("post-1", user="ada", tags=["beta"]))
    """

    def __init__(self, settings: TracingSettings | None = None) -> None:
        self.settings = settings or read_settings()
        self._exporters: list[LiveExporter | MetricsExporter] = []

    @property
    def labels(self) -> Mapping[str, str]:
        return self.settings.labels

    @property
    def stored_mask(self) -> Masker:
        return self.settings.stored_mask

    def attach(self, session: Session) -> None:
        """Begin to send a session's traces to each destination."""
        session.sends_to_langfuse = any(to.dialect == "langfuse" for to in self.settings.destinations)
        self._exporters = [
            *(LiveExporter(session, to, self.settings.sample) for to in self.settings.destinations),
            *(MetricsExporter(session, to) for to in self.settings.metrics),
        ]

    @property
    def problems(self) -> dict[str, str]:
        """What kept traces, which wait in the file, or metrics from arriving, by destination."""
        return {exporter.name: exporter.problem for exporter in self._exporters if exporter.problem}

    def close(self) -> None:
        """Send what can be sent within a moment; the rest waits in the file.

        The answer to a request that is under way is waited for, but no longer than 5 seconds.
        """
        began = time.monotonic()
        for exporter in self._exporters:
            exporter.stop()
        for exporter in self._exporters:
            exporter.join(began + CLOSE_S)
        for exporter in self._exporters:
            exporter.give_up(began + ANSWER_S)


@dataclass
class _FollowedThread:
    """A thread that is under way.

    `sent` is what had arrived before it was followed: an earlier life of the run has sent it. `behind` says
    that something of it could not be sent.
    """

    reader: SpanReader
    sent: set[str]
    behind: bool = False
    over: bool = False


class LiveExporter:
    """Sends one session's traces to one destination."""

    def __init__(self, session: Session, destination: Destination, sample: float) -> None:
        self.name = destination.name
        self.problem: str | None = None
        self._journal = session.journal
        self._sample = sample
        self._sender = Sender(destination)
        self._news: set[str] = set()
        self._wake = threading.Event()
        self._closing = self._gives_up = False
        self._thread: threading.Thread | None = None
        self._reader: Reader | None = None
        self._threads: dict[str, _FollowedThread] = {}
        self._pause_s, self._resume_at = 0.0, 0.0
        session.journal.listeners.append(self._hear)

    def _hear(self, record: Record) -> None:
        if record.thread_id in self._news:
            return
        self._news.add(record.thread_id)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="stepgraph-tracing", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        with suppress(ValueError):
            self._journal.listeners.remove(self._hear)
        self._closing = True
        self._wake.set()

    def join(self, until: float) -> None:
        """Wait for the rest to be sent, until that time of the monotonic clock at most."""
        if self._thread is not None:
            self._thread.join(max(0.0, until - time.monotonic()))

    def give_up(self, until: float) -> None:
        """Begin no further request, and wait for the answer to the one that is under way."""
        self._gives_up = True
        self.join(until)

    def _run(self) -> None:
        try:
            final = False
            while not final:
                self._wake.wait(TICK_S)
                final = self._closing
                self._work(final)
        except (StepgraphError, sqlite3.Error) as error:
            self.problem = f"{type(error).__name__}: {error}"
        finally:
            self._sender.close()
            if self._reader is not None:
                self._reader.close()

    def _query(self, sql: str, values: Sequence[Any]) -> list[Row]:
        if self._reader is None:
            self._reader = self._journal.store.reader()
        return self._reader.query(sql, values)

    def _work(self, final: bool) -> None:
        for thread_id in list(self._news):
            self._news.discard(thread_id)
            if thread_id not in self._threads:
                sent = already_sent(self._query, self.name, thread_id)
                self._threads[thread_id] = _FollowedThread(SpanReader(self._query, thread_id), sent)
        if time.monotonic() < self._resume_at:
            return
        for group in grouped(self._batches(final)):
            if self._gives_up:
                return
            delivery = deliver(self._journal.write, self._sender, group)
            if delivery.problem:
                self.problem = delivery.problem
            for batch in group:
                self._threads[batch.thread_id].behind = delivery.blocked
            if delivery.blocked:
                self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s or 2.0)
                self._resume_at = time.monotonic() + self._pause_s
                return
            self._pause_s = 0.0
            for batch in group:
                if self._threads[batch.thread_id].over:
                    del self._threads[batch.thread_id]

    def _batches(self, final: bool) -> Iterator[ExportBatch]:
        for thread_id, followed in list(self._threads.items()):
            if self._closing and not final:
                return  # the next round is the last one
            batch = self._batch(thread_id, followed)
            if batch is not None:
                yield batch

    def _batch(self, thread_id: str, followed: _FollowedThread) -> ExportBatch | None:
        """Return what is new of a thread; all that is missing, once it is over or something was missed."""
        invocations = read_rows(self._query, "invocations", thread_id)
        ended = invocations[-1]["ended_at"] if invocations else 0.0
        over = self._closing or (ended is not None and ended < time.time() - SETTLED_S)
        if over or followed.behind:
            followed.over = over
            alive = not over or ended is None
            return packed(self._query, self._sender, thread_id, alive=alive, sample=self._sample)
        spans = [
            span
            for span in followed.reader.news(invocations)
            if span.id not in followed.sent and in_sample(span.trace.id, self._sample)
        ]
        return ExportBatch(thread_id, list(filled(spans, self._query))) if spans else None
