"""Threads that began in a run of this process which still holds them: all they have on record is known here.

So nothing has to be looked up for them: not how they stand when they begin, and then no answer to a call
that was not made here. A thread that anybody ran before, or that has anything on record, is none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from .dialect import Rows
from .records import HEDGE, Call, CallKey

AQuery = Callable[[str, Sequence[str]], Awaitable[Rows]]

# For a statement on claims: whether nothing else is on record of a thread, unless it was queued.
_EMPTY = ("invocations", "calls", "checkpoints", "node_runs")
IS_NEW = (
    # A row that was there may be one that this has waited for: what its owner wrote last is not seen then.
    "CASE WHEN claims.epoch > 1 OR EXISTS "
    "(SELECT 1 FROM runs t WHERE t.thread_id = claims.thread_id AND t.fingerprint IS NOT NULL)"
    + "".join(f" OR EXISTS (SELECT 1 FROM {name} t WHERE t.thread_id = claims.thread_id)" for name in _EMPTY)
    + " THEN 0 ELSE 1 END AS is_new"
)


def touched_if(thread: str, claimed: str = "") -> str:
    """Return the condition that something is on record of a thread, or was; `claimed` is one on its claim.

    It is wider than `IS_NEW`: a thread of which it is not true is new to a claim.
    """
    others = [f"EXISTS (SELECT 1 FROM {name} t WHERE t.thread_id = {thread})" for name in _EMPTY]
    return " OR ".join(
        [
            f"EXISTS (SELECT 1 FROM runs t WHERE t.thread_id = {thread} "
            "AND coalesce(t.fingerprint, t.budget, t.lane) IS NOT NULL)",
            f"EXISTS (SELECT 1 FROM claims t WHERE t.thread_id = {thread} {claimed})",
            *others,
        ]
    )


@dataclass(slots=True)
class _Known:
    """What may be on record of a thread."""

    calls: set[tuple[str, str, int]] = field(default_factory=set)
    places: set[str] = field(default_factory=set)  # the namespaces of its checkpoints


async def touched(aquery: AQuery, threads: Sequence[str]) -> list[bool]:
    """Tell of each thread whether it was ever claimed, begun, or given a state."""
    marks = ", ".join(["(?)"] * len(threads))
    condition = " OR ".join(
        f"EXISTS (SELECT 1 FROM {name} WHERE {name}.thread_id = asked.thread_id)"
        for name in ("claims", "checkpoints", "invocations")
    )
    sql = f"WITH asked (thread_id) AS (VALUES {marks}) SELECT thread_id FROM asked WHERE {condition}"
    rows = {row["thread_id"] for row in await aquery(sql, threads)}
    return [thread in rows for thread in threads]


class NewThreads:
    """The threads of one database that are known from their beginning."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def begin(self, thread_id: str) -> None:
        self._known[thread_id] = _Known()

    def end(self, thread_id: str) -> None:
        """Take note that the run has ended, or lost its claim: from now on others may write."""
        self._known.pop(thread_id, None)

    def clear(self) -> None:
        self._known.clear()

    def __contains__(self, thread_id: str) -> bool:
        return thread_id in self._known

    def add_call(self, call: Call) -> None:
        """Take note of a call before it is written."""
        self._add(call.thread_id, call.task, call.request_hash, call.occurrence)

    def add_key(self, key: CallKey) -> None:
        """Take note of what is about to be written for a call."""
        self._add(key.thread_id, key.task, key.request_hash, key.occurrence)

    def _add(self, thread_id: str, task: str, request_hash: str, occurrence: int) -> None:
        known = self._known.get(thread_id)
        if known is not None:
            known.calls.add((task, request_hash.removesuffix(HEDGE), occurrence))

    def may_have(self, key: CallKey) -> bool:
        """Tell whether anything about this very call can be on record."""
        known = self._known.get(key.thread_id)
        return known is None or (key.task, key.request_hash, key.occurrence) in known.calls

    def add_checkpoint(self, thread_id: str, place: str) -> None:
        """Take note of a checkpoint before it is written; `place` is its namespace."""
        known = self._known.get(thread_id)
        if known is not None:
            known.places.add(place)

    def may_have_checkpoint(self, thread_id: str, place: str) -> bool:
        """Tell whether a checkpoint can be on record."""
        known = self._known.get(thread_id)
        return known is None or place in known.places
