"""A whole run as one HTML file that needs nothing else, to send to a colleague."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any, TypeVar

from ..state.masking import Masker
from ..tracing.record.run import Limit, Run
from ..tracing.record.spans import Row, Span, Trace
from ..tracing.record.threads import Thread
from .drawings import draw
from .steps import outcome, step_view
from .templating import FileLinks, rendered, static
from .waterfalls import waterfall

NOTE = "Made by stepgraph. Keys and personal data that has a form of its own are masked."
V = TypeVar("V", Thread, Trace, Span)
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
    views = [step_view(run, bar.span.id) for bar in run.by_id.values() if bar.span.place == bar.span.id]
    return rendered(
        "file.html",
        {
            "run": run,
            "drawing": draw(run),
            "lines": waterfall(run),
            "outcome": outcome(run),
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
    return replace(
        run,
        thread=replace(
            _masked_texts(run.thread, mask, "thread_id", "graph", "name", "error"),
            models={role: mask.text(spec) for role, spec in run.thread.models.items()},
        ),
        limits=[_masked_limit(limit, mask) for limit in run.limits],
        spans=[_masked_span(span, mask) for span in run.spans],
        scores={span: [_masked_row(row, mask) for row in rows] for span, rows in run.scores.items()},
    )


def _masked_limit(limit: Limit, mask: Masker) -> Limit:
    account = limit.account  # a budget of one person has the person's name
    return replace(limit, account=account and replace(account, scope=mask.text(account.scope)))


def _masked_texts(value: V, mask: Masker, *names: str) -> V:
    masked: dict[str, Any] = {n: getattr(value, n) and mask.text(getattr(value, n)) for n in names}
    return replace(value, **masked)


def _masked_span(span: Span, mask: Masker) -> Span:
    trace = _masked_texts(span.trace, mask, "thread_id", "user", "environment", "version", "parent_thread")
    return replace(
        _masked_texts(span, mask, "error"),
        trace=replace(trace, tags=tuple(map(mask.text, trace.tags))),
        row=_masked_row(span.row, mask),
        decision=span.decision and _masked_row(span.decision, mask),
    )


def _masked_row(row: Row, mask: Masker) -> Row:
    masked = {n: mask.json(v) for n, v in row.items() if isinstance(v, str) and n not in _KEPT}
    return {**row, **masked}
