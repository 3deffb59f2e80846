from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stepgraph.state.errors import StoreError
from stepgraph.state.journal.tables import VERSION
from stepgraph.state.session.session import Session

ADDED = ("cache_write_tokens", "price_source", "price_date")


def columns(file: Path, table: str) -> set[str]:
    with closing(sqlite3.connect(file)) as database:
        return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}


def test_a_file_of_an_older_format_gets_its_columns_and_views(tmp_path: Path) -> None:
    file = tmp_path / "old.sqlite"
    Session(file).close()
    with closing(sqlite3.connect(file)) as database:
        views = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'view'")]
        for view in views:
            database.execute(f"DROP VIEW {view}")
        for column in ADDED:
            database.execute(f"ALTER TABLE calls DROP COLUMN {column}")
        database.execute("CREATE VIEW run_costs AS SELECT thread_id, 0 AS cost_usd FROM runs")
        database.execute(
            "INSERT INTO runs (thread_id, status, started_at, updated_at) VALUES ('t', 'done', 1, 2)"
        )
        database.execute("PRAGMA user_version = 1")
        database.commit()
    with Session(file) as session:
        (row,) = session.journal.query("SELECT * FROM run_costs")
        assert (row["thread_id"], row["cost_usd"], row["known_cost_usd"], row["unknown_costs"]) == (
            "t",
            0,
            0,
            0,
        )
    assert set(ADDED) <= columns(file, "calls")


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "new.sqlite"
    Session(file).close()
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
        database.commit()
    with pytest.raises(StoreError, match="written by a newer stepgraph"):
        Session(file)
