"""A process that opens or copies its own database loses SQLite's lock on it, and takes it again."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, run, step, using
from stepgraph.state.errors import StoreError
from stepgraph.state.journal import own_locks

pytestmark = [
    pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells of locks"),
    pytest.mark.sqlite_file("locks of this process on the file"),
]
READ_AND_CLOSE = (
    "import sqlite3, sys; file = sqlite3.connect(sys.argv[1]); "
    "print(file.execute('SELECT count(*) FROM calls').fetchall()); file.close()"
)
HARMS: dict[str, Callable[[Path], object]] = {
    "open": lambda path: path.open("rb").close(),
    "read": lambda path: path.read_bytes(),
    "copy": lambda path: shutil.copy(path, path.with_name("copy")),
}


@dataclass
class Note:
    text: str = ""
    more: str = ""


@step("text")
def ask(note: Note) -> Ask[str]:
    return Ask("first")


@step("more")
def ask_more(note: Note) -> Ask[str]:
    return Ask("second")


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_locks, "LOOK_S", 0.0)


def read_elsewhere(path: Path) -> None:
    """Another process that closes the file deletes the log, if it takes itself for the last one."""
    subprocess.run([sys.executable, "-c", READ_AND_CLOSE, str(path)], check=True, capture_output=True)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("sessions", [1, 2])
def test_the_lock_is_taken_again_before_the_next_call(tmp_path: Path, harm: str, sessions: int) -> None:
    path = tmp_path / "runs.sqlite"
    held = []

    def harmed(note: Note) -> None:
        HARMS[harm](path)
        held.append(locks._is_held())

    def read(note: Note) -> None:
        held.append(locks._is_held())
        read_elsewhere(path)
        assert path.with_name("runs.sqlite-wal").exists()

    with Session(path) as session, using(ScriptedModel(lambda *_: "paid")):
        others = [Session(path) for _ in range(sessions - 1)]
        for other in others:
            assert other.journal.query("SELECT * FROM calls") == []
        locks = session.journal.store._own_locks
        assert run(chain(ask, harmed, ask_more, read, ask).compile(), Note(), session, "t").status == "done"
        for other in others:
            assert len(other.journal.query("SELECT * FROM calls")) == 3
            other.close()
    assert held == [False, True]


def test_another_connection_in_the_way_is_told_before_the_next_call(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    model = ScriptedModel(lambda *_: "paid")
    app = chain(ask, harming(path), ask_more).compile()
    with Session(path) as session, using(model):
        with closing(sqlite3.connect(path)) as other:
            other.execute("SELECT * FROM calls").fetchall()
            with pytest.raises(StoreError, match="dropped SQLite's lock"):
                run(app, Note(), session, "t")
            assert len(model.asks) == 1
        assert run(app, None, session, "t").status == "done"
    assert len(model.asks) == 2


def harming(path: Path) -> Callable[[Note], None]:
    def harmed(note: Note) -> None:
        path.open("rb").close()

    return harmed


def test_a_system_that_tells_of_no_locks_is_trusted(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_locks, "_SHARED", "never")
    locks = own_locks.OwnLocks(session.path, lambda: None)
    locks.check()
    assert not locks._is_told


def test_it_looks_at_most_once_in_a_while(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_locks, "LOOK_S", 1000.0)
    session.path.open("rb").close()
    session.journal.check_writable()
    assert not session.journal.store._own_locks._is_held()
    monkeypatch.setattr(own_locks, "LOOK_S", 0.0)
    session.journal.check_writable()
    assert session.journal.store._own_locks._is_held()
