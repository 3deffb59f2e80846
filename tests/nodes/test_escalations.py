"""A review that asks the next one where nobody has answered: whom it asked, and when, is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stepgraph import Session, chain, due, resume, review, run
from stepgraph.cli.app import cli
from stepgraph.errors import AnswerTooLate, DefinitionError, InputError
from stepgraph.tracing import read_waiting

from .test_waits import Clock

HOUR = timedelta(hours=1)
STEPS = {"grace": HOUR, "on call": 3 * HOUR}


@dataclass
class Draft:
    text: str = "hello"
    reason: str = ""


@review("text", to="ada", escalate_to=STEPS, deadline=24 * HOUR, otherwise="reject", reason="reason")
def check(draft: Draft) -> str:
    return "Fine?"


@review("text", escalate_to=[("grace", HOUR)])
def check_some_day(draft: Draft) -> str:
    return "Fine?"


APP = chain(check, name="checked").compile()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(tmp_path: Path, clock: Clock) -> Iterator[Session]:
    with Session(tmp_path / "runs.sqlite", clock=clock) as session:
        yield session


def asked(session: Session) -> list[str]:
    (item,) = read_waiting(session, "one")
    assert item.value["to"] == item.value["asked"][-1]["to"]
    return [each["to"] for each in item.value["asked"]]


def test_each_is_asked_in_turn_and_the_question_stays_one(session: Session, clock: Clock) -> None:
    first = run(APP, Draft(), session, "one")
    assert (first.status, asked(session), due(session)) == ("interrupted", ["ada"], [])
    clock.now += timedelta(minutes=59)
    assert resume(APP, session, "one").waiting[0].value["to"] == "ada"
    clock.now += timedelta(minutes=1)
    assert [item.thread_id for item in due(session)] == ["one"]
    assert resume(APP, session, "one").waiting[0].id == first.waiting[0].id
    assert (asked(session), due(session)) == (["ada", "grace"], [])
    clock.now += 2 * HOUR
    resume(APP, session, "one")
    assert asked(session) == ["ada", "grace", "on call"]
    clock.now += 2 * HOUR
    assert due(session) == []  # nobody is left to ask
    result = resume(APP, session, "one", answers={first.waiting[0].id: {"decision": "approve", "by": "ada"}})
    assert result.status == "done"
    rows = session.journal.query("SELECT asked, asked_at, until FROM escalations ORDER BY number")
    begin = rows[0]["asked_at"]
    assert [(row["asked"], row["asked_at"] - begin, row["until"]) for row in rows] == [
        ("ada", 0, None),
        ("grace", 3600, None),
        ("on call", 3 * 3600, None),
    ]


def test_where_nobody_looked_for_long_only_the_last_one_is_asked(session: Session, clock: Clock) -> None:
    run(APP, Draft(), session, "one")
    clock.now += 5 * HOUR
    resume(APP, session, "one")
    assert asked(session) == ["ada", "on call"]


def test_the_deadline_ends_it_whoever_was_asked(session: Session, clock: Clock) -> None:
    run(APP, Draft(), session, "one")
    clock.now += 25 * HOUR
    assert [item.thread_id for item in due(session)] == ["one"]
    with pytest.raises(AnswerTooLate):
        resume(APP, session, "one", answer="approve")
    result = resume(APP, session, "one")
    assert (result.status, "nobody answered" in result.values["reason"]) == ("done", True)
    assert due(session) == []


def test_a_question_that_is_asked_again_goes_on_to_the_next(session: Session, clock: Clock) -> None:
    run(APP, Draft(), session, "one")
    again = resume(APP, session, "one", answer="perhaps")
    assert again.waiting[0].value["again"] == 1
    clock.now += HOUR
    assert resume(APP, session, "one").waiting[0].value["to"] == "grace"
    assert resume(APP, session, "one", answer="approve").status == "done"


def test_without_a_deadline_it_waits_on(session: Session, clock: Clock) -> None:
    app = chain(check_some_day).compile()
    run(app, Draft(), session, "one")
    clock.now += 100 * HOUR
    resume(app, session, "one")
    assert asked(session) == ["whoever looks", "grace"]
    with pytest.raises(InputError, match="a session"):
        app.invoke(Draft())


@pytest.mark.sqlite_file("names the file on the command line")
def test_pending_tells_who_is_asked(session: Session, clock: Clock, tmp_path: Path) -> None:
    run(APP, Draft(), session, "one")
    file = str(tmp_path / "runs.sqlite")
    shown = CliRunner().invoke(cli, ["pending", "--db", file]).output
    assert "asks ada since" in shown
    assert "asks the next one at" in shown
    (row,) = map(json.loads, CliRunner().invoke(cli, ["pending", "--db", file, "--json"]).output.splitlines())
    assert (row["to"], [each["to"] for each in row["asked"]]) == ("ada", ["ada"])
    assert row["escalates"]


@pytest.mark.parametrize(
    "terms",
    [
        {"escalate_to": {"grace": 4}},
        {"escalate_to": ["grace"]},
        {"escalate_to": {"grace": timedelta(0)}},
        {"escalate_to": {"grace": HOUR, "on call": HOUR}},
        {"escalate_to": {"grace": HOUR}, "deadline": HOUR},
    ],
)
def test_what_cannot_come_to_pass_is_told_when_it_is_made(terms: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match="escalate_to"):

        @review("text", **terms)
        def check(draft: Draft) -> str:
            return "Fine?"
