"""A file that cannot take an answer which is paid for: the answer stays, and no other is paid for."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

import stepgraph
from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.state.errors import StoreError
from stepgraph.state.journal import sqlite as database
from stepgraph.state.journal.records import Call
from stepgraph.state.journal.spill import Spill

from ...servers import Answer, ChatServer

pytestmark = pytest.mark.sqlite_file("what lies beside the file; tests/state/journal/postgres has its own")

LONG = "x" * 100_000


@dataclass
class Batch:
    texts: list[str] = field(default_factory=list)
    one: str = ""
    number: int = 0


@step("one")
def text_of(batch: Batch) -> Ask[str]:
    return Ask(f"Text {batch.number}")


async def ask(number: int, config: Any = None) -> str:
    return await text_of.answer(Batch(number=number), config)


def asks(*numbers: int) -> Any:
    async def many(batch: Batch) -> dict[str, Any]:
        return {"texts": [await ask(number) for number in numbers]}

    return chain(many).compile()


def kept(session: Session) -> list[str]:
    return [row["messages"][-8:] for row in session.journal.query("SELECT messages FROM calls")]


def spilled(path: Path) -> list[dict[str, Any]]:
    file = path.with_name(path.name + ".spill")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_keeps_what_was_paid_for_and_stops(small_disk: Path, server: ChatServer) -> None:
    path, app = small_disk / "runs.sqlite", asks(*range(40))
    server.always = Answer(LONG)
    with using(server.spec(retries=0)):
        session = Session(path)
        with pytest.raises(StoreError, match=r"the disk is full.*What was paid for is not lost"):
            app.invoke(Batch(), session.config("t"))
        paid = server.calls
        with pytest.raises(StoreError, match="the disk is full"):
            app.invoke(Batch(), session.config("another"))
        with suppress(StoreError):
            session.close()
        assert 5 < paid == server.calls < 40
        subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
        with Session(path) as session:
            assert len(kept(session)) == paid
            assert spilled(path) == []
            assert len(app.invoke(None, session.config("t"))["texts"]) == 40
    assert server.calls == 40


def fill(session: Session) -> None:
    (pages,) = session.journal.store._connection.execute("PRAGMA page_count").fetchone()
    session.journal.store._connection.execute(f"PRAGMA max_page_count = {pages}")


def make_room(session: Session) -> None:
    session.journal.store._connection.execute("PRAGMA max_page_count = 1000000")


async def test_calls_that_wait_in_line_are_not_sent_any_more(session: Session, server: ChatServer) -> None:
    async def many(batch: Batch) -> dict[str, Any]:
        texts = await asyncio.gather(*(ask(n) for n in range(20)), return_exceptions=True)
        return {"texts": [type(text).__name__ for text in texts]}

    server.always = Answer(LONG, delay_s=0.05)
    config = session.config("t")
    fill(session)
    with using(server.spec(max_concurrency=2, retries=0)):
        result = await chain(many).compile().ainvoke(Batch(), config)
        assert result["texts"] == ["StoreError"] * 20
        assert server.calls <= 4
        assert len(spilled(session.path)) == server.calls

        make_room(session)
        assert await ask(99, config) == LONG  # the same session goes on once there is room
    assert spilled(session.path) == []
    assert len(kept(session)) == server.calls


async def test_a_lock_that_does_not_end_loses_no_answer(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT_S", 0.2)
    config = session.config("t")
    other = sqlite3.connect(session.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    told = r"locked by another process.*1 calls are kept in .*\.spill"
    with using(ScriptedModel(["paid"])), pytest.raises(StoreError, match=told):
        await ask(1, config)
    (row,) = spilled(session.path)
    assert row["answer"] == "paid"
    assert session.path.with_name("runs.sqlite.spill").stat().st_mode & 0o777 == 0o600
    other.execute("ROLLBACK")
    other.close()
    with Session(session.path) as again:
        assert again.journal.query("SELECT answer FROM calls") == [{"answer": "paid"}]
    assert spilled(session.path) == []


async def test_a_file_that_is_deleted_meanwhile_loses_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "gone.sqlite"

    def answer(*_: Any) -> str:
        path.unlink()
        return "paid"

    with Session(path) as session, using(ScriptedModel(answer)) as _:
        with pytest.raises(StoreError, match="moved or deleted"):
            await ask(1, session.config("t"))
        with pytest.raises(StoreError, match="moved or deleted"):
            await ask(2, session.config("t"))
    with Session(path) as session:
        assert session.journal.query("SELECT answer FROM calls") == [{"answer": "paid"}]


async def test_a_damaged_file_loses_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "damaged.sqlite"
    with Session(path) as session, using(ScriptedModel(["first"])):
        await ask(1, session.config("t"))
        (page,) = session.journal.query("SELECT rootpage FROM sqlite_master WHERE name = 'calls'")
        (size,) = session.journal.query("PRAGMA page_size")
    with path.open("r+b") as file:
        file.seek((page["rootpage"] - 1) * size["page_size"])
        file.write(b"\xff" * size["page_size"])
    with using(ScriptedModel(["second"])), Session(path) as session:
        with pytest.raises(StoreError, match=r"damaged .*1 calls are kept in"):
            await ask(2, session.config("t"))
        with pytest.raises(StoreError, match="No model is asked"):
            await ask(3, session.config("t"))
    (row,) = spilled(path)
    assert row["answer"] == "second"
    path.rename(tmp_path / "away.sqlite")
    with Session(path) as session:
        assert session.journal.query("SELECT answer FROM calls") == [{"answer": "second"}]


def test_a_torn_line_is_set_aside_and_the_others_come_in(tmp_path: Path) -> None:
    spill, rows = Spill(tmp_path / "runs.sqlite"), []
    spill.path.write_text('{"id": 1}\n{"id": 2, "answ')
    spill.take_in(rows.extend)
    assert rows == [{"id": 1}]
    assert not spill.path.exists()
    assert spill.path.with_name("runs.sqlite.spill.unreadable").exists()


def test_what_cannot_be_written_anywhere_stays_in_memory(tmp_path: Path) -> None:
    @dataclass
    class Row:
        id: int

    spill, rows = Spill(tmp_path / "runs.sqlite"), []
    spill.path.mkdir()
    assert "1 calls are kept in memory" in str(spill.keep([Row(1)], StoreError("Full.")))
    spill.path.rmdir()
    spill.keep([Row(2)], StoreError("Full."))
    spill.take_in(rows.extend)
    assert rows == [{"id": 1}, {"id": 2}]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="reserves room in another way")
async def test_where_no_room_can_be_reserved_no_model_is_asked(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    model = ScriptedModel(lambda *_: "paid")
    with using(model), pytest.raises(StoreError, match="the disk is full"):
        await ask(1, session.config("t"))
    assert model.asks == []


def test_a_session_leaves_nothing_beside_its_file(tmp_path: Path) -> None:
    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel(["one"])):
        asks(1).invoke(Batch(), session.config())
        assert session.journal.store._spill._reserve is not None
    assert [file.name for file in tmp_path.iterdir()] == ["runs.sqlite"]


@pytest.mark.parametrize("line", ['{"id": 1}', "[1]", "null", '"x"', "[" * 100_000, "\x00\x01"])
def test_a_foreign_line_does_not_keep_the_file_from_opening(tmp_path: Path, line: str) -> None:
    path = tmp_path / "runs.sqlite"
    path.with_name("runs.sqlite.spill").write_text(line + "\n")
    with Session(path) as session:
        assert session.journal.query("SELECT * FROM calls") == []
    assert path.with_name("runs.sqlite.spill.unreadable").read_text() == line + "\n"


def test_a_field_of_another_type_does_not_keep_the_file_from_opening(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    fine: dict[str, Any] = {"id": "a", "thread_id": "t", "task": "t", "path": "p", "step": "s", "role": None}
    fine |= {"request_hash": "h", "occurrence": 0, "attempt": 0, "status": "done", "model_asked": "m"}
    fine |= {"messages": "[]", "params": "{}", "latency_s": 0.1, "started_at": 1.0}
    wrong = [{**fine, each.name: value} for each in fields(Call) for value in ([], {"a": 1}, 2**70)]
    lines = [json.dumps(row) for row in (*wrong, fine)]
    path.with_name("runs.sqlite.spill").write_text("\n".join(lines))
    with Session(path) as session:
        assert [row["id"] for row in session.journal.query("SELECT id FROM calls")] == ["a"]
    kept = path.with_name("runs.sqlite.spill.unreadable").read_text()
    assert kept.splitlines() == lines


async def test_a_line_that_was_taken_in_before_or_comes_from_another_version(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = "lone \ud800 surrogate, nul \x00, 😀"
    monkeypatch.setattr(database, "LOCK_WAIT_S", 0.1)
    config = session.config("t")
    other = sqlite3.connect(session.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with using(ScriptedModel([odd])), pytest.raises(StoreError):
        await ask(1, config)
    other.close()
    (row,) = spilled(session.path)
    file = session.path.with_name("runs.sqlite.spill")
    file.write_text(2 * (json.dumps({**row, "source": "joined", "a_later_column": 1}) + "\n"))
    with Session(session.path) as again:
        (found,) = again.journal.query("SELECT answer, source FROM calls")
        assert found == {"answer": odd.replace("\ud800", "?"), "source": "coalesced"}
    file.write_text(json.dumps(row) + "\n")  # a crash came between the commit and the deletion
    with Session(session.path) as again:
        assert again.journal.query("SELECT count(*) AS n FROM calls") == [{"n": 1}]
    assert spilled(session.path) == []


LIMITED = """
import json, resource, sys
from dataclasses import dataclass, field, fields

from stepgraph import Ask, Session, chain, step, using
from stepgraph.state.errors import StoreError


@dataclass
class Batch:
    texts: list[int] = field(default_factory=list)
    one: str = ""
    number: int = 0


@step("one")
def text_of(batch: Batch) -> Ask[str]:
    return Ask(f"Text {batch.number}")


async def many(batch: Batch) -> dict:
    return {"texts": [len(await text_of.answer(Batch(number=n))) for n in range(30)]}


app = chain(many).compile()

if __name__ == "__main__":
    with using({"model": "m", "base_url": sys.argv[1], "retries": 0}):
        try:
            with Session("runs.sqlite") as session:
                if len(sys.argv) > 2:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
                known = session.journal.query("SELECT 1 FROM runs")
                print(len(app.invoke(None if known else Batch(), session.config("t"))["texts"]))
        except StoreError as error:
            print("StoreError", error)
"""


def test_a_limit_on_the_size_of_files_loses_no_answer(tmp_path: Path, server: ChatServer) -> None:
    (tmp_path / "flow.py").write_text(LIMITED)
    server.always = Answer(LONG)
    home = str(Path(stepgraph.__file__).parents[1])

    def run(*limit: str) -> str:
        done = subprocess.run(
            [sys.executable, "flow.py", server.url, *limit],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": home},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout or done.stderr

    assert run("1200000").startswith("StoreError")
    paid = server.calls
    assert 3 < paid < 30
    assert run() == "30\n"
    assert server.calls == 30


def test_each_row_is_written_to_it_and_taken_in_once(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "runs.sqlite")
    for number in range(3):
        spill.keep([Batch(number=number)], OSError("full"))
    assert [row["number"] for row in spilled(tmp_path / "runs.sqlite")] == [0, 1, 2]
    taken: list[Any] = []
    spill.take_in(taken.extend)
    assert [row["number"] for row in taken] == [0, 1, 2]
    nowhere = Spill(tmp_path / "gone" / "runs.sqlite")
    nowhere.keep([Batch(number=3)], OSError("full"))
    for _ in range(2):
        nowhere.take_in(taken.extend)
    assert [row["number"] for row in taken] == [0, 1, 2, 3]
