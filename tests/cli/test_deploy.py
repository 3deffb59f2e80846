"""`stepgraph deploy check`: one line for each thread, a summary for each graph, and an exit code for CI."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.journal.tables import VERSION

from .conftest import MEMO, Command

LONGER = MEMO.replace("chain(shorten, approve", "chain(shorten, approve, crash")
SHORTER = MEMO.replace("chain(shorten, approve", "chain(approve")


@pytest.fixture
def waiting(command: Command, memo: Any, tmp_path: Path) -> Path:
    """A folder in which one thread waits, one has ended, and one of another graph has failed."""
    assert command("run", "memo.py:reviewed", "-i", "text=long", "--thread", "t").code == 5
    assert command("run", "memo.py:graph", "-i", "text=long", "--thread", "ended").code == 0
    assert command("run", "memo.py:broken", "-i", "text=long", "--thread", "other").code == 1
    return tmp_path


def put(folder: Path, source: str) -> str:
    (folder / "new").mkdir()
    (folder / "new" / "memo.py").write_text(source)
    return str(folder / "new")


def test_a_thread_that_goes_on_makes_the_exit_code_0(command: Command, waiting: Path) -> None:
    new = put(waiting, LONGER)
    done = command("deploy", "check", f"{new}/memo.py:reviewed")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "t: goes on, waits for an answer at 'approve'"
    assert done.out.splitlines()[1].endswith("memo.py:reviewed: 1 goes on")
    assert "memo.py:broken: 1 not checked" in done.out
    assert "ended" not in done.out


def test_a_thread_that_would_be_refused_makes_it_1_and_says_why(command: Command, waiting: Path) -> None:
    new = put(waiting, SHORTER)
    done = command("deploy", "check", f"{new}/memo.py:reviewed", "--json")
    assert done.code == 1
    told, summary = done.rows
    assert (told["thread"], told["verdict"]) == ("t", "must finish")
    assert "node 'shorten' is gone" in told["because"]
    assert f"@migration(from_='{told['was']}')" in told["to_do"]
    assert [*summary["summary"]["graphs"].values()] == [{"must finish": 1}]


def test_a_folder_has_the_new_versions_of_all_graphs(command: Command, waiting: Path) -> None:
    new = put(waiting, MEMO)
    rows = command("deploy", "check", new, "--json").rows
    assert {row["thread"]: row["verdict"] for row in rows[:-1]} == {"t": "goes on", "other": "goes on"}
    assert rows[-1]["summary"]["not_checked"] == {}


def test_a_folder_without_the_file_loses_threads(command: Command, waiting: Path) -> None:
    (waiting / "new").mkdir()
    done = command("deploy", "check", "new", "--json")
    assert done.code == 1
    assert "no file that takes the place of" in done.rows[0]["because"][0]


def test_old_names_a_graph_that_is_called_otherwise_now(command: Command, waiting: Path) -> None:
    (waiting / "letter.py").write_text(MEMO)
    assert "No thread waits" in command("deploy", "check", "letter.py:reviewed").out
    done = command("deploy", "check", "letter.py:reviewed", "--old", "memo.py:reviewed")
    assert (done.code, done.out.splitlines()[0]) == (0, "t: goes on, waits for an answer at 'approve'")


def test_a_thread_that_is_queued_is_checked_by_its_input(command: Command, memo: Any, tmp_path: Path) -> None:
    with Session("stepgraph.sqlite") as session:
        from stepgraph.state.journal.records import Description

        for name, data in (("good", {"text": "x"}), ("bad", {"text": 3})):
            session.journal.queue_run(name, Description(f"{tmp_path}/memo.py:reviewed", {}, data))
    rows = command("deploy", "check", "memo.py:reviewed", "--json").rows
    assert {row["thread"]: row["verdict"] for row in rows[:-1]} == {"good": "goes on", "bad": "must finish"}
    (bad,) = (row for row in rows[:-1] if row["thread"] == "bad")
    assert "text: Input should be a valid string" in bad["because"][0]


def test_neither_the_file_nor_its_format_is_changed(command: Command, waiting: Path) -> None:
    file = waiting / "stepgraph.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION - 1}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    assert command("deploy", "check", f"{put(waiting, MEMO)}/memo.py:reviewed").code == 0
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before


def test_a_file_that_is_not_there_is_bad_input(command: Command, memo: Any) -> None:
    done = command("deploy", "check", "memo.py:reviewed", "--db", "none.sqlite")
    assert done.code == 2
    assert not Path("none.sqlite").exists()
    assert json.dumps("none.sqlite").strip('"') in done.err
