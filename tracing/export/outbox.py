"""What was sent where, and sending the rest: any number of times, each span once.

The file says which spans arrived at which destination. If a process dies between a delivery and that
note, the same span goes out again under the same id, and takes the place of the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...state.journal.journal import Journal, Statement
from ...state.session.session import Session
from ..record.spans import Query, Span, Trace, assembled, filled
from ..record.tree import Row
from .otlp import MOST_SPANS, Delivery, Destination, Sender

Write = Callable[[list[Statement]], None]

_WHOLE = 1 << 32
_SENT = "SELECT spans FROM exports WHERE destination = ? AND thread_id = ?"
_NOTE = (
    "INSERT INTO exports (destination, thread_id, spans, complete_at) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (destination, thread_id) DO UPDATE SET "
    "spans = CAST(exports.spans || excluded.spans AS BLOB), "
    "complete_at = coalesce(excluded.complete_at, exports.complete_at)"
)
_CHANGED = (
    "SELECT max(r.updated_at, coalesce((SELECT max(scored_at) FROM scores WHERE thread_id = ?), 0)) AS at "
    "FROM runs r WHERE r.thread_id = ?"
)
_PENDING = (
    "SELECT r.thread_id FROM runs r LEFT JOIN exports e ON e.destination = ? AND e.thread_id = r.thread_id "
    "WHERE (e.complete_at IS NULL OR e.complete_at < r.updated_at OR EXISTS (SELECT 1 FROM scores s "
    "WHERE s.thread_id = r.thread_id AND s.scored_at > e.complete_at)) AND r.updated_at >= ? "
    "ORDER BY r.started_at"
)


@dataclass(frozen=True)
class PushReceipt:
    """What a push did at one destination: spans that arrived, were refused, or wait, and why."""

    destination: str
    threads: int
    arrived: int
    refused: int
    problem: str | None


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
        chosen = threads if threads is not None else pending(journal, destination, since)
        number = 0
        parcels = (
            packed(journal.query, sender.name, thread, alive=session.claims.is_run(thread), sample=sample)
            for thread in chosen
        )
        try:
            for group in grouped(parcels):
                total += deliver(journal.write, sender, group)
                number += len(group)
                if total.blocked:
                    break
        finally:
            sender.close()
        done.append(
            PushReceipt(destination.name, number, len(total.arrived), len(total.refused), total.problem)
        )
    return done


def pending(journal: Journal, destination: Destination, since: float = 0.0) -> list[str]:
    """Return the threads of which something may not have been sent."""
    return [row["thread_id"] for row in journal.query(_PENDING, (destination.name, since))]


@dataclass(frozen=True)
class ExportBatch:
    """What is to be sent of one thread; with it, all of the thread up to `changed_at` has been sent."""

    thread_id: str
    spans: Sequence[Span]
    scores: Sequence[tuple[Trace, Row]] = ()
    changed_at: float | None = None


def packed(
    query: Query, destination: str, thread_id: str, *, alive: bool, sample: float = 1.0
) -> ExportBatch:
    """Return what is finished of a thread and has not arrived."""
    changed = query(_CHANGED, (thread_id, thread_id))
    scores = query("SELECT * FROM scores WHERE thread_id = ? ORDER BY scored_at", (thread_id,))
    light = list(assembled(query, thread_id, alive=alive))
    sent = already_sent(query, destination, thread_id)
    if sample >= 1:
        kept = {span.trace.number: span.trace for span in light}
        spans = list(filled([span for span in light if span.id not in sent], query))
    else:
        whole = chosen(list(filled(light, query)), sample)
        kept = {span.trace.number: span.trace for span in whole}
        spans = [span for span in whole if span.id not in sent]
    fresh = [
        (kept[score["trace"]], score)
        for score in scores
        if score["id"] not in sent and score["trace"] in kept
    ]
    changed_at = changed[0]["at"] if changed and not alive else None
    return ExportBatch(thread_id, sorted(spans, key=lambda span: span.started_at), fresh, changed_at)


def grouped(parcels: Iterable[ExportBatch]) -> Iterator[list[ExportBatch]]:
    """Yield parcels in groups of one request each, most times."""
    group: list[ExportBatch] = []
    size = 0
    for parcel in parcels:
        group.append(parcel)
        size += len(parcel.spans)
        if size >= MOST_SPANS // 2:
            yield group
            group, size = [], 0
    if group:
        yield group


def deliver(write: Write, sender: Sender, parcels: Sequence[ExportBatch]) -> Delivery:
    """Send parcels, and note what has arrived."""
    delivery = sender.send([span for parcel in parcels for span in parcel.spans])
    if not delivery.blocked:
        delivery += sender.send_scores([score for parcel in parcels for score in parcel.scores])
    arrived, refused = set(delivery.arrived), set(delivery.refused)
    notes = []
    for parcel in parcels:
        ids = [span.id for span in parcel.spans] + [score["id"] for _, score in parcel.scores]
        here = [id_ for id_ in ids if id_ in arrived]
        complete = None if delivery.blocked or refused.intersection(ids) else parcel.changed_at
        if here or complete is not None:
            notes.append(noted(sender.name, parcel.thread_id, here, complete))
    if notes:
        write(notes)
    return delivery


def already_sent(query: Query, destination: str, thread_id: str) -> set[str]:
    rows: list[Row] = query(_SENT, (destination, thread_id))
    ids = bytes(rows[0]["spans"]).hex() if rows else ""
    return {ids[start : start + 16] for start in range(0, len(ids), 16)}


def noted(
    destination: str, thread_id: str, arrived: Iterable[str], complete_at: float | None = None
) -> Statement:
    """Return the statement that notes what has arrived."""
    return _NOTE, (destination, thread_id, bytes.fromhex("".join(arrived)), complete_at)


def chosen(spans: Sequence[Span], sample: float) -> list[Span]:
    """Return the spans of the traces that are in the sample, or that have an error in them."""
    if sample >= 1:
        return list(spans)
    kept = {span.trace.id for span in spans if is_error(span)}
    return [span for span in spans if span.trace.id in kept or in_sample(span.trace.id, sample)]


def in_sample(trace_id: str, sample: float) -> bool:
    """Tell whether a trace is in the sample: for one trace always the same answer."""
    return int(trace_id[:8], 16) < sample * _WHOLE


def is_error(span: Span) -> bool:
    if span.status in ("failed", "unfinished", "partial"):
        return True
    return span.kind == "call" and bool(span.row["problem"])


def age(seconds: float | None) -> float:
    """Return the moment so many seconds ago, the beginning of time for None."""
    return 0.0 if seconds is None else time.time() - seconds
