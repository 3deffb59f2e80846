"""What a fork takes over: rows of one thread, written again for another."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ...state.blobs import referring
from ...state.journal.records import Statement
from ...state.session.session import Session
from ..record.copying import copy_rows, insert_row, pending_writes
from ..record.reads import Table, read_calls, read_rows
from ..record.spans import Row
from ..record.threads import specs_in
from .cuts import Cut, Fate
from .tries import key_of

COPIED: Final = "copied"
OVERRIDE: Final = "override"


@dataclass(frozen=True)
class ForkPoint:
    """An answer that a fork gives in the place of a call's own, and what is known of who gave it.

    `origin` is the id of the call that was paid for it, if one was.
    """

    answer: str
    model: str = "override"
    messages: str | None = None
    origin: str | None = None


def copies(
    session: Session, cut: Cut, old: str, new: str, models: Mapping[str, str], tries: Sequence[Row]
) -> Iterator[Statement]:
    """Yield what copies the kept part of a thread; `tries` are at the answer that is given or asked anew."""
    yield _run_copy(session, cut, old, new, models)
    places = {(point.ns, point.id) for point in cut.lineage.points if cut.keeps(point)}
    for ns, checkpoint_id in places:
        yield copy_rows("checkpoints", old, new, {"checkpoint_ns": ns, "checkpoint_id": checkpoint_id})
    for row in pending_writes(session.journal, old):
        if (row["checkpoint_ns"], row["checkpoint_id"]) in places and cut.keeps_write(row):
            yield copy_rows("writes", old, new, row)
    yield from _records(session, cut, old, new, tries)


def _run_copy(session: Session, cut: Cut, old: str, new: str, models: Mapping[str, str]) -> Statement:
    (run,) = read_rows(session.journal.query, "runs", old)
    now = time.time()
    stands = cut.edges[""].whole and run["status"] in ("done", "interrupted", "partial")
    row = {
        **run,
        "thread_id": new,
        "models": json.dumps({**specs_in(run["models"]), **models}),
        "status": run["status"] if stands else "queued",
        "parent_thread": old,
        "parent_checkpoint": list(cut.edges.values())[-1].last.id,
        "error": None,
        "started_at": now,
        "updated_at": now,
    }
    return insert_row("runs", row)


def _records(session: Session, cut: Cut, old: str, new: str, tries: Sequence[Row]) -> Iterator[Statement]:
    # In the order of the originals: spans are put together by it, inner nodes before those around them.
    tables: tuple[Table, ...] = ("node_runs", "decisions")
    for table in tables:
        for row in read_rows(session.journal.query, table, old):
            if cut.fate(row["task"]) is Fate.KEPT:
                del row["id"]  # the copy gets one of its own
                yield insert_row(table, {**row, "thread_id": new})
    for row in read_rows(session.journal.query, "waits", old):
        if cut.fate(row["task"]) is Fate.KEPT:  # a copy of one that waits goes on waiting for the same time
            yield insert_row("waits", {**row, "thread_id": new})
    for row in read_rows(session.journal.query, "retrievals", old):
        if cut.fate(row["task"]) is Fate.KEPT or (tries and _ran_before(row, tries[-1])):
            copy = {"id": secrets.token_hex(8), "thread_id": new, "source": COPIED, "origin": row["id"]}
            yield insert_row("retrievals", {**row, **copy, "replays": 0, "latency_s": 0.0})
    anew = {key_of(call) for call in tries}
    for call in read_calls(session.journal, old):
        if cut.fate(call["task"]) is Fate.KEPT or (
            tries and key_of(call) not in anew and _ran_beside(call, tries[-1])
        ):
            yield insert_row("calls", _copied(call, new))


def _ran_beside(call: Row, call_row: Row) -> bool:
    """Tell whether a call of the same node execution began too early to have known the answer.

    Such calls are kept: their prompts cannot depend on the answer that the fork changes, so that asking
    them again would only cost money.
    """
    return call["status"] == "answered" and _ran_before(call, call_row)


def _ran_before(row: Row, call_row: Row) -> bool:
    ended: float = call_row["started_at"] + call_row["latency_s"]
    return bool(row["task"] == call_row["task"] and row["started_at"] < ended)


def _copied(call: Row, new: str) -> Row:
    nothing: Row = {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0}
    nothing |= {"cost_picos": 0, "estimated_tokens": None, "estimated_picos": None}
    spent = {**nothing, "cost_usd": 0.0, "latency_s": 0.0, "replays": 0}
    return {
        **call,
        **spent,
        "id": secrets.token_hex(8),
        "thread_id": new,
        "source": COPIED,
        "origin": call["id"],
        "reason": f"copied from {call['thread_id']}",
    }


def stand_in(tries: Sequence[Row], new: str, stand: ForkPoint) -> Statement:
    """Return the row in which the replay will find the answer, in the place of the tries' own.

    The step asks as it did first, so the answer is found there.
    """
    first, last = tries[0], tries[-1]
    return insert_row(
        "calls",
        {
            **_copied(first, new),
            "request_hash": key_of(first)[1],
            "status": "answered",
            "source": OVERRIDE,
            "origin": stand.origin or last["id"],
            "reason": f"set by the fork, instead of {last['id']}",
            "model_asked": stand.model,
            "model_answered": stand.model,
            "messages": referring(stand.messages) if stand.messages else first["messages"],
            "answer": referring(stand.answer),
            **dict.fromkeys(("tool_calls", "reasoning", "reply_state", "media", "finish_reason", "problem")),
        },
    )
