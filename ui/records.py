"""What the pages read of the record: a page of the list, and runs, the last few of which are kept."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from ..state.session.session import Session
from ..tracing.record.run import Run, read_run, run_version, state_of
from ..tracing.record.spans import SpanStatus
from ..tracing.record.threads import Order, Search, Thread, count_threads, list_threads, list_version

PAGE = 50
KEPT = 4


@dataclass(frozen=True)
class Listing:
    """One page of the list of runs."""

    threads: Sequence[Thread]
    states: Mapping[str, SpanStatus]
    number: int
    total: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PAGE))


class Reader:
    """Reads runs from a session; the last few are kept as long as nothing is added to them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: OrderedDict[str, tuple[str, Run]] = OrderedDict()
        self._lock = Lock()

    @property
    def place(self) -> str:
        return str(self._session.database)

    def listing(self, search: Search, order: Order, number: int) -> Listing:
        """Return a page of the list, the first being 1."""
        total = count_threads(self._session.journal, search)
        number = min(max(1, number), max(1, -(-total // PAGE)))
        offset = (number - 1) * PAGE
        threads = list_threads(self._session.journal, PAGE, offset=offset, search=search, order=order)
        states = {thread.thread_id: state_of(self._session, thread)[0] for thread in threads}
        return Listing(threads, states, number, total)

    def list_version(self) -> str:
        """Return what changes whenever the list does."""
        return json.dumps(list_version(self._session.journal))

    def version(self, thread_id: str) -> str:
        """Return what changes whenever something is added to a run."""
        return run_version(self._session, thread_id)

    def blob(self, sha256: str) -> bytes:
        """Return an image or a document. Raises StoreError for one that the record does not hold."""
        return self._session.journal.blob(sha256)

    def run(self, thread_id: str) -> Run:
        """Return a run as it is now. Raises InputError for an unknown one."""
        version = self.version(thread_id)
        with self._lock:
            kept_version, kept = self._kept.get(thread_id, ("", None))
            if kept is not None and kept_version == version and not kept.live:
                self._kept.move_to_end(thread_id)
                return kept
        run = read_run(self._session, thread_id)
        with self._lock:
            self._kept[thread_id] = version, run
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return run
