"""A damaged cell of a record is named: the file, the table, the thread, the column, and what to do."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.cli.support import threads
from stepgraph.state.serde import serialized
from stepgraph.tracing.record.damage import find_damage

from .conftest import Command

CHECKPOINT: dict[str, Any] = {
    "v": 4,
    "id": "1f1eaf18-4ee9-6f00-bffe-6e4122144406",
    "ts": "2026-11-28T06:00:00+00:00",
    "channel_values": {},
    "channel_versions": {},
    "versions_seen": {},
}


def damage(table: str, column: str, value: Any) -> None:
    with contextlib.closing(sqlite3.connect("stepgraph.sqlite")) as file, file:
        file.execute(f"UPDATE {table} SET {column} = ?", (value,))


@pytest.fixture
def record(command: Command, memo: Any, tmp_path: Path) -> Path:
    assert command("run", "memo.py:reviewed", "-i", "text=x", "--thread", "one").code == 5
    return tmp_path / "stepgraph.sqlite"


@pytest.mark.sqlite_file("it is damaged from outside")
@pytest.mark.parametrize(
    ("table", "column", "value", "words"),
    [
        ("runs", "started_at", "yesterday", ("threads",)),
        ("runs", "started_at", 1e300, ("threads",)),
        ("calls", "latency_s", "long", ("show", "one")),
        ("calls", "messages", "{", ("export",)),
        ("calls", "answer", b"\xff", ("show", "one")),
        ("node_runs", "output", "{", ("show", "one")),
        ("invocations", "tags", "{", ("export", "--spans")),
        ("checkpoints", "checkpoint", b"\xc1", ("history", "one")),
        ("checkpoints", "checkpoint", serialized({**CHECKPOINT, "ts": "soon"}), ("history", "one")),
        ("checkpoints", "checkpoint", serialized({**CHECKPOINT, "channel_values": []}), ("history", "one")),
        ("checkpoints", "metadata", "{", ("history", "one")),
        ("writes", "value", b"\xc1", ("pending",)),
        ("writes", "channel", b"\x00\xff", ("history", "one")),
        ("runs", "fingerprint", '{"edges":[]}', ("export", "one", "--html")),
        (
            "runs",
            "fingerprint",
            '{"nodes":{"a":{"nodes":1}},"edges":[],"choices":[]}',
            ("export", "one", "--html"),
        ),
        ("calls", "reserved", '"much"', ("export", "one", "--html")),
        ("calls", "params", '{"settings": 5}', ("export", "one", "--html")),
        ("calls", "cost_parts", '{"input": {"a": 1}}', ("export", "one", "--html")),
    ],
)
def test_the_cell_is_named(
    command: Command, record: Path, table: str, column: str, value: Any, words: tuple[str, ...]
) -> None:
    damage(table, column, value)
    done = command(*words)
    assert done.code == 4, done
    assert done.err.startswith(f"Error: {record.name} cannot be read: the table {table} has in a row")
    for word in ("'one'", column, "in the place of", "prune --thread one --yes"):
        assert word in done.err
    assert command("prune", "--thread", "one", "--yes", "--force").code == 0
    assert command(*words[:1]).code in (0, 2), "the advice helps"


@pytest.mark.sqlite_file("it is damaged from outside")
@pytest.mark.parametrize("cell", ["writes.task_id", "checkpoints.parent_checkpoint_id", "runs.graph"])
def test_text_that_is_no_utf_8_is_told_with_its_column(command: Command, record: Path, cell: str) -> None:
    table, column = cell.split(".")
    with contextlib.closing(sqlite3.connect(record)) as file, file:
        file.execute(f"UPDATE {table} SET {column} = CAST(x'41ff42' AS TEXT)")
    done = command("history", "one")
    assert done.code == 4
    assert done.err.startswith(f"Error: {record.name}")
    assert f"Could not decode to UTF-8 column '{column}'" in done.err
    assert "fault of stepgraph" not in done.err


@pytest.mark.sqlite_file("it is damaged from outside")
def test_of_two_damaged_cells_one_is_told(command: Command, record: Path) -> None:
    with contextlib.closing(sqlite3.connect(record)) as file, file:
        file.execute("UPDATE node_runs SET path = CAST(x'41ff42' AS TEXT)")
    damage("invocations", "tags", "{")
    done = command("export", "--spans")
    assert done.code == 4
    assert f"{record.name}: Could not decode to UTF-8 column 'path'" in done.err


@pytest.mark.sqlite_file("it is damaged from outside")
def test_a_missing_column_is_named(command: Command, record: Path) -> None:
    with contextlib.closing(sqlite3.connect(record)) as file, file:
        file.execute("ALTER TABLE calls RENAME COLUMN answer TO said")
    done = command("export", "--spans")
    assert done.code == 4
    assert "the table calls has no column answer" in done.err


def test_a_whole_record_has_no_damage(command: Command, record: Path) -> None:
    command("run", "memo.py:graph", "-i", "text=y", "--budget", "usd=1", "--thread", "two")
    command("run", "memo.py:broken", "-i", "text=y", "--thread", "three")
    command("resume", "one", "--answer", "yes")
    with Session(record) as session:
        assert find_damage(session.journal) is None


@pytest.mark.parametrize("error", [TypeError("mine"), ValueError("mine"), KeyError("mine")])
def test_an_error_of_another_kind_is_not_taken_for_damage(
    command: Command, record: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What fails beside a whole record is told as what it is."""

    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(threads, "list_threads", fails)
    done = command("threads")
    assert done.code == 1
    assert f"{type(error).__name__} (test_damaged.py" in done.err
    assert "cannot be read" not in done.err
