"""The periods of budgets that begin anew: hours, days, weeks from Monday on, and months, all in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

Period = Literal["hour", "day", "week", "month"]
PERIODS: tuple[Period, ...] = get_args(Period)


@dataclass(frozen=True, slots=True)
class Slice:
    """One period: from when, in Unix seconds, until when it lasts; None for ever."""

    starts_at: int
    ends_at: int | None


FOREVER = Slice(0, None)


def slice_at(per: Period | None, now: float) -> Slice:
    """Return the period in which a time lies."""
    if per is None:
        return FOREVER
    here = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0)
    if per == "hour":
        return _between(here, here + timedelta(hours=1))
    here = here.replace(hour=0)
    if per == "day":
        return _between(here, here + timedelta(days=1))
    if per == "week":
        here -= timedelta(days=here.weekday())
        return _between(here, here + timedelta(days=7))
    here = here.replace(day=1)
    return _between(here, (here + timedelta(days=31)).replace(day=1))


def _between(start: datetime, end: datetime) -> Slice:
    return Slice(int(start.timestamp()), int(end.timestamp()))


def shown_time(at: float) -> str:
    """Return a time for people."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
