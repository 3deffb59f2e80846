"""The times of a schedule: each so many seconds, or as a line of cron says in a time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..state.errors import InputError
from ..state.journal.schedules import ScheduleRecord

FRESH_S = 60.0  # a time that is older has been missed
MOST_AT_ONCE = 100  # missed times that are begun together
SHORTEST_S = 1.0


def check_times(schedule: ScheduleRecord) -> None:
    """Raise InputError unless it says when, in words that can be understood."""
    if (schedule.every_s is None) == (schedule.cron is None):
        raise InputError(
            f"The schedule {schedule.name!r} needs one of both: a span (every, --every 1h), or a line "
            "of cron (cron, --cron '0 7 * * 1-5')."
        )
    if schedule.every_s is not None and schedule.every_s < SHORTEST_S:
        raise InputError(f"The schedule {schedule.name!r}: a span is a second at least.")
    try:
        ZoneInfo(schedule.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(
            f"There is no time zone {schedule.timezone!r}. Expected a name such as Europe/Berlin or UTC."
        ) from None
    next_time(schedule, 0.0)


def next_time(schedule: ScheduleRecord, after: float) -> float:
    """Return the first time of a schedule after one."""
    return next(times_after(schedule, after))


def times_after(schedule: ScheduleRecord, after: float) -> Iterator[float]:
    """Give the times of a schedule after one, as Unix seconds, without end."""
    if schedule.every_s is not None:
        number = int(after // schedule.every_s)
        while True:
            number += 1
            yield number * schedule.every_s
    last = datetime.fromtimestamp(after, ZoneInfo(schedule.timezone))
    times = _cron(schedule, last)
    # At a fixed hour that the clock goes through twice, once; what is due each hour goes on through both.
    once = not str(schedule.cron).split()[1].startswith("*")
    while True:
        at: datetime = times.get_next(datetime)
        if at.timestamp() > last.timestamp() and not (
            once and at.replace(tzinfo=None) <= last.replace(tzinfo=None)
        ):
            last = at
            yield at.timestamp()


def _cron(schedule: ScheduleRecord, at: datetime) -> Any:
    try:
        from croniter import croniter
    except ModuleNotFoundError:
        raise InputError("A line of cron needs a package: pip install 'stepgraph[schedules]'") from None
    line = schedule.cron or ""
    if len(line.split()) != 5 or not croniter.is_valid(line):
        raise InputError(
            f"{line!r} is no line of cron. Expected minute, hour, day, month and weekday, such as "
            "'0 7 * * 1-5'."
        )
    return croniter(line, at)


def _last_time(schedule: ScheduleRecord, now: float) -> float:
    """Return the last time of a schedule until now."""
    if schedule.every_s is not None:
        return now // schedule.every_s * schedule.every_s
    here = datetime.fromtimestamp(now + 1, ZoneInfo(schedule.timezone))
    last: datetime = _cron(schedule, here).get_prev(datetime)
    return last.timestamp()


def to_begin(schedule: ScheduleRecord, now: float) -> tuple[list[float], float]:
    """Return for which of the times that have come jobs are begun, and the next time to look."""
    if schedule.next_at is None or schedule.next_at > now:
        return [], schedule.next_at or now
    if schedule.missed == "all":
        come = [schedule.next_at]
        for at in times_after(schedule, schedule.next_at):
            if at > now or len(come) == MOST_AT_ONCE:
                return come, at
            come.append(at)
    last = max(schedule.next_at, _last_time(schedule, now))
    begins = schedule.missed == "one" or now - last <= FRESH_S
    return ([last] if begins else []), next_time(schedule, max(now, last))


def thread_of(name: str, at: float) -> str:
    """Return the thread of a schedule's time: the same one whoever begins it, on every engine."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{name}-{moment.replace(microsecond=0, tzinfo=None).isoformat()}Z"


def time_of(name: str, thread: str) -> float:
    """Return the time of a schedule's thread."""
    return datetime.fromisoformat(thread.removeprefix(f"{name}-")).timestamp()
