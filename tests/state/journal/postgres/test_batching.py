"""Statements that are sent together come to the same as one after another, and are few."""

from __future__ import annotations

import random
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.journal.journal import Journal
from stepgraph.state.journal.postgres import batching
from stepgraph.state.journal.postgres.arrays import LARGEST, arrays
from stepgraph.state.journal.postgres.forms import update_form
from stepgraph.state.journal.records import CallKey, Decision, Statement, ThreadStatement

THREADS = ("t", "u", "v")
TABLES = ("runs", "invocations", "decisions", "coalesced_calls", "claims", "replays")


def begun(thread: str, number: int) -> Statement:
    names = "thread_id, trace, status, started_at"
    values = (thread, number, "running", float(number))
    return ThreadStatement((f"INSERT INTO invocations ({names}) VALUES (?, ?, ?, ?)", values), thread)


def claimed(thread: str, number: int) -> Statement:
    sql = (
        "INSERT INTO claims (thread_id, owner, host, pid, expires_at, epoch) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (thread_id) DO UPDATE SET owner = excluded.owner, epoch = claims.epoch + 1"
    )
    return ThreadStatement((sql, (thread, f"o{number}", "h", 1, 5.0, 1)), thread, of_run=False)


def released(thread: str, number: int) -> Statement:
    sql = "UPDATE claims SET expires_at = 0 WHERE thread_id = ? AND owner = ?"
    return ThreadStatement((sql, (thread, f"o{number}")), thread, of_run=False)


def moved(thread: str, number: int) -> Statement:
    sql = "UPDATE coalesced_calls SET leader = ? WHERE leader = ?"
    return sql, (f"task {number}", f"task {number + 1}")


def statements_of(journal: Journal, seed: int, monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """Return what many runs write, in an order that chance makes."""
    chance, found = random.Random(seed), []
    with monkeypatch.context() as patched:
        patched.setattr(journal, "add_later", lambda *statements: found.extend(statements))
        write_some(journal, chance, found)
    return found


def write_some(journal: Journal, chance: random.Random, found: list[Statement]) -> None:
    for number in range(60):
        thread = chance.choice(THREADS)
        decided = Decision(thread, f"task {number % 4}", "p", "route", f"{number}", None, None, 1.0)
        key = CallKey(thread, f"task {number % 3}", "hash", 0)
        what: dict[str, Any] = {
            "start": lambda thread=thread: journal.start_run(thread, budget=chance.choice([None, "{}"])),
            "end": lambda thread=thread: journal.end_run(
                thread, "done", chance.choice([None, "e"]), of_run=True
            ),
            "decide": lambda decided=decided: journal.add(decided),
            "coalesce": lambda key=key, number=number: journal.note_coalesced(key, f"task {number % 5}"),
            "begin": lambda thread=thread, number=number: found.append(begun(thread, number)),
            "claim": lambda thread=thread, number=number: found.append(claimed(thread, number % 2)),
            "release": lambda thread=thread, number=number: found.append(released(thread, number % 2)),
            "move": lambda thread=thread, number=number: found.append(moved(thread, number % 5)),
        }
        what[chance.choice(list(what))]()


def content_of(session: Session) -> dict[str, list[Any]]:
    found = {}
    for table in TABLES:
        rows = session.journal.query(f"SELECT * FROM {table}")
        plain = ({n: v for n, v in row.items() if n not in ("rowid", "id")} for row in rows)
        found[table] = sorted(map(repr, plain))
    return found


@pytest.mark.parametrize("worth", [2, 10**9], ids=["as arrays", "as a list"])
def test_statements_in_one_transaction_come_to_the_same_as_one_by_one(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, worth: int
) -> None:
    monkeypatch.setattr("time.time", lambda: 7.0)
    monkeypatch.setattr(batching, "WORTH", worth)
    with Session(f"{postgres_url}?schema=one") as one, Session(f"{postgres_url}?schema=many") as many:
        for seed in range(5):
            statements = statements_of(one.journal, seed, monkeypatch)
            for statement in statements:
                one.journal.write([statement])
            many.journal.write(statements)
            assert content_of(one) == content_of(many), seed


def test_runs_that_begin_and_end_beside_each_other_are_a_few_statements(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(postgres_url) as session:
        statements: list[Statement] = []
        monkeypatch.setattr(session.journal, "add_later", lambda *some: statements.extend(some))
        for number in range(50):
            session.journal.start_run(f"{number}")
            session.journal.end_run(f"{number - 1}", "done", of_run=True)
        monkeypatch.undo()
        groups = session.journal.store._traffic._batching.groups(statements)  # type: ignore[attr-defined]
        assert len(groups) <= 4


@pytest.mark.parametrize(
    ("sql", "is_one_of_many"),
    [
        ("UPDATE calls SET problem = ? WHERE id = ?", True),
        ("UPDATE waits SET status = ?, ended_at = ? WHERE thread_id = ? AND task = ? AND name = ?", True),
        ("UPDATE calls SET task = ? WHERE thread_id = ? AND task = ?", False),  # one could undo another
        ("UPDATE calls SET status = 'rejected' WHERE id = ? AND status <> 'superseded'", False),
        ("UPDATE jobs SET expires_at = 1 + ? WHERE owner = ?", False),
        ("UPDATE calls SET replays = ? WHERE id = ? RETURNING id", False),
    ],
)
def test_only_updates_that_cannot_touch_each_other_are_sent_as_one(sql: str, is_one_of_many: bool) -> None:
    assert (update_form(sql) is not None) == is_one_of_many


WRITTEN = (
    "INSERT INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, "
    "value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
TEXTS = ["", "\0", "a\0b", "\u2400", "\u24000", "é", "\ud800", '{"a", NULL}', "NULL", "\\", None]
INTEGERS = [0, -1, 2**63 - 1, -(2**63), 2**70, True]
NUMBERS = [0.0, 0.1, -1e308, float("inf"), 7, 10**400]
BYTES = [b"", b"\0\xff", bytearray(b"ab"), memoryview(b"cd"), None]


def odd_statements() -> list[Statement]:
    """Return rows with values that are easily changed on their way, in each kind of column."""
    statements: list[Statement] = []
    for at in range(12):
        text, data = TEXTS[at % len(TEXTS)], BYTES[at % len(BYTES)]
        row = (f"t{at}", text or "", "c", "k", "", INTEGERS[at % len(INTEGERS)], "channel", text, data)
        statements.append((WRITTEN, row))
        sql, values = begun(f"t{at}", at)
        statements.append((sql, (*values[:3], NUMBERS[at % len(NUMBERS)])))
    return statements


def test_values_that_are_sent_as_arrays_come_back_as_those_of_a_list_do(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = []
    for worth in (2, 10**9):
        monkeypatch.setattr(batching, "WORTH", worth)
        with Session(f"{postgres_url}?schema=worth_{worth}") as session:
            session.journal.write(odd_statements())
            writes = session.journal.query("SELECT * FROM writes ORDER BY thread_id")
            begins = session.journal.query("SELECT thread_id, started_at FROM invocations ORDER BY thread_id")
        contents.append(([{n: v for n, v in row.items() if n != "rowid"} for row in writes], begins))
    assert contents[0] == contents[1]
    assert len(contents[0][0]) == len(contents[0][1]) == 12


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("TEXT", ["a", 1]),
        ("BIGINT", [1, "1"]),
        ("BIGINT", [1, 1.5]),
        ("DOUBLE PRECISION", [1.0, "1"]),
        ("BYTEA", [b"a", "a"]),
        ("TEXT", ["a" * (LARGEST // 2), "b" * (LARGEST // 2), "c"]),
    ],
    ids=[
        "number as text",
        "text as integer",
        "fraction as integer",
        "text as number",
        "text as bytes",
        "large",
    ],
)
def test_what_does_not_go_into_an_array_is_sent_as_a_list(kind: str, values: list[Any]) -> None:
    assert arrays([kind], values) is None


def test_rows_of_another_type_than_their_columns_are_written_all_the_same(postgres_url: str) -> None:
    number = batching.WORTH
    with Session(postgres_url) as session:
        sql, _ = begun("t", 0)
        session.journal.write([(sql, (f"{at}", at, at, 1.0)) for at in range(number)])  # a status is a text
        assert session.journal.query("SELECT count(*) AS n FROM invocations WHERE status = '7'") == [{"n": 1}]
