"""The record of schedules: when jobs begin by themselves. Each time once, whoever looks."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from .dialect import Transaction
from .jobs import JobRecord, new_job
from .journal import Journal

Missed = Literal["skip", "one", "all"]
ScheduleStatus = Literal["active", "paused"]
_NAMES: Final = (
    "name, graph, input, options, engine, every_s, cron, timezone, missed, status, next_at, last_at"
)


@dataclass(frozen=True)
class ScheduleRecord:
    """One row; times are Unix seconds of the database's clock. Its jobs have its `input` and `options`."""

    name: str
    graph: str
    input: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    engine: str = "local"
    every_s: float | None = None
    cron: str | None = None
    timezone: str = "UTC"
    missed: Missed = "one"
    status: ScheduleStatus = "active"
    next_at: float | None = None
    last_at: float | None = None

    def job(self, thread: str) -> JobRecord:
        """Return a job of it."""
        return JobRecord(thread, self.graph, 0, self.input, options=self.options, engine=self.engine)


def clock(journal: Journal) -> float:
    """Return the time by the database's clock."""
    return float(journal.query(f"SELECT {journal.dialect.now} AS now")[0]["now"])


def put_schedule(journal: Journal, schedule: ScheduleRecord) -> bool:
    """Record a schedule; return whether it is new, or equals the one that has its name."""
    now = journal.dialect.now
    sql = (
        f"INSERT INTO schedules ({_NAMES}, created_at, updated_at) "
        f"VALUES ({', '.join('?' * 12)}, {now}, {now}) ON CONFLICT (name) DO NOTHING"
    )
    values = (
        schedule.name,
        schedule.graph,
        json.dumps(schedule.input),
        json.dumps(dict(schedule.options)),
        schedule.engine,
        schedule.every_s,
        schedule.cron,
        schedule.timezone,
        schedule.missed,
        schedule.status,
        schedule.next_at,
        schedule.last_at,
    )
    journal.write([(sql, values)])
    stands = find_schedule(journal, schedule.name)
    return stands is not None and _terms(stands) == _terms(schedule)


def _terms(schedule: ScheduleRecord) -> tuple[Any, ...]:
    every = (schedule.every_s, schedule.cron, schedule.timezone, schedule.missed)
    return (schedule.graph, schedule.input, dict(schedule.options), schedule.engine, *every)


def find_schedule(journal: Journal, name: str) -> ScheduleRecord | None:
    """Return a schedule, None if there is none of that name."""
    rows = journal.query(f"SELECT {_NAMES} FROM schedules WHERE name = ?", (name,))
    return _schedule(rows[0]) if rows else None


def read_schedules(journal: Journal) -> list[ScheduleRecord]:
    """Return all schedules."""
    return [_schedule(row) for row in journal.query(f"SELECT {_NAMES} FROM schedules ORDER BY name")]


def due_schedules(journal: Journal, graphs: Collection[str], engine: str) -> list[ScheduleRecord]:
    """Return the schedules whose time has come, of graphs that a worker serves."""
    sql = (
        f"SELECT {_NAMES} FROM schedules WHERE engine = ? AND status = 'active' "
        f"AND next_at <= {journal.dialect.now} AND graph IN ({', '.join('?' * len(graphs))}) ORDER BY next_at"
    )
    return [_schedule(row) for row in journal.query(sql, (engine, *graphs))]


def _schedule(row: Mapping[str, Any]) -> ScheduleRecord:
    return ScheduleRecord(**{**row, "input": json.loads(row["input"]), "options": json.loads(row["options"])})


def begin_times(
    journal: Journal, schedule: ScheduleRecord, threads: Sequence[str], last_at: float, next_at: float
) -> bool:
    """Put jobs for the threads of a schedule's times on record, and its next time; False if another has.

    A thread that exists already is left as it is.
    """
    sql = (
        f"UPDATE schedules SET next_at = ?, last_at = ?, updated_at = {journal.dialect.now} "
        "WHERE name = ? AND status = 'active' AND next_at = ? RETURNING name"
    )

    def begin(transaction: Transaction) -> bool:
        values = (next_at, last_at if threads else schedule.last_at, schedule.name, schedule.next_at)
        if not transaction.execute(sql, values):
            return False
        for thread in threads:
            for statement in new_job(journal, schedule.job(thread)):
                transaction.execute(*statement)
        return True

    return journal.transact(begin)


def begin_once(journal: Journal, schedule: ScheduleRecord, thread: str) -> None:
    """Put a job of a schedule on record, unless its thread exists."""
    journal.write(new_job(journal, schedule.job(thread)))


def set_schedule(
    journal: Journal, name: str, status: ScheduleStatus, next_at: float | None
) -> ScheduleRecord | None:
    """Pause a schedule or let it go on; None if there is none of that name."""
    now = journal.dialect.now
    sql = f"UPDATE schedules SET status = ?, next_at = ?, updated_at = {now} WHERE name = ?"
    journal.write([(sql, (status, next_at, name))])
    return find_schedule(journal, name)


def drop_schedule(journal: Journal, name: str) -> None:
    """Forget a schedule; jobs that it began stay."""
    journal.write([("DELETE FROM schedules WHERE name = ?", (name,))])
