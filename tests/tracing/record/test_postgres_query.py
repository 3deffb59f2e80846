"""Read-only SQL in Postgres: only a SELECT, within bounds, and no function that does more than to compute."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cluster.pgbouncer import PgBouncer
from cluster.postgres import PostgresServer
from stepgraph import Session
from stepgraph.state.errors import InputError, StoreError
from stepgraph.tracing import list_threads, read_history, read_run
from stepgraph.tracing.record.called_functions import called_functions
from stepgraph.tracing.record.query import select

from ..travels import first_run

SECURITY = Path(__file__).parents[3] / "docs" / "security.md"
PASSWORD_SHOWN = "postgresql://stepgraph@127.0.0.1"


@pytest.fixture(scope="module")
def url(postgres_server: PostgresServer) -> Iterator[str]:
    url = postgres_server.lend()
    with Session(url) as session:
        first_run(session)
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql "
            "AS 'DELETE FROM stepgraph.calls; SELECT 1'"
        )
    yield url
    postgres_server.take_back(url)


def _rows(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        tables = ("runs", "calls", "node_runs", "checkpoints")
        return [connection.execute(f"SELECT count(*) FROM stepgraph.{table}").fetchone() for table in tables]


def test_rows_come_in_the_types_that_sqlite_gives(url: str, pgbouncer: PgBouncer, tmp_path: Path) -> None:
    with Session(tmp_path / "same.sqlite") as session:
        first_run(session)
    columns = "step, status, count(*) AS n, sum(input_tokens) AS tokens, avg(output_tokens) AS mean, "
    columns += "sum(cost_usd) AS usd, min(started_at) > 1 AS late, max(problem) AS problem"
    for sql in (
        f"SELECT {columns} FROM calls GROUP BY step, status ORDER BY step",
        "SELECT thread_id, calls, shared, cost_usd, unknown_costs FROM run_costs",
        "SELECT step, calls, failed, known_cost_usd, estimated_usd FROM costs_by_step ORDER BY step",
        "SELECT * FROM budgets",
        "WITH x AS (SELECT 1 AS a) SELECT a, a FROM x;",
        "/* all */ SELECT checkpoint_ns FROM checkpoints ORDER BY checkpoint_id LIMIT 1 -- of it",
    ):
        here = select(tmp_path / "same.sqlite", sql)
        for way in (url, pgbouncer.url(url)):
            there = select(way, sql)
            assert there.columns == here.columns
            assert len(there.rows) == len(here.rows), sql
            for row, other in zip(there.rows, here.rows, strict=True):
                assert list(map(type, row)) == list(map(type, other)), sql
                assert row == pytest.approx(other)
    found = select(url, "SELECT true, '{\"a\": [1]}'::json, '\\x01'::bytea, 1.50::numeric, NULL, 'a%b?'")
    assert found.rows == [(1, '{"a": [1]}', b"\x01", 1.5, None, "a%b?")]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM calls",
        "UPDATE calls SET cost_usd = 0",
        "DROP TABLE calls",
        "CREATE TEMP TABLE mine (a int)",
        "SELECT * INTO mine FROM calls",
        "TRUNCATE calls",
        "SELECT 1; DELETE FROM calls",
        "SELECT 1; COMMIT; DELETE FROM calls",
        "WITH gone AS (DELETE FROM calls RETURNING 1) SELECT * FROM gone",
        "SELECT * FROM runs FOR UPDATE",
        "EXPLAIN ANALYZE DELETE FROM calls",
        "COPY calls TO '/tmp/calls'",
        "COPY calls TO PROGRAM 'true'",
        "SET ROLE admin",
        "DO $$ BEGIN DELETE FROM calls; END $$",
        "CALL something()",
        "LISTEN news",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
        "SELECT pg_catalog.pg_cancel_backend(1)",
        'SELECT "pg_advisory_lock" (1)',
        "SELECT pg_notify/* a /* b */ */('news', '')",
        "SELECT PG_READ_FILE --\n ('/etc/passwd')",
        "SELECT U&\"pg\\005fread\\005ffile\"('/etc/passwd')",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT nextval('calls_rowid_seq')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_create(0)",
        "SELECT * FROM query_to_xml('DELETE FROM calls', true, true, '')",
        "SELECT public.mine()",
        "SELECT mine()",
        "SELECT * FROM pg_authid",
        "",
        "-- nothing",
        "SELECT 'not ended",
        "SELECT 1 /* not ended",
    ],
)
def test_nothing_but_reading_is_possible(url: str, sql: str) -> None:
    before = _rows(url)
    with pytest.raises(InputError) as told:
        select(url, sql)
    assert "Only one SELECT" in str(told.value) or "cannot be run" in str(told.value)
    assert _rows(url) == before


def test_a_role_that_may_only_read_sees_all_and_changes_nothing(
    url: str, postgres_server: PostgresServer
) -> None:
    for statement in re.findall(r"(?s)```sql\n(.*?)```", SECURITY.read_text(encoding="utf-8"))[0].split(";"):
        with psycopg.connect(
            url if "CREATE ROLE" not in statement else postgres_server.url("postgres", superuser=True)
        ) as c:
            c.execute(statement.encode())
    reader = re.sub("//.*@", "//reader:a-password@", url)
    with Session(reader) as session:
        assert [thread.thread_id for thread in list_threads(session.journal)] == ["t"]
        assert read_run(session, "t").thread.cost.calls == 9
        assert len(read_history(session, "t")) > 4
        with pytest.raises(StoreError, match="permission denied"):
            session.journal.write([("DELETE FROM runs", ())])
    assert select(reader, "SELECT calls FROM run_costs").rows == [(9,)]


def test_names_before_a_parenthesis_are_calls() -> None:
    sql = "SELECT a.f(1), G  (2), 'h(' || $$i($$ || $x$ $$j($$ $x$ || E'\\' k(', \"L\"(3) FROM t(4) -- m(\n"
    assert called_functions(sql) == {"f", "g", "L", "t"}


def test_time_and_rows_are_bounded_and_mistakes_told(url: str) -> None:
    found = select(url, "SELECT * FROM generate_series(1, 10000000)", limit=3)
    assert (found.rows, found.more) == ([(1,), (2,), (3,)], True)
    with pytest.raises(InputError, match=r"took longer than 0.1 s.*--timeout"):
        select(url, "SELECT pg_sleep(60)", timeout_s=0.1)
    with pytest.raises(InputError, match="Did you mean 'calls'"):
        select(url, "SELECT * FROM cals")
    with pytest.raises(InputError, match='"costs" does not exist'):
        select(url, "SELECT costs FROM calls")
    with pytest.raises(StoreError, match=PASSWORD_SHOWN) as told:
        select(url.replace("/lent", "/nothing"), "SELECT 1")
    assert "secret" not in str(told.value)


def test_a_wrong_column_is_told_with_those_that_there_are(url: str) -> None:
    with pytest.raises(InputError, match=r"Did you mean 'answer'.*calls: .*id, thread_id, .*cost_usd"):
        select(url, "SELECT c.answr FROM calls c")


def test_what_operators_are_told_to_ask_can_be_asked(url: str) -> None:
    page = (SECURITY.parent / "postgres.md").read_text(encoding="utf-8")
    statements = [text for text in re.findall(r"(?s)```sql\n(.*?)```", page) if text.strip()]
    assert statements
    with psycopg.connect(url) as connection:
        for statement in statements:
            rows = connection.execute(statement.encode()).fetchall()
            assert {"calls", "node_runs"} <= {row[0] for row in rows}
