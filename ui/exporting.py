"""A whole run as one HTML file that needs nothing else, to send to a colleague."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from dataclasses import replace
from typing import Any

from ..state.masking import Masker
from ..tracing.record.run import Run
from ..tracing.record.spans import Row, Span
from .drawings import draw
from .steps import step_view
from .templating import FileLinks, rendered, static
from .texts import text_of
from .waterfalls import waterfall

NOTE = "Made by stepgraph. Keys and personal data that has a form of its own are masked."
_KEPT = ("id", "task", "thread_id", "request_hash", "origin")


def to_html(run: Run, mask: Masker) -> str:
    """Return the page. What is masked when a trace is sent is masked here.

    It loads nothing and sends nothing: its policy allows its own style and script, and no more.
    """
    from markupsafe import Markup

    run = masked_run(run, mask)
    css, script = static("ui.css"), static("ui.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    views = [step_view(run, bar.span.id) for bar in run.by_id.values() if bar.span.kind != "call"]
    return rendered(
        "file.html",
        {
            "run": run,
            "drawing": draw(run),
            "lines": waterfall(run),
            "outcome": [(item, text_of(f"out {item.name}", item.value)) for item in run.output],
            "views": views,
            "links": FileLinks(),
            "policy": policy,
            "css": Markup(css),  # noqa: S704 -- our own file
            "script": Markup(script),  # noqa: S704 -- our own file
            "note": NOTE,
        },
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def masked_run(run: Run, mask: Masker) -> Run:
    """Return a run without keys and personal data."""
    spans = [_masked_span(span, mask) for span in run.spans]
    thread = run.thread
    scores: dict[str | None, list[Row]] = defaultdict(list)
    for span_id, rows in run.scores.items():
        scores[span_id] = [_masked_row(row, mask) for row in rows]
    return replace(
        run,
        thread=replace(
            thread,
            thread_id=mask.text(thread.thread_id),
            graph=thread.graph and mask.text(thread.graph),
            error=thread.error and mask.text(thread.error),
        ),
        spans=spans,
        scores=scores,
    )


def _masked_span(span: Span, mask: Masker) -> Span:
    trace = replace(
        span.trace,
        thread_id=mask.text(span.trace.thread_id),
        user=span.trace.user and mask.text(span.trace.user),
        tags=tuple(mask.text(tag) for tag in span.trace.tags),
        parent_thread=span.trace.parent_thread and mask.text(span.trace.parent_thread),
    )
    return replace(
        span,
        trace=trace,
        row=_masked_row(span.row, mask),
        error=span.error and mask.text(span.error),
        decision=span.decision and _masked_row(span.decision, mask),
    )


def _masked_row(row: Row, mask: Masker) -> Row:
    def masked(name: str, value: Any) -> Any:
        return mask.json(value) if isinstance(value, str) and name not in _KEPT else value

    return {name: masked(name, value) for name, value in row.items()}
