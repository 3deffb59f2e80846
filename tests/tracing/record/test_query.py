"""Read-only SQL: only a SELECT, on this file, within bounds; and the views."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepgraph import Session
from stepgraph.state.errors import InputError, StoreError
from stepgraph.tracing.forks.fork import fork
from stepgraph.tracing.record.query import select

from ..travels import first_run, rows_of

pytestmark = pytest.mark.sqlite_file("SQLite's own authorizer; test_postgres_query.py is about the other")


@pytest.fixture
def file(session: Session, tmp_path: Path) -> Path:
    first_run(session)
    session.journal.flush()
    return tmp_path / "runs.sqlite"


def test_a_select_returns_rows(file: Path) -> None:
    found = select(file, "SELECT step, count(*) AS n FROM calls GROUP BY step ORDER BY step")
    assert found.columns == ["step", "n"]
    assert found.rows == [("judge", 2), ("name", 1), ("shorten", 1), ("tag", 3), ("write", 2)]
    assert not found.more
    assert select(file, "WITH x AS (SELECT 1 AS a) SELECT a, a FROM x").dicts() == [{"a": 1, "a:2": 1}]
    assert select(file, "SELECT json_extract(params, '$.schema.type') AS t FROM calls").rows


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM calls",
        "INSERT INTO runs (thread_id, status, started_at, updated_at) VALUES ('x', 'done', 1, 1)",
        "UPDATE calls SET cost_usd = 0",
        "DROP TABLE calls",
        "CREATE TABLE mine (a)",
        "CREATE TEMP TABLE mine (a)",
        "ATTACH DATABASE 'other.sqlite' AS other",
        "VACUUM INTO 'copy.sqlite'",
        "PRAGMA query_only = OFF",
        "PRAGMA journal_mode = DELETE",
        "SELECT * FROM pragma_table_info('calls')",
        "BEGIN IMMEDIATE",
        "SELECT 1; DELETE FROM calls",
        "SELECT load_extension('x')",
        "WITH x AS (SELECT 1) DELETE FROM calls",
        "REINDEX",
        "ANALYZE",
        "EXPLAIN DELETE FROM calls",
        "",
        "-- nothing",
    ],
)
def test_nothing_but_reading_is_possible(file: Path, session: Session, sql: str, tmp_path: Path) -> None:
    before = rows_of(session, "t")
    with pytest.raises(InputError):
        select(file, sql)
    assert rows_of(session, "t") == before
    assert {path.name.split("-")[0].removesuffix(".owner") for path in tmp_path.iterdir()} == {"runs.sqlite"}


def test_mistakes_are_told(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'calls'"):
        select(file, "SELECT * FROM cals")
    with pytest.raises(InputError, match=r"No such column: costs.*calls: id, thread_id, .*cost_usd"):
        select(file, "SELECT costs FROM calls")
    with pytest.raises(InputError, match=r"c\.answr\. Did you mean 'answer'.*runs: .*; calls: "):
        select(file, "SELECT c.answr FROM calls c JOIN runs r ON r.thread_id = c.thread_id")
    with pytest.raises(InputError, match="syntax error"):
        select(file, "SELEC * FROM calls")
    with pytest.raises(StoreError, match="There is no file"):
        select(tmp_path / "none.sqlite", "SELECT 1")


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} FROM n"


def test_rows_time_and_size_are_bounded(file: Path) -> None:
    found = select(file, ENDLESS.format("i"), limit=3)
    assert (found.rows, found.more) == ([(1,), (2,), (3,)], True)
    with pytest.raises(InputError, match=r"took longer than 0.1 s.*--timeout"):
        select(file, ENDLESS.format("max(i)"), timeout_s=0.1)
    with pytest.raises(InputError, match="too big"):
        select(file, "SELECT zeroblob(900000000)")


def test_the_views_add_up(file: Path, session: Session) -> None:
    fork(session, "t", new_thread="copy")
    (sums,) = session.journal.query(
        "SELECT count(*) AS calls, sum(cost_usd) AS cost, sum(input_tokens) AS tokens FROM calls"
    )
    for view in ("steps", "costs_by_step", "run_costs"):
        (row,) = session.journal.query(
            f"SELECT sum(calls) AS calls, sum(cost_usd) AS cost, sum(input_tokens) AS tokens FROM {view}"
        )
        assert row == pytest.approx(sums), view
    assert session.journal.query(
        "SELECT calls, shared, cost_usd FROM run_costs WHERE thread_id = 'copy'"
    ) == [{"calls": 9, "shared": 9, "cost_usd": 0.0}]
    judged = session.journal.query(
        "SELECT path, choice, calls FROM steps WHERE thread_id = 't' AND node = 'judge' ORDER BY superstep"
    )
    assert judged == [
        {"path": "polish/judge", "choice": "again", "calls": 1},
        {"path": "polish/judge", "choice": "approved", "calls": 1},
    ]


def test_a_step_that_was_interrupted_and_resumed_is_one_row(session: Session) -> None:
    from langgraph.types import Command

    app = first_run(session)
    app.invoke(Command(resume="yes"), session.config("t"))
    rows = session.journal.query("SELECT status FROM steps WHERE node = 'approve'")
    assert rows == [{"status": "done"}]
