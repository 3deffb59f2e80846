"""`stepgraph export`: the record or its spans as JSON lines, or one run as an HTML page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ...state.database import Database
from ...state.errors import InputError
from ...state.masking import Masker
from ...state.private_files import open_private
from ...state.session.session import Session
from ...tracing.export.otlp_spans import masked
from ...tracing.export.settings import read_settings
from ...tracing.record.attributes import genai_attributes
from ...tracing.record.read_spans import read_spans
from ...tracing.record.reads import records
from ...tracing.record.run import read_run
from ...tracing.record.spans import Span
from ...tracing.record.text import clean
from ...tracing.record.threads import choose_threads
from .show import open_session


def export_threads(
    threads: Sequence[str], *, spans: bool, html: bool, to: Path | None, database: Database
) -> None:
    """Write threads, or all, to a file or to standard output."""
    if spans and html:
        raise InputError("Give one of --spans and --html.")
    if html and len(threads) != 1:
        raise InputError(f"An HTML page is of one thread; {len(threads)} were named. Name one.")
    with open_session(database) as session:
        if html:
            from ...ui.exporting import to_html

            _write([to_html(read_run(session, threads[0]), read_settings().sent_mask)], to)
            amount = "1 run"
        else:
            rows = _spans(session, threads) if spans else records(session, threads)
            number = _write((json.dumps(row, ensure_ascii=False) for row in rows), to)
            amount = f"{number} {'spans' if spans else 'records'}"
    if to is not None:
        click.echo(f"{amount} in {clean(str(to))}.")


def _write(texts: Iterable[str], to: Path | None) -> int:
    number = 0
    if to is None:
        for text in texts:
            click.echo(text)
        return number
    try:
        with open_private(to, "w", encoding="utf-8", errors="replace") as file:
            for text in texts:
                file.write(text + "\n")
                number += 1
    except OSError as error:
        raise InputError(f"{to} cannot be written: {error.strerror}. Name another file.") from None
    return number


def _spans(session: Session, threads: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield spans, masked as when they are sent; those under way are left out."""
    mask = read_settings().sent_mask
    for thread in choose_threads(session.journal, threads):
        alive = session.claims.is_run(thread)
        for span in read_spans(session.journal.query, thread, alive=alive):
            yield _span_json(span, mask)


def _span_json(span: Span, mask: Masker) -> dict[str, Any]:
    return {
        "trace_id": span.trace.id,
        "span_id": span.id,
        "parent_span_id": span.parent_id,
        "name": span.name,
        "kind": span.kind,
        "status": span.status,
        "error": span.error and mask.text(span.error),
        "started_at": span.started_at,
        "ended_at": span.ended_at,
        "attributes": masked(genai_attributes(span), mask),
    }
