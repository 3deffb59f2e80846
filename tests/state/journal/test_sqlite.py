from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.state.errors import StoreError
from stepgraph.state.journal import sqlite as database
from stepgraph.state.journal.sqlite import connect

pytestmark = pytest.mark.sqlite_file("how SQLite opens, locks and explains its file")

HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
connection.rollback()
"""


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write about {post.topic}")


app = chain(write).compile()


@contextmanager
def write_lock(path: Path, seconds: float) -> Iterator[None]:
    """Let another process hold the file's write lock."""
    command = [sys.executable, "-c", HOLD, str(path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Buy tea. " * 500)
    with pytest.raises(StoreError, match=r"notes\.txt is not a SQLite database"):
        Session(tmp_path / "notes.txt")


def test_a_folder_in_the_files_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs.sqlite").mkdir()
    with pytest.raises(StoreError, match=r"runs\.sqlite cannot be opened"):
        Session(tmp_path / "runs.sqlite")


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        Session(tmp_path / "folder" / "runs.sqlite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="writable"):
        Session(tmp_path / "runs.sqlite")
    tmp_path.chmod(0o700)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that takes no files")
def test_a_place_that_takes_no_files_is_named() -> None:
    with pytest.raises(StoreError, match=r"/proc/stepgraph/.* cannot be opened"):
        Session("/proc/stepgraph/runs.sqlite")


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "runs.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"by a newer stepgraph \(format 99, this one knows \d+\)"):
        Session(tmp_path / "runs.sqlite")


def test_a_missing_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no file"):
        connect(tmp_path / "runs.sqlite", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_cannot_write(session: Session) -> None:
    connection = connect(session.path, read_only=True)
    assert connection.execute("SELECT count(*) FROM calls").fetchone() == (0,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM calls")
    connection.close()


def test_a_folder_is_made_where_it_is_missing(tmp_path: Path) -> None:
    with Session(tmp_path / "a" / "b" / "runs.sqlite") as session:
        assert session.path.exists()


def test_a_session_may_be_closed_twice(session: Session) -> None:
    session.close()
    session.close()


def test_a_sync_run_waits_for_anothers_lock(session: Session) -> None:
    with ScriptedModel(["Boil."]) as model, using(model), ThreadPoolExecutor(1) as pool:
        with write_lock(session.path, 60):
            run = pool.submit(copy_context().run, app.invoke, Post(), session.config())
            with pytest.raises(TimeoutError):
                run.result(timeout=0.3)
        assert run.result(timeout=60)["draft"] == "Boil."
    assert len(session.journal.query("SELECT * FROM calls")) == 1


async def test_an_async_run_waits_for_anothers_lock_and_lets_the_loop_go_on(session: Session) -> None:
    """The loop itself ends the lock: a run that blocked the loop would wait in vain."""
    with ScriptedModel(["Boil."]) as model, using(model):
        with write_lock(session.path, 60):
            run = asyncio.create_task(app.ainvoke(Post(), session.config()))
            for _ in range(30):
                await asyncio.sleep(0.01)
            assert not run.done()
        assert (await run)["draft"] == "Boil."


@pytest.mark.parametrize("exists", [True, False])
def test_a_session_opens_while_another_process_holds_the_lock(tmp_path: Path, exists: bool) -> None:
    if exists:
        Session(tmp_path / "runs.sqlite").close()
    with write_lock(tmp_path / "runs.sqlite", 0.5), Session(tmp_path / "runs.sqlite") as session:
        assert session.journal.query("SELECT * FROM runs") == []


def test_a_lock_that_never_ends_is_explained(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT_S", 0.1)
    with (
        write_lock(session.path, 20),
        using(ScriptedModel(["Boil."])),
        pytest.raises(StoreError, match="locked by another process"),
    ):
        app.invoke(Post(), session.config())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("database is locked", "was locked by another process"),
        ("database table is busy", "was locked by another process"),
        ("no such table: calls", r"runs\.sqlite: no such table: calls\.$"),
        ("unable to open database file", "cannot be opened"),
        ("database or disk is full", "the disk is full"),
        ("attempt to write a readonly database", "cannot be written"),
    ],
)
def test_each_error_of_sqlite_gets_its_own_message(error: str, message: str) -> None:
    explained = database.explained(sqlite3.OperationalError(error), Path("runs.sqlite"))
    assert re.search(message, str(explained))


def test_a_select_has_no_other_statement_prepared_anew(tmp_path: Path) -> None:
    """Any PRAGMA that sets a flag of SQLite's does that to all statements of the connection."""
    with Session(tmp_path / "runs.sqlite") as session:
        connection = session.journal.store._connection  # type: ignore[attr-defined]
        seen: list[str] = []
        connection.set_trace_callback(seen.append)
        for sql in (
            "SELECT 1 AS a",
            "\n select 2 AS a",
            "SELECT(3) AS a",
            "WITH b AS (SELECT 1) SELECT * FROM b",
            "with recursive b (deleted) as (select 1)\nselect deleted from b",
        ):
            session.journal.query(sql)
            assert seen == [sql]
            seen.clear()
        session.journal.query("WITH b AS (SELECT replace('a', 'a', 'b')) SELECT * FROM b")
        assert [each.split()[0] for each in seen] == ["PRAGMA", "WITH", "PRAGMA"]
