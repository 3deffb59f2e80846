"""Which requests a new thread has answers to: so it never looks for what cannot be there.

Only the owner of a thread's claim adds answers to it. So where none was on record when its run began, what it
commits itself is all there is.
"""

from __future__ import annotations

from collections.abc import Iterable

from .records import Call, Record
from .store import Store


class AnsweredRequests:
    """The hashes of answered requests, of the threads that had none when their runs here began."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, set[str]] = {}

    def begin(self, thread_id: str) -> None:
        """Look whether a thread has any, where looking costs a round trip. Its claim is held."""
        self._known.pop(thread_id, None)
        if self._store.has_file:
            return
        sql = "SELECT 1 FROM calls WHERE thread_id = ? AND status = 'answered' LIMIT 1"
        if not self._store.rows(sql, (thread_id,)):
            self._known[thread_id] = set()

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
