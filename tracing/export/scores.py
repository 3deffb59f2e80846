"""Scores: what an evaluation or a person thinks of a trace, or of one node in it."""

from __future__ import annotations

import math
import secrets
import time

from ...state.errors import InputError, did_you_mean
from ...state.session.session import Session
from ..record.copying import insert_row
from ..record.read_spans import read_spans
from ..record.spans import Span
from ..record.threads import find_thread


def score(
    session: Session,
    thread_id: str,
    name: str,
    value: float | bool | str,
    *,
    node: str | None = None,
    comment: str | None = None,
) -> str:
    """Put a score on record and return its id; a text counts as a label, True and False as such.

    `node` is a node's path, such as "billing/draft": the score belongs to its last execution; without
    one, to the thread's last trace. `push` sends it on. Raises InputError for an unknown thread or node.

        score(session, "post-1", "helpful", 0.8, node="draft", comment="too long")
    """
    if not isinstance(value, str) and not _is_finite(value):
        raise InputError(f"score({name!r}) needs a number that can be compared and sent, not {value}.")
    find_thread(session.journal, thread_id)
    spans = read_spans(session.journal.query, thread_id)
    span = _span_of(spans, node, thread_id)
    row = {
        "id": secrets.token_hex(8),
        "thread_id": thread_id,
        "trace": span.trace.number,
        "span": span.id if node is not None else None,
        "path": span.path or None,
        "name": name,
        "value": None if isinstance(value, str) else float(value),
        "label": _label(value),
        "comment": comment,
        "scored_at": time.time(),
    }
    session.journal.write([insert_row("scores", row)])
    return str(row["id"])


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def _label(value: float | bool | str) -> str | None:
    """Return a text; beside the number of True or False, their name, which tells them from 1 and 0."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else None


def _span_of(spans: list[Span], node: str | None, thread_id: str) -> Span:
    fitting = [
        s for s in spans if (s.kind == "node" and s.path == node) or (node is None and s.kind == "run")
    ]
    if fitting:
        return fitting[-1]
    paths = {span.path for span in spans if span.kind == "node"}
    raise InputError(f"The thread {thread_id!r} has no node {node!r}. {did_you_mean(str(node), paths)}")
