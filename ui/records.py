"""What the pages read of the record: a page of the list, and runs, the last few of which are kept."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, TypeVar

from ..state.errors import StoreError
from ..state.session.session import Session
from ..tracing.record.finding import Found, Hit, find
from ..tracing.record.listing import (
    Cursor,
    Summary,
    Totals,
    labels_of,
    page_of_threads,
    read_threads,
    summaries_of,
    totals_of,
)
from ..tracing.record.plain_checkpoints import final_state, plain_checkpoints
from ..tracing.record.reads import read_input
from ..tracing.record.run import Run, read_run, run_version
from ..tracing.record.search import Search
from ..tracing.record.text import plain
from ..tracing.record.threads import Order, Thread, is_known, list_threads, list_version
from ..tracing.record.trends import Trends, trends_of
from .needs import Need, needs_of
from .texts import Text, input_shown, text_of
from .waits import PendingQuestion, Waits, is_given, read_waits, waits_of

PAGE = 50
KEPT = 4
KEPT_ANSWERS = 16
LABELS = 200
LABELS_S = 10.0
FIND_S = 1.0
MOST_FOUND = 1000
T = TypeVar("T")


@dataclass(frozen=True)
class Listing:
    """One page of the list of runs, and what all that fit come to.

    Where words are searched for, `result` says where they stand and how many runs were looked at; the totals
    are then those of the runs in which they were found.
    """

    threads: Sequence[Thread]
    summaries: Mapping[str, Summary]
    totals: Totals
    before: Cursor | None = None
    after: Cursor | None = None
    result: Found | None = None
    searched: int = 0
    hits: Mapping[str, Hit] = field(default_factory=dict)


class Reader:
    """Reads runs from a session; the last few are kept as long as nothing is added to them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: OrderedDict[str, tuple[str, Run]] = OrderedDict()
        self._answers: OrderedDict[Hashable, tuple[str, Any]] = OrderedDict()
        self._labels: tuple[float, dict[str, list[str]]] = (0.0, {})
        self._lock = Lock()

    @property
    def place(self) -> str:
        return str(self._session.database)

    def listing(
        self,
        search: Search,
        order: Order = "latest",
        *,
        after: Cursor | None = None,
        before: Cursor | None = None,
    ) -> Listing:
        """Return a page of the list: the first, or the one behind a place, or the one just before it."""
        if search.text:
            return self._find(search, after)
        journal = self._session.journal
        page = page_of_threads(journal, search, order, PAGE, after=after, before=before)
        totals = self._once(("totals", search), lambda: totals_of(journal, search))
        summaries = summaries_of(journal, page.threads)
        return Listing(page.threads, summaries, totals, page.before, page.after)

    def _find(self, search: Search, after: Cursor | None) -> Listing:
        journal = self._session.journal
        result = find(journal, search, after=after, seconds=FIND_S)
        ids = list(result.hits)
        shown, rest = ids[:PAGE], result.rest
        if len(ids) > PAGE:
            rest = result.places[shown[-1]]
        within = replace(search, text="", threads=tuple(ids[:MOST_FOUND]))
        total = self._once(("count", replace(search, text="")), lambda: self._count(replace(search, text="")))
        threads = read_threads(journal, shown)
        return Listing(
            threads,
            summaries_of(journal, threads),
            totals=totals_of(journal, within) if len(ids) <= MOST_FOUND else Totals(len(ids)),
            after=rest,
            result=result,
            searched=total,
            hits=result.hits,
        )

    def _count(self, search: Search) -> int:
        return totals_of(self._session.journal, search).threads

    def trends(self, search: Search, buckets: int) -> Trends:
        """Return how the runs that a search finds did over time."""
        journal = self._session.journal
        if search.text:
            result = find(journal, search, seconds=FIND_S)
            search = replace(search, text="", threads=tuple(list(result.hits)[:MOST_FOUND]))
        return self._once(("trends", search, buckets), lambda: trends_of(journal, search, buckets))

    def labels(self) -> Mapping[str, Sequence[str]]:
        """Return graphs, users and tags to choose from; they are read again after a while."""
        read_at, labels = self._labels
        if not labels or time.monotonic() - read_at > LABELS_S:
            labels = labels_of(self._session.journal, LABELS)
            self._labels = time.monotonic(), labels
        return labels

    def others(self, run: Run, most: int) -> list[Thread]:
        """Return other runs of the same graph, the latest first."""
        threads = list_threads(self._session.journal, most + 1, search=Search(graph=run.thread.name or ""))
        return [other for other in threads if other.thread_id != run.thread.thread_id][:most]

    def _once(self, key: Hashable, read: Callable[[], T]) -> T:
        """Return what was read, as long as the list does not change."""
        version = self.list_version()
        with self._lock:
            kept_version, kept = self._answers.get(key, ("", None))
        if kept_version == version:
            value: T = kept
            return value
        answer = read()
        with self._lock:
            self._answers[key] = version, answer
            self._answers.move_to_end(key)
            while len(self._answers) > KEPT_ANSWERS:
                self._answers.popitem(last=False)
        return answer

    def waits(self) -> Waits:
        """Return what waits for a person in all threads."""
        return self._once("waits", lambda: read_waits(self._session))

    def is_given(self, question: PendingQuestion) -> bool:
        """Tell whether a worker is about to take an answer."""
        return is_given(self._session, question)

    def waits_of(self, thread_id: str) -> list[PendingQuestion]:
        """Return what one thread waits for."""
        return waits_of(self._session, thread_id)

    def needs(self, run: Run, waits: Sequence[PendingQuestion]) -> list[Need]:
        """Return what a run needs that has not ended."""
        return needs_of(self._session, run, waits)

    def so_far(self, run: Run) -> list[tuple[str, Text]]:
        """Return the fields of the state that a run has reached: those that its input did not have so."""
        thread = run.thread.thread_id
        try:
            with plain_checkpoints(self._session) as checkpoints:
                values = plain(final_state(checkpoints, thread))
            run_input = read_input(self._session.journal, thread)
        except Exception:  # whatever a damaged checkpoint leads to; the rest of the run can be looked at
            return []
        empty: tuple[Any, ...] = (None, "", [], {})
        fields = {
            n: v for n, v in values.items() if v not in empty and (n not in run_input or run_input[n] != v)
        }
        masked = self._session.journal.mask.value(
            fields
        )  # checkpoints are not, unlike what a page reads else
        return [(name, text_of(f"far {name}", value)) for name, value in masked.items()]

    def input_of(self, run: Run) -> str:
        """Return the input of a run as JSON, its keys masked; nothing where the record has it not apart."""
        try:
            data = read_input(self._session.journal, run.thread.thread_id) if run.thread.graph else {}
        except StoreError:  # it is damaged, so it cannot be run again
            return ""
        return input_shown(data, self._session.journal.mask) if data else ""

    def is_known(self, thread_id: str) -> bool:
        """Tell whether there is such a run."""
        return is_known(self._session.journal, thread_id)

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
            kept_version, known = self._kept.get(thread_id, ("", None))
            if known is not None and kept_version == version and not known.live:
                self._kept.move_to_end(thread_id)
                return known
        run = read_run(self._session, thread_id)
        with self._lock:
            self._kept[thread_id] = version, run
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return run
