"""Pruning that really shrinks the file, and the record as JSON lines."""

from __future__ import annotations

import json
import operator
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from stepgraph import Session
from stepgraph.state.errors import InputError
from stepgraph.tracing.forks.fork import fork
from stepgraph.tracing.record import prune as pruning
from stepgraph.tracing.record.history import read_history
from stepgraph.tracing.record.prune import PruneFilter, choose, delete_checkpoints, delete_threads, shrink
from stepgraph.tracing.record.reads import records

from .travels import first_run, rows_of


def names(session: Session, choice: PruneFilter, **options: bool) -> list[str]:
    return [doomed.thread_id for doomed in choose(session, choice, **options)]


def big(session: Session, thread: str, size: int = 200_000) -> Any:
    """Leave a finished thread with a large state, and return its graph."""
    builder = StateGraph(Filling)
    for node in ("a", "b", "c"):
        builder.add_node(node, lambda state, node=node: {"text": node * size, "done": [node]})
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "c")
    builder.add_edge("c", END)
    app = builder.compile()
    app.invoke({"text": "x"}, session.config(thread))
    return app


class Filling(TypedDict, total=False):
    text: str
    done: Annotated[list[str], operator.add]


@pytest.mark.sqlite_file("the size of the file")
def test_deleting_threads_shrinks_the_file_and_the_others_still_resume(
    session: Session, tmp_path: Path
) -> None:
    app = first_run(session, "stays")
    big(session, "goes")
    delete_threads(session, names(session, PruneFilter(threads=["goes"])))
    assert not any(rows_of(session, "goes").values())
    shrunk = shrink(tmp_path / "runs.sqlite")
    assert shrunk.problem is None
    assert shrunk.after < shrunk.before - 400_000
    assert app.invoke(Command(resume="yes"), session.config("stays"))["approved"] == "yes"


@pytest.mark.sqlite_file("the size of the file")
def test_only_checkpoints_go_and_the_thread_goes_on_from_its_end(session: Session, tmp_path: Path) -> None:
    app = big(session, "t")
    calls_and_node_runs = {table: rows_of(session, "t")[table] for table in ("calls", "node_runs", "runs")}
    assert delete_checkpoints(session, ["t"]) == 4
    assert shrink(tmp_path / "runs.sqlite").problem is None
    assert {table: rows_of(session, "t")[table] for table in calls_and_node_runs} == calls_and_node_runs
    assert app.get_state(session.config("t")).values["text"][0] == "c"
    again = app.invoke({"text": "y"}, session.config("t"))
    assert again["done"] == ["a", "b", "c"] * 2


def test_nested_checkpoints_go_and_a_pruned_thread_can_still_be_forked(session: Session) -> None:
    app = first_run(session)
    app.invoke(Command(resume="yes"), session.config("t"))
    assert delete_checkpoints(session, ["t"]) > 7
    assert len(rows_of(session, "t")["checkpoints"]) == 1
    new = fork(session, "t")
    assert len(rows_of(session, new)["calls"]) == len(rows_of(session, "t")["calls"])
    assert app.get_state(session.config(new)).values["approved"] == "yes"
    with pytest.raises(InputError, match="was pruned"):
        fork(session, "t", call="name")


def extend(old: list[str], new: Sequence[list[str]]) -> list[str]:
    return [*old, *(item for items in new for item in items)]


class Log(TypedDict, total=False):
    lines: Annotated[list[str], DeltaChannel(extend, snapshot_frequency=5)]
    count: int


def log_graph() -> Any:
    builder = StateGraph(Log)
    builder.add_node("add", lambda state: {"lines": [f"{state['count']}"], "count": state["count"] + 1})
    builder.add_edge(START, "add")
    builder.add_conditional_edges("add", lambda state: "add" if state["count"] < 13 else END)
    return builder.compile()


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_delta_fields_keep_what_they_take_to_be_read(session: Session, way: str) -> None:
    app, lines = log_graph(), [str(n) for n in range(13)]
    if way == "sync":
        app.invoke({"count": 0}, session.config("t"))
    else:
        await app.ainvoke({"count": 0}, session.config("t"))
    whole = len(rows_of(session, "t")["checkpoints"])
    new = fork(session, "t", 6)
    delete_checkpoints(session, ["t"])
    assert 1 < len(rows_of(session, "t")["checkpoints"]) < whole
    assert app.get_state(session.config("t")).values["lines"] == lines
    assert (await app.aget_state(session.config("t"))).values["lines"] == lines
    assert app.get_state(session.config(new)).values["lines"] == lines[:6]
    assert (await app.ainvoke(None, session.config(new)))["lines"] == lines
    assert read_history(session, new)[3].changed["lines"] in (["1"], [["1"]])


def test_which_threads_are_chosen(session: Session) -> None:
    for number in range(4):
        big(session, f"t{number}", size=1)
    session.journal.end_run("t1", "failed")
    session.journal.write([("UPDATE runs SET updated_at = updated_at - 100 WHERE thread_id = 't0'", ())])
    assert names(session, PruneFilter(statuses=["failed"])) == ["t1"]
    assert names(session, PruneFilter(older_than_s=50)) == ["t0"]
    assert names(session, PruneFilter(keep=2)) == ["t0", "t2"]
    assert names(session, PruneFilter(keep=1, statuses=["done"])) == ["t0", "t2", "t3"]
    assert names(session, PruneFilter(), checkpoints_only=True) == ["t0", "t2", "t3"]
    assert len(rows_of(session, "t0")["checkpoints"]) == 5
    with pytest.raises(InputError, match="There is no thread 'nope'"):
        choose(session, PruneFilter(threads=["nope"]))


def test_running_and_unfinished_threads_are_spared(session: Session) -> None:
    first_run(session, "waits")
    big(session, "runs", size=1)
    session.journal.start_run("runs")
    big(session, "claimed", size=1)
    session.journal.write(
        [("UPDATE claims SET expires_at = ? WHERE thread_id = 'claimed'", (time.time() + 60,))]
    )
    assert names(session, PruneFilter()) == ["waits"]
    assert set(names(session, PruneFilter(force=True))) == {"runs", "claimed", "waits"}
    assert names(session, PruneFilter(), checkpoints_only=True) == []
    for thread in ("runs", "claimed"):
        with pytest.raises(InputError, match="--force"):
            choose(session, PruneFilter(threads=[thread]))
    with pytest.raises(InputError, match="is interrupted: a resume may need"):
        choose(session, PruneFilter(threads=["waits"]), checkpoints_only=True)


def test_side_effects_are_remembered_unless_asked(session: Session) -> None:
    big(session, "t", size=1)
    session.journal.write(
        [
            (
                "INSERT INTO effects (key, thread_id, path, status, started_at) "
                "VALUES ('k', 't', 'p', 'done', 1)",
                (),
            )
        ]
    )
    delete_threads(session, ["t"])
    assert len(session.journal.query("SELECT * FROM effects")) == 1
    delete_threads(session, ["t"], effects=True)
    assert session.journal.query("SELECT * FROM effects") == []


@pytest.mark.sqlite_file("the lock of the file")
def test_a_lock_held_elsewhere_is_told_and_loses_nothing(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "LOCK_WAIT_MS", 100)
    big(session, "t")
    other = sqlite3.connect(tmp_path / "runs.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    shrunk = shrink(tmp_path / "runs.sqlite")
    other.execute("ROLLBACK")
    assert "Another program uses" in (shrunk.problem or "")
    assert shrunk.after == shrunk.before

    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM runs").fetchone()
    assert "Another program uses" in (shrink(tmp_path / "runs.sqlite").problem or "")
    other.close()
    assert shrink(tmp_path / "runs.sqlite").problem is None


@pytest.mark.sqlite_file("the size of the file")
def test_too_little_disk_is_told_before_anything_happens(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big(session, "t")
    monkeypatch.setattr(pruning.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "bytes of free disk; there are 1,000" in (shrink(tmp_path / "runs.sqlite").problem or "")


def test_an_export_holds_every_record(session: Session) -> None:
    first_run(session, "one")
    first_run(session, "two")
    lines = [json.loads(json.dumps(record)) for record in records(session)]
    kinds = {"run": "runs", "call": "calls", "node_run": "node_runs", "decision": "decisions"}
    for thread in ("one", "two"):
        for kind, table in kinds.items():
            mine = [line for line in lines if line["record"] == kind and line["thread_id"] == thread]
            rows = rows_of(session, thread)[table]
            key = "thread_id" if kind == "run" else "id"
            assert {line[key]: stored(line) for line in mine} == {row[key]: row for row in rows}
            assert rows
    assert {line["thread_id"] for line in records(session, ["two"])} == {"two"}


def stored(line: dict[str, Any]) -> dict[str, Any]:
    """Return an exported record as its table holds it."""
    packed = {
        name: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        for name, value in line.items()
        if isinstance(value, (dict, list))
    }
    spaced = {"params": json.dumps(line["params"])} if "params" in line else {}
    return {name: value for name, value in {**line, **packed, **spaced}.items() if name != "record"}


@pytest.mark.sqlite_file("the size of the file")
def test_pruning_leaves_a_thread_that_runs_meanwhile_alone(session: Session, tmp_path: Path) -> None:
    big(session, "old")
    problems: list[BaseException] = []

    def go_on() -> None:
        try:
            for number in range(10):
                big(session, f"new{number}", size=1000)
        except BaseException as error:
            problems.append(error)

    worker = threading.Thread(target=go_on)
    worker.start()
    delete_threads(session, ["old"])
    shrink(tmp_path / "runs.sqlite")
    worker.join()
    assert problems == []
    assert session.journal.query("SELECT count(*) AS n FROM runs") == [{"n": 10}]
