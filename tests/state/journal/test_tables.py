"""What counts against a budget's seconds, and the view that shows what is left of every limit."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command, interrupt

from stepgraph import Ask, Budget, ScriptedModel, Session, arun, chain, run, step, using, within
from stepgraph.providers.prices import Price
from stepgraph.state import budget as budgets
from stepgraph.state.journal.records import NodeRun
from stepgraph.tracing.forks.fork import fork
from stepgraph.tracing.record.query import select

PRICE = Price(input=1_000_000, output=2_000_000)


@dataclass
class Post:
    topic: str = "tea"
    plan: str = ""
    approved: str = ""
    draft: str = ""


@step("plan")
def plan(post: Post) -> Ask[str]:
    return Ask("plan")


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("write")


def approve(post: Post) -> dict[str, Any]:
    return {"approved": interrupt("fine?")}


graph = chain(plan, approve, write)


def visited(session: Session, begin: float, end: float, task: str = "a:1") -> None:
    """Put a node's visit on record, in seconds after the thread began."""
    (row,) = session.journal.query("SELECT started_at FROM runs WHERE thread_id = 't'")
    at = row["started_at"]
    session.journal.add(NodeRun("t", task, "a", "a", 1, "done", None, None, at + begin, at + end))


def shown(session: Session) -> dict[str, tuple[Any, Any, Any]]:
    rows = session.journal.query("SELECT * FROM budgets WHERE thread_id = 't'")
    return {row["resource"]: (row["allowed"], row["spent"], row["remaining"]) for row in rows}


def test_running_time_is_the_time_in_which_anything_ran(session: Session) -> None:
    assert session.ran_s("t") == 0.0
    session.journal.start_run("t", budget=Budget(seconds=100).to_json())
    for begin, end in ((10, 20), (12, 15), (18, 25), (100, 101), (100, 100.5)):
        visited(session, begin, end)
    visited(session, 50, 54, "a:1|b:2")
    assert session.ran_s("t") == pytest.approx(20)
    assert session.ran_s("t", "a:1|b:2") == pytest.approx(4)
    assert session.ran_s("t", "a:1") == pytest.approx(20)
    assert session.ran_s("t", "a") == 0.0
    assert shown(session)["seconds"] == pytest.approx((100, 20, 80))


def test_what_a_fork_copied_does_not_count_for_it(session: Session) -> None:
    with using(ScriptedModel(["p"], price=PRICE)):
        run(graph.compile(), Post(), session, "t", budget=Budget(seconds=1000, calls=5))
    assert 0 < session.ran_s("t") < 60
    child = fork(session, "t")
    assert session.ran_s(child) == 0.0
    rows = session.journal.query("SELECT resource, spent FROM budgets WHERE thread_id = ?", (child,))
    assert {row["resource"]: row["spent"] for row in rows} == {"seconds": 0.0, "calls": 0}


async def test_seconds_survive_a_resume_but_waiting_for_a_person_is_free(session: Session) -> None:
    app = graph.compile()
    with using(ScriptedModel(["p", "d"])):
        first = await arun(app, Post(), session, "t", budget=Budget(seconds=60))
        assert first.status == "interrupted"
        session.journal.write([("UPDATE runs SET started_at = started_at - 1000", ())])  # it waited long
        visited(session, 0, 59)
        assert session.ran_s("t") > 59
        visited(session, 100, 102)
        ended = await arun(app, Command(resume="yes"), session, "t")
        assert ended.status == "partial"
        assert "seconds = 60. 61" in (ended.limit or "")
        more = await arun(app, None, session, "t", budget=Budget(seconds=120))
    assert (more.status, more.values["draft"]) == ("done", "d")
    assert shown(session)["seconds"][1] > 61


async def test_a_config_that_is_used_twice_does_not_count_the_wait(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, config = graph.compile(), session.config("t", budget=Budget(seconds=60))
    with using(ScriptedModel(["p", "d"])):
        await app.ainvoke(Post(), config)
        now = time.monotonic
        monkeypatch.setattr(budgets.time, "monotonic", lambda: now() + 1000)
        result = await app.ainvoke(Command(resume="yes"), config)
    assert result["draft"] == "d"


async def test_an_old_config_knows_what_was_spent_through_another(session: Session) -> None:
    app, config = graph.compile(), session.config("t", budget=Budget(calls=1))
    with using(ScriptedModel(["p", "d"])):
        await app.ainvoke(Post(), session.config("t"))
        result = await app.ainvoke(Command(resume="yes"), config)
    assert result["__interrupt__"][0].value["limit"] == "calls"


async def test_the_seconds_of_a_part_survive_a_resume(session: Session) -> None:
    inner = chain(plan, approve, write, name="inner")
    app = chain(within(inner, Budget(seconds=60))).compile()
    with using(ScriptedModel(["p", "d"])):
        await arun(app, Post(), session, "t")
        (row,) = session.journal.query("SELECT task FROM node_runs WHERE node = 'approve'")
        visited(session, 0.5, 61, f"{row['task']}|deeper:1")
        ended = await arun(app, Command(resume="yes"), session, "t")
    assert ended.status == "partial"
    assert "part 'inner'" in (ended.limit or "")


async def test_supersteps_that_are_on_record_hold_for_a_resume(session: Session) -> None:
    app = chain(*[plan, write] * 4).compile()
    with using(ScriptedModel(["p", "d"] * 4)):
        first = await arun(app, Post(), session, "t", budget=Budget(supersteps=1))
        again = await arun(app, None, session, "t")
    assert (first.status, first.missing, again.status) == ("partial", ("write",), "partial")
    assert again.limit == "supersteps = 1"


def test_the_view_shows_every_limit(session: Session) -> None:
    limits = Budget(tokens=10_000, usd=5000.0, calls=1, supersteps=9, answer_tokens=10)
    with using(ScriptedModel(["p"], price=PRICE)):
        run(graph.compile(), Post(), session, "t", budget=limits)
    spent = session.spent("t")
    assert spent.tokens > 0
    assert shown(session) == {
        "tokens": (10_000, spent.tokens, 10_000 - spent.tokens),
        "usd": (5000.0, spent.usd, 5000.0 - spent.usd),
        "calls": (1, 1, 0),
        "supersteps": (9, None, None),
    }
    found = select(session.database, "SELECT status, remaining FROM budgets WHERE resource = 'calls'")
    assert found.rows == [("interrupted", 0)]


@pytest.mark.sqlite_file("a file of an older version")
def test_a_file_of_an_older_version_gets_the_views(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    with Session(path) as session:
        session.journal.start_run("t", budget=json.dumps({"calls": 3}))
    old = sqlite3.connect(path)
    old.execute("DROP VIEW budgets")
    old.execute("PRAGMA user_version = 1")
    old.commit()
    old.close()
    with Session(path) as session:
        assert shown(session) == {"calls": (3, 0, 3)}
