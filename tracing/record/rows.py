"""The record as plain rows: every run, node run, call, decision and side effect, each named by its kind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ...state.session.session import Session
from .threads import choose_threads

RECORDS = {
    "run": ("runs", "started_at"),
    "invocation": ("invocations", "id"),
    "node_run": ("node_runs", "id"),
    "call": ("calls", "started_at, rowid"),
    "decision": ("decisions", "decided_at, id"),
    "effect": ("effects", "started_at"),
    "replay": ("replays", "id"),
    "score": ("scores", "scored_at"),
}
# Columns that hold JSON are exported as what they say.
_JSON = {"models", "input", "budget", "fingerprint", "messages", "params", "output", "result"}
_JSON |= {"interrupts", "tags", "metadata", "reserved", "cost_parts"}


def records(session: Session, threads: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the records of the threads, or of all, thread by thread. Raises InputError for an unknown one.

    Checkpoints are not among them: they are LangGraph's, and serve to resume.
    """
    for thread in choose_threads(session.journal, threads):
        for record, (table, order) in RECORDS.items():
            sql = f"SELECT * FROM {table} WHERE thread_id = ? ORDER BY {order}"
            for row in session.journal.query(sql, (thread,)):
                yield {"record": record, **{name: _plain(name, value) for name, value in row.items()}}


def _plain(name: str, value: Any) -> Any:
    return json.loads(value) if name in _JSON and isinstance(value, str) else value
