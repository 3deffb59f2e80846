"""What was sent where, and sending the rest: any number of times, each span once.

The file says which spans arrived at which destination. If a process dies between a delivery and that
note, the same span goes out again under the same id, and takes the place of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...state.journal.records import Statement
from ...state.session.session import Session
from ..record.read_spans import assembled, filled
from ..record.reads import already_sent, changed_at, read_rows, unsent_threads
from ..record.spans import Query, Row, Span, Trace
from .otlp import MOST_SPANS, Delivery, Destination, Sender
from .roots import delivery_id, with_whole_roots

Write = Callable[[list[Statement]], None]

_WHOLE = 1 << 32
_NOTE = (
    "INSERT INTO exports (destination, thread_id, spans, complete_at) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (destination, thread_id) DO UPDATE SET "
    "spans = CAST(exports.spans || excluded.spans AS BLOB), "
    "complete_at = coalesce(excluded.complete_at, exports.complete_at)"
)


@dataclass(frozen=True)
class PushReceipt:
    """What a push did at one destination: spans and scores that arrived, were refused, or wait, and why.

    `waits` says that something is left which another push may bring there.
    """

    destination: str
    threads: int
    arrived: int
    refused: int
    problem: str | None
    waits: bool


def push(
    session: Session,
    destinations: Iterable[Destination],
    threads: Sequence[str] | None = None,
    *,
    sample: float = 1.0,
    since: float = 0.0,
) -> list[PushReceipt]:
    """Send to each destination what it has not had: of these threads, or of all changed `since` then.

    Sampling leaves whole traces out, never one with an error.
    """
    journal, done = session.journal, []
    for destination in destinations:
        sender = Sender(destination)
        total = Delivery()
        chosen = threads if threads is not None else unsent_threads(journal, destination.name, since)
        number = 0
        batches = (
            packed(journal.query, sender, thread, alive=session.claims.is_run(thread), sample=sample)
            for thread in chosen
        )
        try:
            for group in grouped(batches):
                total += deliver(journal.write, sender, group)
                number += len(group)
                if total.blocked:
                    break
        finally:
            sender.close()
        done.append(
            PushReceipt(
                destination=destination.name,
                threads=number,
                arrived=len(total.arrived),
                refused=len(total.refused),
                problem=total.problem,
                waits=total.blocked or len(total.refused) > len(total.settled),
            )
        )
    return done


@dataclass(frozen=True)
class ExportBatch:
    """What is to be sent of one thread; with it, all of the thread up to `changed_at` has been sent."""

    thread_id: str
    spans: Sequence[Span]
    scores: Sequence[tuple[Trace, Row]] = ()
    changed_at: float | None = None


def packed(query: Query, sender: Sender, thread_id: str, *, alive: bool, sample: float = 1.0) -> ExportBatch:
    """Return what is finished of a thread and has not arrived."""
    destination = sender.name
    changed = changed_at(query, thread_id)
    scores = read_rows(query, "scores", thread_id)
    light = assembled(query, thread_id, alive=alive)
    if sender.dialect.merges:
        light = with_whole_roots(light)
    sent = already_sent(query, destination, thread_id)
    if sample >= 1:
        traces = {span.trace.number: span.trace for span in light}
        spans = list(filled([span for span in light if delivery_id(span) not in sent], query))
    else:
        whole = chosen(list(filled(light, query)), sample)
        traces = {span.trace.number: span.trace for span in whole}
        spans = [span for span in whole if delivery_id(span) not in sent]
    fresh = [
        (traces[score["trace"]], score)
        for score in scores
        if score["id"] not in sent and score["trace"] in traces
    ]
    spans.sort(key=lambda span: span.started_at)
    return ExportBatch(thread_id, spans, fresh, None if alive else changed)


def grouped(batches: Iterable[ExportBatch]) -> Iterator[list[ExportBatch]]:
    """Yield batches in groups of one request each, most times."""
    group: list[ExportBatch] = []
    size = 0
    for batch in batches:
        group.append(batch)
        size += len(batch.spans)
        if size >= MOST_SPANS // 2:
            yield group
            group, size = [], 0
    if group:
        yield group


def deliver(
    write: Write, sender: Sender, batches: Sequence[ExportBatch], also: Sequence[str] = ()
) -> Delivery:
    """Send batches, and note what has arrived: for the destination, and under the names in `also`."""
    delivery = sender.send([span for batch in batches for span in batch.spans])
    if not delivery.blocked:
        delivery += sender.send_scores([score for batch in batches for score in batch.scores])
    # What was refused for good is noted too: it would be refused with every push.
    settled = set(delivery.settled)
    arrived, refused = {*delivery.arrived, *settled}, {*delivery.refused} - settled
    notes: list[Statement] = []
    for batch in batches:
        scores = [score["id"] for _, score in batch.scores]
        here = [id_ for id_ in scores if id_ in arrived]
        for span in batch.spans:
            if span.id in arrived:
                here += dict.fromkeys((span.id, delivery_id(span)))
        held = refused.intersection([*scores, *(span.id for span in batch.spans)])
        complete = None if delivery.blocked or held else batch.changed_at
        if here or complete is not None:
            arrived_ids = bytes.fromhex("".join(here))
            notes += [
                (_NOTE, (name, batch.thread_id, arrived_ids, complete)) for name in (sender.name, *also)
            ]
    if notes:
        write(notes)
    return delivery


def chosen(spans: Sequence[Span], sample: float) -> list[Span]:
    """Return the spans of the traces that are in the sample, or that have an error in them."""
    ids = {span.trace.id for span in spans if is_error(span)}
    return [span for span in spans if span.trace.id in ids or in_sample(span.trace.id, sample)]


def in_sample(trace_id: str, sample: float) -> bool:
    """Tell whether a trace is in the sample: for one trace always the same answer."""
    return int(trace_id[:8], 16) < sample * _WHOLE


def is_error(span: Span) -> bool:
    if span.status in ("failed", "unfinished", "partial"):
        return True
    return span.kind == "call" and bool(span.row["problem"])
