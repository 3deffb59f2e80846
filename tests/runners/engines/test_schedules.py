"""Schedules: each time has one job, whoever looks, however often, on every engine."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from stepgraph import Session, aschedule, ascheduled, asubmitted, schedules
from stepgraph.errors import InputError
from stepgraph.runners.firing import fire_due, fire_one
from stepgraph.runners.sessions import close_sessions, session_at
from stepgraph.runners.times import next_time, thread_of, times_after, to_begin
from stepgraph.state.journal.jobs import find_job
from stepgraph.state.journal.schedules import ScheduleRecord, clock, put_schedule

from .places import LIMIT_S, MODULE, Place, until

pytestmark = pytest.mark.xdist_group("cluster")
GRAPH = f"{MODULE}:plain"
HOUR = 3600.0


async def test_each_time_has_one_job_on_every_engine(place: Place) -> None:
    await aschedule("ticks", GRAPH, {"to": "Ada"}, every=timedelta(seconds=2), db=place.db, on=place.on)
    journal = session_at(place.db).journal
    sql = "SELECT thread_id FROM jobs WHERE thread_id LIKE 'ticks-%' AND status = 'done' ORDER BY thread_id"

    def done() -> list[str]:
        return [row["thread_id"] for row in journal.query(sql)]

    async with place.worker("plain"):
        await until(lambda: len(done()) >= 2)
        ticks = await ascheduled("ticks", db=place.db, on=place.on)
        await ticks.apause()
        thread = await ticks.arun_now()
        run = await asubmitted(thread, db=place.db, on=place.on)
        assert (await run.aresult(LIMIT_S)).values["to"] == "Ada"
        await ticks.aremove()
        assert schedules(place.db) == []
        open_jobs = "SELECT 1 FROM jobs WHERE thread_id LIKE 'ticks-%' AND status <> 'done'"
        await until(lambda: not journal.query(open_jobs))  # one may have begun before the pause
    names = done()
    times = [
        datetime.fromisoformat(name.removeprefix("ticks-")).timestamp() for name in names if name != thread
    ]
    assert all(at % 2 == 0 for at in times)
    assert sum(place.model.asked.values()) == 2 * len(names)


def record(**terms: Any) -> ScheduleRecord:
    return ScheduleRecord("nightly", GRAPH, {"to": "Ada"}, **terms)


@pytest.mark.parametrize(
    ("missed", "away_s", "begun"),
    [
        ("all", 5 * HOUR + 10, [1, 2, 3, 4, 5, 6]),
        ("one", 5 * HOUR + 10, [6]),
        ("one", 5 * HOUR + 1000, [6]),
        ("skip", 5 * HOUR + 10, [6]),  # it has come just now
        ("skip", 5 * HOUR + 1000, []),
        ("skip", 0.0, [1]),
        ("all", -1.0, []),
    ],
)
def test_what_was_missed_follows_the_policy(missed: Any, away_s: float, begun: list[int]) -> None:
    terms = record(every_s=HOUR, missed=missed, next_at=HOUR)
    times, following = to_begin(terms, HOUR + away_s)
    assert times == [number * HOUR for number in begun]
    assert following == (max(6, int(1 + away_s // HOUR)) + 1 if away_s > HOUR else 2 if begun else 1) * HOUR
    line = record(cron="0 * * * *", missed=missed, next_at=HOUR)
    assert to_begin(line, HOUR + away_s) == (times, following)


def test_whoever_looks_a_time_begins_once(tmp_path: Path) -> None:
    with Session(tmp_path / "runs.sqlite") as one, Session(tmp_path / "runs.sqlite") as other:
        now = clock(one.journal)
        put_schedule(one.journal, record(every_s=HOUR, missed="all", next_at=now // HOUR * HOUR - 2 * HOUR))
        first = fire_due(one.journal, [GRAPH], "local")
        assert [fire_due(each.journal, [GRAPH], "local") for each in (other, one)] == [[], []]
        assert len(first) == 3
        assert {find_job(other.journal, job.thread).status for job in first} == {"queued"}  # type: ignore[union-attr]
        assert fire_due(one.journal, ["another"], "local") == []


def test_a_time_that_an_engine_brings_late_follows_the_policy(tmp_path: Path) -> None:
    with Session(tmp_path / "runs.sqlite") as session:
        journal = session.journal
        last = clock(journal) // HOUR * HOUR
        for missed, before, begins in (
            ("all", 5, True),
            ("one", 5, False),
            ("one", 0, True),
            ("skip", 5, False),
        ):
            put_schedule(journal, ScheduleRecord(missed, GRAPH, {}, every_s=HOUR, missed=missed))  # type: ignore[arg-type]
            thread = thread_of(missed, last - before * HOUR)
            assert (fire_one(journal, missed, thread) is not None) == begins
            assert (find_job(journal, thread) is not None) == begins
        assert fire_one(journal, "unknown", "unknown-2026-11-27T07:00:00Z") is None


@pytest.mark.parametrize(
    ("cron", "begin", "expected"),
    [
        ("30 2 * * *", "2026-10-24T12:00", ["25T02:30+0200", "26T02:30+0100"]),  # the hour comes twice
        ("30 2 * * *", "2026-03-28T12:00", ["29T03:00+0200", "30T02:30+0200"]),  # the hour is left out
        ("0 * * * *", "2026-10-25T01:30", ["25T02:00+0200", "25T02:00+0100", "25T03:00+0100"]),
        ("0 7 * * 1-5", "2026-11-27T08:00", ["30T07:00+0100"]),
    ],
)
def test_cron_in_a_time_zone(cron: str, begin: str, expected: list[str]) -> None:
    zone = ZoneInfo("Europe/Berlin")
    terms = record(cron=cron, timezone="Europe/Berlin")
    after = datetime.fromisoformat(begin).replace(tzinfo=zone).timestamp()
    times = islice(times_after(terms, after), len(expected))
    assert [datetime.fromtimestamp(at, zone).strftime("%dT%H:%M%z") for at in times] == expected
    assert next_time(terms, after) > after


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({}, "needs one of both"),
        ({"every": 60, "cron": "0 7 * * *"}, "needs one of both"),
        ({"every": 0.1}, "a second at least"),
        ({"cron": "7 o'clock"}, "no line of cron"),
        ({"cron": "0 0 7 * * *"}, "no line of cron"),
        ({"cron": "0 7 * * *", "timezone": "Europe/Nowhere"}, "no time zone"),
        ({"every": 60, "missed": "some"}, "expected one of skip, one, all"),
        ({"every": 60, "name": "a/b"}, "A schedule's name has"),
        ({"every": 60, "restart": True}, "leave out restart"),
    ],
)
async def test_what_cannot_be_is_told_before(terms: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        await aschedule(terms.pop("name", "nightly"), GRAPH, {"to": "Ada"}, db=tmp_path / "r.sqlite", **terms)
    close_sessions()


async def test_the_same_terms_again_are_the_same_schedule(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite"
    for _ in range(2):
        await aschedule("nightly", GRAPH, {"to": "Ada"}, cron="0 7 * * *", db=file, user="ada")
    with pytest.raises(InputError, match="with other terms"):
        await aschedule("nightly", GRAPH, {"to": "Bob"}, cron="0 7 * * *", db=file, user="ada")
    with pytest.raises(InputError, match="no schedule 'weekly'"):
        await ascheduled("weekly", db=file)
    (stands,) = schedules(file)
    assert (stands.input, json.loads(json.dumps(dict(stands.options)))) == ({"to": "Ada"}, {"user": "ada"})
    close_sessions()
