"""What a store promises, on each database: a SQLite file, Postgres, and Postgres behind PgBouncer."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.errors import StepgraphError, StoreError
from stepgraph.state.journal.records import Decision

from .conformance_cases import CALL, Place, _run, other as other, place as place, session as session


def _threads(session: Session) -> list[str]:
    return [
        row["thread_id"] for row in session.journal.query("SELECT thread_id FROM runs ORDER BY thread_id")
    ]


async def test_what_is_written_together_is_there_or_not_together(session: Session, other: Session) -> None:
    with pytest.raises(StoreError):
        session.journal.write([_run("a"), ("INSERT INTO nowhere VALUES (1)", ())])
    assert _threads(other) == []
    with pytest.raises(StoreError):
        await session.journal.awrite([_run("a"), _run("b"), _run("a")])
    assert _threads(other) == []
    await session.journal.awrite([_run("a"), _run("b")], durable=True)
    assert _threads(other) == ["a", "b"]


async def test_what_waits_is_read_here_and_written_with_the_next_commit(
    session: Session, other: Session
) -> None:
    session.journal.add_later(_run("a"))
    assert [row["thread_id"] for row in await session.journal.aquery("SELECT thread_id FROM runs")] == ["a"]
    session.journal.add_later(_run("b"))
    await session.journal.awrite([_run("c")])
    assert _threads(other) == ["a", "b", "c"]
    session.journal.add_later(_run("d"))
    for _ in range(1000):
        await asyncio.sleep(0)
        if "d" in _threads(other):
            break
    assert "d" in _threads(other)


async def test_who_waits_for_a_row_starts_its_commit_behind_rows_that_nobody_writes(
    session: Session, other: Session
) -> None:
    store, row = session.journal.store, _run("a")
    store._waiting.append(_run("stuck"))  # as what could not be written when the database was away
    store.add_later(row)
    await asyncio.wait_for(store.until_written(row), 60)
    assert _threads(other) == ["a", "stuck"]


def test_what_waits_is_written_when_the_session_closes(place: Place) -> None:
    async def leave() -> None:
        session.journal.add_later(_run("last"))

    with Session(place("runs")) as session:
        asyncio.run(leave())
    with Session(place("runs")) as again:
        assert _threads(again) == ["last"]
    with pytest.raises(StepgraphError):
        session.journal.query("SELECT 1 FROM runs")


def test_a_transaction_looks_before_it_writes_and_nobodys_comes_between(
    session: Session, other: Session
) -> None:
    def count(transaction: Any) -> int:
        (row,) = transaction.execute("SELECT count(*) AS n FROM runs")
        transaction.execute(*_run(f"{row['n']:03}"))
        return int(row["n"])

    def work(mine: Session) -> None:
        counted.extend(mine.journal.transact(count) for _ in range(10))

    counted: list[int] = []
    threads = [threading.Thread(target=work, args=[mine]) for mine in (session, other, session, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counted) == list(range(40))

    def fails(transaction: Any) -> None:
        transaction.execute(*_run("gone"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        session.journal.transact(fails)
    assert "gone" not in _threads(other)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("größe 漢字 🙂 '\"%s ? $1 :x \\", None),
        ("", None),
        ("nul \0 in \u2400 it", None),
        ("half a pair \ud83d.", "half a pair ?."),
        ('{"a": 1}', None),
        (None, None),
        ("x" * 1_000_000, None),
    ],
    ids=["signs", "empty", "nul", "surrogate", "json", "null", "long"],
)
def test_texts_come_back_as_they_were(session: Session, other: Session, value: Any, kept: Any) -> None:
    session.journal.write([_run("t"), ("UPDATE runs SET error = ? WHERE thread_id = 't'", (value,))])
    (row,) = other.journal.query("SELECT error FROM runs")
    assert row == {"error": value if kept is None else kept}
    assert other.journal.rows("SELECT error FROM runs") == [(row["error"],)]


def test_numbers_and_bytes_come_back_in_their_types(session: Session, other: Session) -> None:
    values = (2**70, -(2**70), 0.1, 1e300, True, bytes(range(256)))
    sql = "INSERT INTO exports (destination, thread_id, spans, complete_at) VALUES ('d', 't', ?, ?)"
    session.journal.write([(sql, (values[5], values[3]))])
    big = replace(CALL, input_tokens=values[0], output_tokens=values[1], latency_s=values[2])
    session.journal.add(big)
    session.journal.add(Decision("t", "vote:1", "vote", "vote", "a", 0.5, None, 2.0, decided=True))
    (row,) = other.journal.query("SELECT spans, complete_at FROM exports")
    assert (bytes(row["spans"]), row["complete_at"]) == (bytes(range(256)), 1e300)
    (row,) = session.journal.query("SELECT input_tokens AS a, output_tokens AS b, latency_s AS c FROM calls")
    assert row == {"a": 2**63 - 1, "b": -(2**63 - 1), "c": 0.1} or row["b"] == -(2**63)
    (row,) = session.journal.query(
        "SELECT decided, sum(decided) AS all_of_them FROM decisions GROUP BY decided"
    )
    assert row == {"decided": 1, "all_of_them": 1}
    assert [type(value) for value in row.values()] == [int, int]


def test_marks_are_marks_only_outside_of_texts(session: Session) -> None:
    sql = "SELECT ? AS a, 'is it ?' AS b, '100 %' AS \"c?\", 5 % 3 AS d -- why ?\n, count(*) AS e FROM runs"
    assert session.journal.query(sql, ("x",)) == [{"a": "x", "b": "is it ?", "c?": "100 %", "d": 2, "e": 0}]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM runs",
        "UPDATE runs SET status = 'x'",
        "DROP TABLE runs",
        "WITH some AS (SELECT 'a' AS id) DELETE FROM runs WHERE thread_id IN (SELECT id FROM some)",
        "-- SELECT 1\nDELETE FROM runs",
        "/* SELECT 1 */ DELETE FROM runs",
        "selection",
    ],
)
def test_a_query_only_reads(session: Session, sql: str) -> None:
    session.journal.write([_run("a")])
    with pytest.raises(StoreError):
        session.journal.query(sql)
    assert _threads(session) == ["a"]
    assert session.journal.query("SELECT status FROM runs") == [{"status": "done"}]


def test_a_reader_sees_what_is_committed(session: Session) -> None:
    reader = session.journal.store.reader()
    assert reader.query("SELECT thread_id FROM runs") == []
    session.journal.write([_run("a")])
    assert reader.query("SELECT thread_id FROM runs WHERE thread_id = ?", ("a",)) == [{"thread_id": "a"}]
    try:
        with pytest.raises(Exception, match=r"(?i)read-?only"):
            reader.query("DELETE FROM runs")
    finally:
        reader.close()


def test_the_clock_is_the_databases_and_goes_on(session: Session) -> None:
    times = [session.journal.query(f"SELECT {session.journal.dialect.now} AS t")[0]["t"] for _ in range(3)]
    assert times == sorted(times)
    assert all(type(at) is float and at > 1.7e9 for at in times)


def test_ten_sessions_that_open_at_once_make_the_tables_once(place: Place) -> None:
    opened: list[Session] = []
    failed: list[BaseException] = []

    def begin() -> None:
        try:
            opened.append(Session(place("fresh")))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=begin) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    opened[0].journal.write([_run("a")])
    assert [_threads(session) for session in opened] == [["a"]] * 10
    for each in opened:
        each.close()
