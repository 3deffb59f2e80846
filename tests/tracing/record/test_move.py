"""Threads that are moved to another database: everything arrives, exactly, once, and goes on there."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import TypedDict

import pytest
from click.testing import CliRunner

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.cli.app import cli
from stepgraph.state.errors import InputError, StoreError, ThreadBusy
from stepgraph.state.journal import moving
from stepgraph.state.journal.columns import tables_of
from stepgraph.state.journal.moving import pages
from stepgraph.tracing.record.move import move_threads
from stepgraph.tracing.record.read_spans import read_spans

from ...servers import ChatServer
from ...warm import run_python
from .move_cases import contents, moved, other as other, source as source

pytestmark = pytest.mark.sqlite_file("moves files to Postgres and back by itself")


class Post(TypedDict, total=False):
    topic: str
    plan: str
    draft: str


@step("plan")
def plan(post: Post) -> Ask[str]:
    return Ask("Plan " + post["topic"] + ".")


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("Write " + post["plan"] + ".")


app = chain(plan, write).compile()


def run(session: Session, thread: str, topic: str = "tea") -> None:
    with using(ScriptedModel(["A plan", "A draft"])):
        app.invoke(Post(topic=topic), session.config(thread))


FLOW = """
import os, signal, sys
from typing import TypedDict
from stepgraph import Ask, Session, chain, step, using
from stepgraph.runners.run import arun

class Post(TypedDict, total=False):
    topic: str
    plan: str
    draft: str
    title: str

@step("plan")
def plan(post: Post) -> Ask[str]:
    return Ask("Plan " + post["topic"])

@step("draft")
def draft(post: Post) -> Ask[str]:
    if os.environ.get("KILL") == "draft":
        os.kill(os.getpid(), signal.SIGKILL)
    return Ask("Write " + post["plan"])

@step("title")
def title(post: Post) -> Ask[str]:
    if os.environ.get("KILL") == "title":
        os.kill(os.getpid(), signal.SIGKILL)
    return Ask("Title of " + post["draft"])

app = chain(plan, chain(draft, title, name="inner")).compile()
with Session(sys.argv[1], heartbeat_s=0.5) as session, using({"model": "m", "base_url": sys.argv[2]}):
    print(app.invoke(Post(topic="tea") if sys.argv[3:] else None, session.config("t"))["title"])
"""


MOVE = """
import os, signal, sys
from stepgraph import Session
from stepgraph.tracing.record import move
from stepgraph.state.journal.moving import Copy

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[3] == "in the copy":
    Copy._copy_effects = killed
elif sys.argv[3] == "between copy and deletion":
    move.delete_thread = killed
elif sys.argv[3] == "after the deletion":
    move.drop_unused_blobs = killed
with Session(sys.argv[1]) as source, Session(sys.argv[2]) as target:
    for moved in move.move_threads(source, target):
        print(moved.problem)
"""


def program(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_python("-c", script, *arguments, cwd=Path.cwd(), env={**os.environ, **environment})


def test_a_killed_thread_goes_on_elsewhere_and_pays_only_for_what_was_under_way(
    tmp_path: Path, other: str, server: ChatServer
) -> None:
    file = str(tmp_path / "runs.sqlite")
    server.will("a plan", "a draft", "a title")
    assert program(FLOW, file, server.url, "begin", KILL="draft").returncode == -signal.SIGKILL
    with Session(file) as source, Session(other) as target:
        moved(source, target)
    assert program(FLOW, other, server.url, KILL="title").returncode == -signal.SIGKILL
    with Session(other) as source, Session(file) as target:
        while source.claims.is_run("t"):  # until its lease has ended: a database does not see that it is dead
            time.sleep(0.05)
        moved(source, target)
    resumed = program(FLOW, file, server.url)
    assert resumed.stdout == "a title\n", resumed.stderr
    assert server.calls == 3


def test_a_move_that_is_killed_again_and_again_moves_once(tmp_path: Path, other: str) -> None:
    file = tmp_path / "runs.sqlite"
    with Session(file) as source:
        run(source, "one")
    before = contents(file)
    for where in ("in the copy", "between copy and deletion", "after the deletion"):
        killed = program(MOVE, str(file), other, where)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not any(rows for name, rows in contents(file).items() if name != "effects")
    end = tmp_path / "end.sqlite"
    with Session(other) as source, Session(file) as empty, Session(end) as target:
        assert not moved(empty, source)
        moved(source, target)
    assert contents(end) == before


def test_a_thread_that_runs_is_not_moved(source: Session, other: str) -> None:
    run(source, "idle")
    run(source, "busy")
    with Session(other) as target, Session(source.path) as runner:
        runner.claims.acquire("busy")
        problems = {each.threads: each.problem for each in move_threads(source, target)}
        assert problems[("idle",)] is None
        assert isinstance(problems[("busy",)], ThreadBusy)
        target.claims.acquire("later")
        runner.claims.release("busy")
        run(source, "later")
        assert isinstance(next(iter(move_threads(source, target, ["later"]))).problem, ThreadBusy)
        assert not target.journal.query("SELECT 1 FROM runs WHERE thread_id = 'later'")


def test_a_thread_that_is_another_one_at_the_target_is_refused(source: Session, tmp_path: Path) -> None:
    with Session(tmp_path / "other.sqlite") as target:
        run(source, "one")
        run(target, "one", topic="coffee")
        with pytest.raises(InputError, match=r"'one' is in .*other\.sqlite too, with other content"):
            moved(source, target)
        assert source.spent("one").calls == target.spent("one").calls == 2


def test_a_copy_that_went_on_in_both_places_is_refused(source: Session, tmp_path: Path) -> None:
    with Session(tmp_path / "other.sqlite") as target:
        run(source, "one")
        assert not moved(source, target, keep=True)[0].already
        assert moved(source, target, keep=True)[0].already
        run(target, "one", topic="coffee")
        with pytest.raises(InputError, match="went on in both"):
            moved(source, target)


def test_forks_move_with_what_they_were_forked_from(source: Session, tmp_path: Path) -> None:
    run(source, "parent")
    run(source, "alone")
    with Session(tmp_path / "other.sqlite") as target:
        source.journal.write(
            [
                (
                    "INSERT INTO runs (thread_id, status, parent_thread, started_at, updated_at) "
                    "VALUES (?, 'done', ?, 0, 0)",
                    pair,
                )
                for pair in (("child", "parent"), ("grandchild", "child"))
            ]
        )
        assert [set(each.threads) for each in moved(source, target, "child")] == [
            {"parent", "child", "grandchild"}
        ]
        assert source.journal.query("SELECT thread_id FROM runs") == [{"thread_id": "alone"}]


def test_an_effect_is_taken_along_renewed_and_never_taken_from_another_thread(
    source: Session, tmp_path: Path
) -> None:
    run(source, "one")
    put = "INSERT INTO effects (key, thread_id, path, status, started_at) VALUES (?, ?, 'p', ?, 1)"
    with Session(tmp_path / "other.sqlite") as target:
        source.journal.write([(put, ("mail", "one", "started")), (put, ("bill", "one", "started"))])
        moved(source, target)
        target.journal.write(
            [
                ("UPDATE effects SET status = 'done' WHERE key = 'mail'", ()),
                ("DELETE FROM effects WHERE key = 'bill'", ()),  # it did not happen, a person said
            ]
        )
        moved(target, source)
        kept = source.journal.query("SELECT key, status FROM effects")
        assert kept == [{"key": "mail", "status": "done"}]
        target.journal.write(
            [
                ("DELETE FROM effects", ()),
                (put, ("mail", "stranger", "started")),
            ]
        )
        with pytest.raises(InputError, match=r"'mail' .*'stranger'"):
            moved(source, target)
        assert source.spent("one").calls == 2


def test_a_moved_thread_keeps_the_ids_of_its_spans(source: Session, tmp_path: Path) -> None:
    for number in range(3):
        run(source, f"before-{number}")
    run(source, "one")
    run(source, "one", topic="coffee")
    known = [span.id for span in read_spans(source.journal.query, "one")]
    with Session(tmp_path / "other.sqlite") as target:
        run(target, "first")
        moved(source, target, "one")
        assert [span.id for span in read_spans(target.journal.query, "one")] == known
        for topic in ("cocoa", "milk", "water", "juice"):
            run(target, "one", topic=topic)
        ids = [span.id for span in read_spans(target.journal.query, "one")]
        assert ids[: len(known)] == known
        assert len(set(ids)) == len(ids) > len(known)
        moved(target, source)
        assert [span.id for span in read_spans(source.journal.query, "one")] == ids


def test_images_and_documents_arrive_and_a_damaged_one_is_told(source: Session, tmp_path: Path) -> None:
    run(source, "one")
    held = b"\x89PNG\r\n\x1a\n" + bytes(3000)
    digest = hashlib.sha256(held).hexdigest()
    refers = f"blob:image/png;size={len(held)};sha256={digest}"
    source.journal.write(
        [
            ("INSERT INTO blobs VALUES (?, 'image/png', ?, ?)", (digest, len(held), held)),
            ("UPDATE calls SET answer = ? WHERE rowid = (SELECT min(rowid) FROM calls)", (refers,)),
        ]
    )
    with Session(tmp_path / "other.sqlite") as target:
        assert moved(source, target)[0].rows["blobs"] == 1
        assert target.journal.store.blob(digest) == held
        assert not source.journal.query("SELECT 1 FROM blobs")
        target.journal.write([("UPDATE blobs SET data = ?", (b"else",))])
        with pytest.raises(StoreError, match=f"{digest} is damaged"):
            moved(target, source)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ALTER TABLE calls ADD COLUMN mine TEXT", "calls has not the same columns .* mine"),
        ("CREATE TABLE mine (thread_id TEXT, note TEXT)", "has a table mine with threads"),
        ("UPDATE calls SET latency_s = 'soon'", "calls.latency_s holds 'soon', where real belongs"),
        ("UPDATE calls SET attempt = 1.5", "calls.attempt holds 1.5, where int belongs"),
    ],
)
def test_what_somebody_else_put_into_the_file_is_told(
    source: Session, tmp_path: Path, change: str, told: str
) -> None:
    run(source, "one")
    with closing(sqlite3.connect(source.path)) as database:
        database.execute(change)
        database.commit()
    with Session(tmp_path / "other.sqlite") as target, pytest.raises(StoreError, match=told):
        moved(source, target)


def test_a_table_is_read_in_pages_of_bounded_size(source: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "PAGE_BYTES", 5_000)
    monkeypatch.setattr(moving, "PAGE_ROWS", 7)
    names = "thread_id, checkpoint_id, task_id, idx, channel, value"
    put = f"INSERT INTO writes ({names}) VALUES (?, 'c', 't', ?, '', ?)"
    sizes = [0, 4000, 900, 1, 20_000, 1, *[300] * 40, 4999, 10]
    source.journal.write((put, ("one", number, bytes(size))) for number, size in enumerate(sizes))
    table = tables_of(source.journal.query, None)["writes"]
    read = [[len(row["value"]) for row in page] for page in pages(source.journal.query, table, "one")]
    assert [size for page in read for size in page] == sizes
    assert max(sum(page) for page in read if len(page) > 1) <= 5_000
    assert max(map(len, read)) <= 7


def test_the_command_moves_and_says_so(tmp_path: Path, other: str) -> None:
    file = tmp_path / "runs.sqlite"
    with Session(file) as source:
        run(source, "one")
        run(source, "two")
    done = CliRunner().invoke(cli, ["move", "--json", "--from", str(file), "--to", other, "one"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["threads"], told["status"], told["rows"]["calls"]) == (["one"], "moved", 2)
    rest = CliRunner().invoke(cli, ["move", "--from", str(file), "--to", other])
    assert rest.exit_code == 0
    assert "1 threads moved with" in rest.output
    missing = CliRunner().invoke(cli, ["move", "--from", other, "--to", str(file), "three"])
    assert "There is no thread 'three' in postgresql://" in str(missing.exception)
    password = other.split(":")[2].split("@")[0]
    assert password not in done.output + rest.output + str(missing.exception)
    for wrong in (["--from", "gone.sqlite", "--to", other], ["--from", other, "--to", other]):
        assert isinstance(CliRunner().invoke(cli, ["move", *wrong]).exception, InputError)
