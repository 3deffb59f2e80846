"""A working folder that changes, before a run or in it: files stay where they were named, settings hold."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stepgraph import Ask, ScriptedModel, Session, chain, resume, run, step, using
from stepgraph.state.journal.owners import FileOwner

from ...servers import ChatServer


@dataclass
class Note:
    text: str = ""
    more: str = ""


@step("text", model="writer")
def ask(note: Note) -> Ask[str]:
    return Ask("first")


@step("more", model="writer")
def ask_more(note: Note) -> Ask[str]:
    return Ask("second")


def go(note: Note) -> None:
    os.chdir("../there")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if ".owner-" not in file.name}


@pytest.mark.sqlite_file("where the file is")
def test_a_relative_file_is_where_it_was_named(here: Path) -> None:
    session = Session("runs.sqlite")
    os.chdir("..")
    with session, using(ScriptedModel(lambda *_: "x")):
        os.chdir("here")
        assert run(chain(ask, go, ask_more).compile(), Note(), session, "t").values["more"] == "x"
        assert resume(chain(ask, go, ask_more).compile(), session, "t").status == "done"
        if hasattr(os, "fork"):
            child = os.fork()
            if child == 0:
                os.chdir("/")
                os._exit(run(chain(ask).compile(), Note(), session, "child").status != "done")
            assert os.waitpid(child, 0)[1] == 0
        assert {row["thread_id"] for row in session.journal.query("SELECT thread_id FROM runs")} >= {"t"}
    assert files(here) == {"runs.sqlite"}
    assert files(here.parent / "there") == set()


@pytest.mark.sqlite_file("where the file is")
def test_the_default_sessions_file_is_where_it_was_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPGRAPH_DB", "default.sqlite")
    app = chain(ask, go, ask_more).compile(checkpointer=InMemorySaver())
    with using(ScriptedModel(lambda *_: "x")):
        for thread in ("one", "two"):
            app.invoke(Note(), {"configurable": {"thread_id": thread}})
            os.chdir(here)
    assert "default.sqlite" in files(here)
    assert files(here.parent / "there") == set()
    with Session(here / "default.sqlite") as session:
        rows = session.journal.query("SELECT DISTINCT thread_id FROM calls ORDER BY thread_id")
    assert [row["thread_id"] for row in rows] == ["one", "two"]


@pytest.mark.parametrize("first", [[], [ask]], ids=["nothing asked before", "asked before"])
@pytest.mark.parametrize("other", ["no settings there", "other settings there"])
def test_a_node_that_changes_the_folder_changes_no_settings(
    here: Path, server: ChatServer, first: list[Any], other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a file named here, the run itself has no other reason to look into the settings.
    monkeypatch.setenv("STEPGRAPH_DB", str(here / "default.sqlite"))

    def table(url: str) -> str:
        return f'[models]\nwriter = {{ base_url = "{url}", model = "m", retries = 0 }}\n'

    (here / "stepgraph.toml").write_text(table(server.url))
    if other != "no settings there":
        (here.parent / "there" / "stepgraph.toml").write_text(table("http://127.0.0.1:9"))
    with Session("runs.sqlite") as session:
        assert run(chain(*first, go, ask_more).compile(), Note(), session, "t").status == "done"
    assert server.calls == 1 + len(first)


def test_what_dead_owners_leave_beside_the_file_goes_with_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "runs[1].sqlite"
    dead, living = FileOwner(path), FileOwner(path)
    dead.new_name()
    assert dead._lock is not None
    os.close(dead._lock)  # as the system does
    name = living.new_name()
    FileOwner(path).sweep([f"{dead._token}.1", name])
    assert len(list(tmp_path.iterdir())) == 2  # a claim needs it, to be known for a dead one's
    FileOwner(path).sweep([])
    assert list(tmp_path.iterdir()) == [living._sign(living._token)]
    living.close()


def test_a_sign_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepgraph.state.journal import owners

    locked: Callable[..., int] = owners._locked
    times = []

    def swept(path: Path, *, create: bool = False) -> int:
        handle = locked(path, create=create)
        times.append(path)
        if len(times) == 1:
            path.unlink()
        return handle

    monkeypatch.setattr(owners, "_locked", swept)
    owner = FileOwner(tmp_path / "runs.sqlite")
    owner.new_name()
    assert (len(times), len(list(tmp_path.iterdir()))) == (2, 1)
    owner.close()
