"""Processes, up to twenty, open one file at the same moment, a new one or one of an earlier format."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.journal import migration
from stepgraph.state.journal.tables import VERSION

from .test_migration import OLDER, contents, made

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, to be cheap"),
    pytest.mark.sqlite_file("one file opened at once; test_store_conformance.py opens each database so"),
]
MANY, SOME = 20, 6  # at the formats between the oldest and the latest, fewer
NEW = "new-in-a-new-folder"


def open_and_write(file: Path, number: int, barrier: Any, told: Any) -> None:
    made_tables = []
    add_columns = migration._add_columns
    migration._add_columns = lambda connection: (made_tables.append(number), add_columns(connection))
    try:
        barrier.wait(60)
        with Session(file) as session:
            session.claims.acquire(f"thread-{number}")
            session.journal.start_run(f"thread-{number}")
            session.claims.release(f"thread-{number}")
        told.put((number, len(made_tables), None))
    except BaseException as error:
        told.put((number, len(made_tables), f"{type(error).__name__}: {error}"))
    told.close()
    told.join_thread()
    os._exit(0)


@pytest.mark.parametrize("kind", [NEW, *(path.stem for path in OLDER)])
def test_all_open_it_one_makes_its_tables_and_nothing_is_lost(tmp_path: Path, kind: str) -> None:
    if kind == NEW:
        file, before = tmp_path / kind / "runs.sqlite", {}
    else:
        file = made(next(path for path in OLDER if path.stem == kind), tmp_path)
        before = contents(file)
    context = multiprocessing.get_context("fork")
    number_of = MANY if kind in (NEW, OLDER[0].stem, OLDER[-1].stem) else SOME
    barrier, told = context.Barrier(number_of), context.Queue()
    opening = [
        context.Process(target=open_and_write, args=(file, number, barrier, told), daemon=True)
        for number in range(number_of)
    ]
    for process in opening:
        process.start()
    heard = [told.get(timeout=120) for _ in opening]
    for process in opening:
        process.join(60)
    assert [error for _, _, error in heard if error] == []
    assert sum(times for _, times, _ in heard) == 1
    now = contents(file)
    written = {row["thread_id"] for row in now["runs"]}
    assert written >= {f"thread-{number}" for number in range(number_of)}
    for table, rows in before.items():
        assert len(now[table]) >= len(rows), table
    with Session(file) as session:
        assert session.journal.query("PRAGMA user_version") == [{"user_version": VERSION}]
        assert (
            session.journal.query("SELECT * FROM claims WHERE expires_at > 0 AND host <> 'elsewhere'") == []
        )
        assert session.journal.query("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
