"""The part of an address after the question mark, and the list's filters in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

from ..state.statuses import RUN_STATES
from ..tracing.record.search import Search
from ..tracing.record.threads import Order

ORDERS: dict[str, Order] = {name: name for name in get_args(Order)}
WORDS = 200  # characters
# The filters' names in an address, each with what a reader calls it.
TEXTS = {"user": "user", "tag": "tag", "graph": "graph"}
DAYS = {"since": "began on or after", "until": "began on or before"}
NUMBERS = {
    "min_cost": "cost at least $",
    "max_cost": "cost at most $",
    "min_seconds": "nodes ran at least, in seconds",
    "max_seconds": "nodes ran at most, in seconds",
}
NAMES = {"q": "words", "status": "status", **TEXTS, **DAYS, **NUMBERS}


@dataclass(frozen=True)
class Query:
    """The part of an address after the question mark."""

    pairs: Sequence[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]

    def one(self, name: str) -> str:
        return next(iter(self.all(name)), "")

    def number(self, name: str) -> int | None:
        text = self.one(name)
        return int(text) if text.isdecimal() and len(text) < 9 else None


@dataclass(frozen=True)
class Filters:
    """What a reader asks of the list: the search, and the filters as they were given, for links.

    `problems` says of filters that make no sense what was expected; nothing is filtered by them.
    """

    search: Search
    order: Order
    texts: dict[str, str]
    problems: Sequence[str]

    @property
    def query(self) -> dict[str, str]:
        """The filters and the order, as an address has them."""
        return {**self.texts, **({"order": self.order} if self.order != "latest" else {})}

    def without(self, name: str) -> dict[str, str]:
        return {key: value for key, value in self.query.items() if key != name}

    def chips(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Yield each filter with its value, and the list without it."""
        for name, value in self.texts.items():
            yield NAMES[name], value, self.without(name)


def filters_in(query: Query) -> Filters:
    """Return the filters in an address."""
    # No database keeps a NUL in a text.
    texts = {name: text for name in NAMES if (text := query.one(name).replace("\0", "").strip()[:WORDS])}
    problems: list[str] = []
    status = texts.get("status")
    if status is not None and status not in RUN_STATES:
        problems.append(f"status={status}: expected one of {', '.join(RUN_STATES)}.")
    search = Search(
        text=texts.get("q", ""),
        status=status if status in RUN_STATES else None,
        user=texts.get("user", ""),
        tag=texts.get("tag", ""),
        graph=texts.get("graph", ""),
        since=_day("since", texts, problems),
        until=_day("until", texts, problems),
        min_cost=_number("min_cost", texts, problems),
        max_cost=_number("max_cost", texts, problems),
        min_seconds=_number("min_seconds", texts, problems),
        max_seconds=_number("max_seconds", texts, problems),
    )
    order = ORDERS.get(query.one("order"), "latest")
    if search.text and order != "latest":
        problems.append(f"order={order}: a search shows the newest runs first.")
        order = "latest"
    return Filters(search, order, texts, problems)


def _day(name: str, texts: dict[str, str], problems: list[str]) -> float | None:
    """Return when a day begins by this machine's clock, or, for `until`, when the next one does."""
    text = texts.get(name)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        if name == "until":
            at += timedelta(days=1) if len(text) <= len("2026-03-01") else timedelta(minutes=1)
        return at.timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    problems.append(
        f"{name}={text}: expected a day, such as 2026-03-01, or a time, such as 2026-03-01T14:30."
    )
    return None


def _number(name: str, texts: dict[str, str], problems: list[str]) -> float | None:
    text = texts.get(name)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if 0 <= number <= 1e6:
        return number
    problems.append(f"{name}={text}: expected a number from 0 to 1000000, such as 0.25.")
    return None
