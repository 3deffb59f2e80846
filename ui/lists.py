"""The list of runs, with its filters, and the charts of those that fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..state.statuses import RUN_STATES
from ..tracing.record.finding import LOOKED_AT, Hit
from ..tracing.record.listing import Cursor, Summary
from ..tracing.record.threads import Thread
from .charts import charts_of, width_words
from .lines import input_line, question_line, result_line
from .queries import DAYS, NUMBERS, ORDERS, TEXTS, Filters, Query, filters_in
from .records import Listing, Reader

BUCKETS = 48


@dataclass(frozen=True)
class Item:
    """One run in the list."""

    thread: Thread
    input: str
    result: str
    question: str
    users: list[str]
    tags: list[str]
    hit: Hit | None


def runs_page(reader: Reader, query: Query) -> Mapping[str, Any]:
    """Return what the template of the list needs. Raises InputError for a place that is none."""
    filters = filters_in(query)
    after, before = Cursor.of(query.one("after")), Cursor.of(query.one("before"))
    is_first = after is None and before is None
    listing = reader.listing(filters.search, filters.order, after=after, before=before)
    return {
        **_form(reader, filters),
        "listing": listing,
        "items": list(_items(listing)),
        "is_first": is_first,
        "is_plain": is_first and not filters.texts,
        "looked_at": LOOKED_AT,
    }


def charts_page(reader: Reader, query: Query) -> Mapping[str, Any]:
    """Return what the template of the charts needs."""
    filters = filters_in(query)
    trends = reader.trends(filters.search, BUCKETS)
    charts = charts_of(trends)
    return {
        **_form(reader, filters),
        "trends": trends,
        "width": width_words(trends.width),
        "charts": [chart for chart in charts if not chart.is_empty],
        "empty": [chart.title for chart in charts if chart.is_empty],
    }


def _form(reader: Reader, filters: Filters) -> dict[str, Any]:
    return {
        "filters": filters,
        "labels": reader.labels(),
        "orders": ORDERS,
        "statuses": RUN_STATES,
        "texts": TEXTS,
        "days": DAYS,
        "numbers": NUMBERS,
    }


def _items(listing: Listing) -> Iterator[Item]:
    for thread in listing.threads:
        summary = listing.summaries.get(thread.thread_id, Summary())
        yield Item(
            thread=thread,
            input=input_line(summary),
            result=result_line(summary),
            question=question_line(summary) if summary.interrupts else "",
            users=summary.users,
            tags=summary.tags,
            hit=listing.hits.get(thread.thread_id),
        )
