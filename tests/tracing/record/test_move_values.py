"""Every value of every table, moved from one database to another and back."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.journal.columns import tables_of
from stepgraph.state.journal.moving import BESIDE, STAYS
from stepgraph.tracing.record.move import move_threads

from .move_cases import contents, moved, other as other, source as source, tables

pytestmark = pytest.mark.sqlite_file("moves files to Postgres and back by itself")


TEXTS = ("", "a\0b", "\u2400", "\u24000", "\u24001\0", "Zoë 🦊", "{}", "'; --", "x" * 3000)


NUMBERS = (0, -1, 2**63 - 1, -(2**63), 2**53 + 1)


REALS = (0.0, 0.1, 1e-12, 5e-324, -1.7976931348623157e308, 1_700_000_000.123456)


BYTES = (b"", b"\0\xff", bytes(range(256)), b"\xc3(")


THREADS = ("one", "two")


def fill(file: Path, seed: int) -> None:
    """Write random rows of two threads into every table."""
    chance = random.Random(seed)
    kinds: dict[str, Sequence[Any]] = {"text": TEXTS, "int": NUMBERS, "real": REALS, "bytes": BYTES}
    all_tables = tables(file)
    with closing(sqlite3.connect(file)) as database:
        for table in all_tables.values():
            if table.name in STAYS or not (table.has_threads or table.name == "batches"):
                continue
            for thread in THREADS:
                for number in range(1 if table.name in ("runs", "batches", "jobs", "job_parts") else 3):
                    row = {name: chance.choice(kinds[kind]) for name, kind in table.kinds.items()}
                    row |= {name: f"{thread}-{number}" for name in ("id", "key", "task") if name in row}
                    row |= {"thread_id": thread} if "thread_id" in row else {}
                    row |= {"parent_thread": None} if "parent_thread" in row else {}
                    row |= {"batch": f"{thread}-0"} if table.name == "batch_requests" else {}
                    row |= {"question": row["task"]} if {"question", "task"} <= set(row) else {}
                    for name in ("checkpoint_id", "destination", "question", "sequence"):
                        if name in row and isinstance(row[name], str):
                            row[name] += f"-{number}"
                    if table.numbered:
                        row["id"] = chance.randrange(10**6)
                        row |= {"moved_id": None} if "moved_id" in row else {}
                    marks = ", ".join("?" * len(row))
                    names = ", ".join(f'"{name}"' for name in row)
                    database.execute(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", [*row.values()])
        database.commit()


@pytest.mark.parametrize("seed", range(3))
def test_every_value_of_every_table_comes_back_as_it_was(tmp_path: Path, other: str, seed: int) -> None:
    begin, end = tmp_path / "begin.sqlite", tmp_path / "end.sqlite"
    fill(begin, seed)
    before = contents(begin)
    with Session(begin) as source, Session(other) as between, Session(end) as target:
        rows = [sum(each.rows.values()) for each in moved(source, between)]
        assert rows == [sum(each.rows.values()) for each in moved(between, target)]
        assert sum(rows) == sum(sum(rows.values()) for rows in before.values())
        assert not list(move_threads(source, between)) + list(move_threads(between, target))
    assert contents(end) == before
    left = contents(begin)
    assert {name for name, rows in left.items() if rows} == {
        "effects"
    }  # they keep a replay from repeating one


def test_every_table_is_moved_or_said_to_stay(tmp_path: Path, other: str) -> None:
    with Session(other) as session:
        schema = session.database.schema
        on_postgres = tables_of(session.journal.query, schema)
    in_file = tables(tmp_path / "runs.sqlite")
    for known in (in_file, on_postgres):
        loose = {table.name for table in known.values() if not table.has_threads}
        assert loose <= {*BESIDE, *STAYS}, "say in state/journal/moving.py what becomes of its rows"
    assert {name: table.kinds for name, table in in_file.items()} == {
        name: table.kinds for name, table in on_postgres.items() if name in in_file
    }
