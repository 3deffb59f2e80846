"""Waits and deadlines on the command line: what is due is resumed, what is not is left alone."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.journal.records import Description

from .conftest import Command

TIMED = """
from dataclasses import dataclass
from datetime import timedelta
from stepgraph import chain, review, wait

@dataclass
class Mail:
    to: str = "ada"
    text: str = "hello"
    status: str = ""

def send(mail: Mail) -> dict[str, str]:
    return {"status": f"{mail.status} sent".strip()}

def park(mail: Mail) -> dict[str, str]:
    return {"status": "parked"}

@review("text", deadline=timedelta(days=2), otherwise=park)
def check(mail: Mail) -> str:
    return "Send this?"

paused = chain(wait(until=timedelta(days=2)), send, name="paused")
reviewed = chain(check, send, name="reviewed")
"""

BEGUN = {"new": 0, "old": 3}  # days ago


@pytest.fixture
def timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Four threads: a wait and a review whose time has come, and two with another day to go."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "timed.py").write_text(TIMED)
    module: dict[str, Any] = runpy.run_path("timed.py")
    for age, days in BEGUN.items():
        begun = datetime.now(UTC) - timedelta(days=days)
        with Session("stepgraph.sqlite", clock=lambda at=begun: at) as session:  # type: ignore[misc]
            for name in ("paused", "reviewed"):
                thread = f"{name}-{age}"
                known = Description(f"timed.py:{name}", {}, {})
                config = session.config(thread, description=known)
                module[name].compile().invoke(module["Mail"](), config)
    return iter(())


@pytest.mark.usefixtures("timed")
def test_what_waits_tells_until_when(command: Command) -> None:
    out = command("pending").out
    assert "wait: until 20" in out
    assert "check: Send this? (until 20" in out
    assert ", in 48.0 h" in out
    assert ", 24.0 h ago" in out
    assert "stepgraph resume paused-old" in out
    assert "stepgraph resume reviewed-old" in out
    assert "stepgraph approve reviewed-new" in out
    rows = {row["thread"]: row for row in command("pending", "--json").rows}
    assert len(rows) == 4
    for row in rows.values():
        age = row["thread"].partition("-")[2]
        assert (row["due"] < datetime.now(UTC).timestamp()) == (age == "old")
    assert "waits until 20" in command("show", "paused-new", "--waterfall").out


@pytest.mark.usefixtures("timed")
def test_due_resumes_what_is_due_and_nothing_else(command: Command) -> None:
    done = command("resume", "--due", "--json")
    assert {row["thread"]: row["output"]["status"] for row in done.rows} == {
        "paused-old": "sent",
        "reviewed-old": "parked sent",
    }
    assert done.code == 0
    assert "Nothing is due." in command("resume", "--due").out
    assert {row["thread"] for row in command("pending", "--json").rows} == {"paused-new", "reviewed-new"}


@pytest.mark.usefixtures("timed")
def test_all_goes_on_with_it_too(command: Command) -> None:
    done = command("resume", "--all", "--json")
    found = {row["thread"]: row["status"] for row in done.rows}
    assert found == {f"{name}-{age}": status for name in ("paused", "reviewed") for age, status in STATUS}
    out = command("resume", "--all").out
    assert "waits: wait: until 20" in out
    assert "stepgraph resume --due" in out


STATUS = (("old", "done"), ("new", "interrupted"))


@pytest.mark.usefixtures("timed")
def test_a_late_answer_is_refused_whoever_gives_it(command: Command) -> None:
    for words in (
        ("approve", "reviewed-old"),
        ("reject", "reviewed-old", "--reason", "no"),
        ("resume", "reviewed-old", "--answer", "approve"),
    ):
        done = command(*words)
        assert done.code == 2
        assert "could be answered until 20" in done.out + done.err
    assert command("resume", "reviewed-old").code == 0
    late = command("approve", "reviewed-old")
    assert (late.code, "has gone on without it" in late.err) == (2, True)
    assert command("approve", "reviewed-new").code == 0
    assert "It waits for a time" in command("approve", "paused-new").err


@pytest.mark.usefixtures("timed")
def test_a_person_may_let_it_go_on_early(command: Command) -> None:
    assert command("resume", "paused-new", "--answer", "yes").code == 5
    assert "It is not time yet" in command("pending").out
    assert command("resume", "paused-new", "--answer", "now").code == 0


@pytest.mark.usefixtures("timed")
def test_one_way_to_choose_the_threads(command: Command) -> None:
    for words in (("--due", "--all"), ("paused-old", "--due"), ()):
        assert "give --all or --due" in command("resume", *words).err
