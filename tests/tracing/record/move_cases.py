"""A record that is moved."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.journal.columns import Table, tables_of
from stepgraph.state.journal.moving import STAYS
from stepgraph.tracing.record.move import Moved, move_threads


@pytest.fixture
def other(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Session]:
    with Session(tmp_path / "runs.sqlite") as session:
        yield session


def moved(source: Session, target: Session, *threads: str, **options: Any) -> list[Moved]:
    done = list(move_threads(source, target, threads, **options))
    for each in done:
        if each.problem is not None:
            raise each.problem
    return done


def tables(file: Path) -> dict[str, Table]:
    with Session(file) as session:
        return tables_of(session.journal.query, None)


def contents(file: Path) -> dict[str, Counter[str]]:
    """Return what a file holds of all that moves, whatever numbers the database gave the rows."""
    found = {}
    all_tables = tables(file)
    with closing(sqlite3.connect(file)) as database:
        for table in all_tables.values():
            if table.name not in STAYS:
                rows = database.execute(f"SELECT {table.reads} FROM {table.name}").fetchall()
                found[table.name] = Counter(map(repr, rows))
    return found
