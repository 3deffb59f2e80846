"""Which requests a thread under way has answers to: so a new one never looks for what cannot be there.

Only the owner of a thread's claim adds answers to it. So what was on record when its run began, and what it
commits itself, is all there is.
"""

from __future__ import annotations

from collections.abc import Iterable

from .records import Call, Record
from .store import Store

MOST = 50_000  # of a longer thread each is looked for


class AnsweredRequests:
    """The hashes of answered requests, of the threads whose runs here began with a look at all of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, set[str]] = {}

    def begin(self, thread_id: str) -> None:
        """Look at what a thread has; where looking costs a round trip. Its claim is held."""
        self._known.pop(thread_id, None)
        if self._store.has_file:
            return
        sql = f"SELECT request_hash FROM calls WHERE thread_id = ? AND status = 'answered' LIMIT {MOST + 1}"
        found = self._store.rows(sql, (thread_id,))
        if len(found) <= MOST:
            self._known[thread_id] = {row[0] for row in found}

    def note(self, record: Record) -> None:
        """Take note of what is about to be put on record."""
        known = self._known.get(record.thread_id)
        if known is not None and isinstance(record, Call):
            known.add(record.request_hash)

    def may_have(self, thread_id: str, hashes: Iterable[str]) -> bool:
        """Tell whether one of these requests can have an answer."""
        known = self._known.get(thread_id)
        return known is None or not known.isdisjoint(hashes)

    def end(self, thread_id: str) -> None:
        self._known.pop(thread_id, None)
