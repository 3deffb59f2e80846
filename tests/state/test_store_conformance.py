"""What a store promises, on each database: a SQLite file, Postgres, and Postgres behind PgBouncer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.conformance import validate
from langgraph.checkpoint.conformance.initializer import checkpointer_test
from langgraph.types import Command

from cluster.pgbouncer import PgBouncer
from cluster.postgres import PostgresServer
from stepgraph import Session
from stepgraph.errors import StepgraphError, StoreError, ThreadBusy
from stepgraph.state.blobs import referring
from stepgraph.state.journal.batches import Batch, BatchRequest, awaited, find_request, gather, keep_results
from stepgraph.state.journal.effects import (
    EffectRecord,
    Started,
    begin_effect,
    decide_effect,
    end_effect,
    find_effect,
    open_effects,
)
from stepgraph.state.journal.records import Call, CallKey, Decision, NodeRun, Retrieval
from stepgraph.state.journal.retrievals import find_retrieval
from stepgraph.state.journal.waits import WaitRecord, begin_wait, end_wait, threads_due, waits_of
from stepgraph.tracing import diff, fork, read_history, read_run
from stepgraph.tracing.record.prune import PruneFilter, choose, delete_checkpoints, delete_threads
from stepgraph.tracing.record.read_spans import read_spans
from stepgraph.tracing.record.reads import records
from stepgraph.tracing.record.threads import Search, count_threads, list_threads

from ..tracing.travels import asking, first_run, graph

PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
CALL = Call(
    id="1",
    thread_id="t",
    task="write:1",
    path="write",
    step="write",
    role=None,
    request_hash="h",
    occurrence=0,
    attempt=1,
    status="answered",
    model_asked="m",
    messages="[]",
    params="{}",
    latency_s=0.1,
    started_at=1.0,
    answer="Boil.",
    input_tokens=7,
    output_tokens=3,
    cost_usd=0.1,
)
KEY = CallKey("t", CALL.task, "h", 0)
Place = Callable[[str], Any]


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.sqlite_file("Postgres is another parameter")),
        pytest.param("postgres", marks=pytest.mark.xdist_group("cluster")),
        pytest.param("pgbouncer", marks=pytest.mark.xdist_group("cluster")),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Return what names an empty database of the kind, the same for the same name."""
    if request.param == "sqlite":
        yield lambda name: tmp_path / f"{name}.sqlite"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    way = str
    if request.param == "pgbouncer":
        bouncer: PgBouncer = request.getfixturevalue("pgbouncer")
        way = bouncer.url
    url = server.lend()
    yield lambda name: f"{way(url)}?schema={name}"
    server.take_back(url)


@pytest.fixture
def session(place: Place) -> Iterator[Session]:
    with Session(place("runs")) as session:
        yield session


@pytest.fixture
def other(session: Session, place: Place) -> Iterator[Session]:
    """The session of another process, so to speak."""
    with Session(place("runs")) as other:
        yield other


# The store: statements, transactions, values


def _run(thread: str, at: float = 1.0) -> tuple[str, tuple[Any, ...]]:
    sql = "INSERT INTO runs (thread_id, status, started_at, updated_at) VALUES (?, 'done', ?, ?)"
    return sql, (thread, at, at)


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


@pytest.mark.parametrize("sql", ["DELETE FROM runs", "UPDATE runs SET status = 'x'", "DROP TABLE runs"])
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
    with pytest.raises(Exception, match=r"(?i)read-?only"):
        reader.query("DELETE FROM runs")
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
    for session in opened:
        session.close()


# The journal: calls, costs, images, waits, batches, effects


async def test_an_answer_is_found_again_and_the_first_one_stays(session: Session, other: Session) -> None:
    assert await session.journal.find_answer(KEY) is None
    await session.journal.commit_call(CALL)
    assert await other.journal.find_answer(KEY) == CALL
    await other.journal.commit_call(replace(CALL, id="2", answer="Steep."))
    found = await session.journal.find_answer(KEY)
    assert found is not None
    assert found.answer == "Boil."
    assert await session.journal.find_answer(replace(KEY, occurrence=1)) is None
    assert await session.journal.find_answer(replace(KEY, thread_id="u")) is None
    other.journal.flush()
    assert session.journal.query("SELECT count(*) AS n FROM replays") == [{"n": 2}]


async def test_answers_of_one_moment_are_all_kept(session: Session, other: Session) -> None:
    calls = [replace(CALL, id=str(number), occurrence=number) for number in range(300)]
    await asyncio.gather(*map(session.journal.commit_call, calls))
    assert other.journal.query("SELECT count(*) AS n, sum(cost_picos) AS c FROM calls") == [
        {"n": 300, "c": 30 * 10**12}
    ]
    assert other.journal.spent("t").known_usd == 30


async def test_images_are_kept_once_and_read_by_anyone(session: Session, other: Session) -> None:
    text = referring(f'[{{"role": "user", "content": "{PNG}"}}]')
    for number in range(3):
        await session.journal.commit_call(replace(CALL, id=str(number), occurrence=number, messages=text))
    (blob,) = other.journal.query("SELECT sha256, size FROM blobs")
    assert len(other.journal.blob(blob["sha256"])) == blob["size"]
    (row, *_) = other.journal.query("SELECT messages FROM calls")
    assert PNG not in row["messages"]
    assert PNG in other.journal.whole(row["messages"])
    with pytest.raises(StoreError):
        other.journal.blob("0" * 64)
    delete_threads(other, ["t"])
    assert session.journal.query("SELECT count(*) AS n FROM blobs") == [{"n": 0}]


async def test_retrievals_waits_and_batches_are_found_by_another_process(
    session: Session, other: Session
) -> None:
    journal = session.journal
    found = Retrieval("r", "t", "look:1", "look", "look", "h", "found", "shelf", "tea?", 0.1, 1.0, "[]", 0, 0)
    await journal.aadd(found)
    assert await find_retrieval(other.journal, "t", "look:1", "look", "h") == []
    wait = WaitRecord("t", "w:1", "w", "wait", 5.0, "waiting", 1.0, None)
    assert await begin_wait(journal, wait) == wait
    assert await begin_wait(other.journal, replace(wait, due=9.0)) == wait
    assert (threads_due(other.journal, 4.0), threads_due(other.journal, 5.0)) == ([], ["t"])
    await end_wait(journal, wait, "over", session.now())
    assert [each.status for each in waits_of(other.journal, "t", "wait")] == ["over"]
    assert waits_of(other.journal, "t", "review") == []
    journal.write([_run("t"), ("UPDATE runs SET status = 'running'", ())])
    await gather(journal, Batch("b", "openai", "x", "m", 1, "submitted"), [BatchRequest("q", "b", *_place())])
    request = await find_request(other.journal, KEY, "write", _nobody)
    assert request is not None
    assert [item.calls for item in awaited(other.journal, ["t"])["t"]] == [1]
    await keep_results(other.journal, "b", {"q": "{}"}, None)
    await journal.commit_call(replace(CALL, batch_request="q"))
    assert await find_request(journal, KEY, "write", _nobody) is None


def _place() -> tuple[Any, ...]:
    return "t", CALL.task, "write", "write", "h", 0


async def _nobody(namespace: str) -> list[str]:
    return []


async def test_an_effect_begins_once_whoever_tries(session: Session, other: Session) -> None:
    journals = [session.journal, other.journal] * 4
    begun = await asyncio.gather(
        *(begin_effect(each, "k", f"t{number}", "mail", again=False) for number, each in enumerate(journals))
    )
    (mine,) = (each for each in begun if isinstance(each, Started))
    assert [effect.key for effect in open_effects(other.journal)] == ["k"]
    again = await begin_effect(other.journal, "k", "t", "mail", again=True)
    assert isinstance(again, Started)
    await end_effect(session.journal, mine, '{"update": {}}')  # it is not its own any more
    assert [effect.key for effect in open_effects(session.journal)] == ["k"]
    await end_effect(session.journal, again, '{"update": {}}')
    done = await begin_effect(other.journal, "k", "t", "mail", again=True)
    assert isinstance(done, EffectRecord)
    decided = decide_effect(other.journal, "k", happened=False)
    assert decided.status == "done"
    assert find_effect(session.journal, "k") is None


# Threads: claims, checkpoints, spans, forks, pruning


def test_a_thread_is_claimed_once(session: Session, other: Session) -> None:
    session.claims.acquire("t")
    with pytest.raises(ThreadBusy, match="'t'"):
        other.claims.acquire("t")
    other.claims.acquire("u")
    assert other.claims.is_run("t")
    session.claims.release("t")
    other.claims.acquire("t")
    with pytest.raises(ThreadBusy):
        session.claims.acquire("t")
    other.claims.release("t")
    other.claims.release("u")
    assert not session.claims.is_run("t")


async def test_the_checkpointer_does_all_that_langgraph_asks_of_one(place: Place) -> None:
    made = iter(range(1000))

    @checkpointer_test(name="SessionCheckpointer")
    async def saver() -> Any:
        with Session(place(f"saver_{next(made)}")) as session:
            yield session.checkpointer

    report = await validate(saver)
    assert {name: result.failures for name, result in report.results.items() if not result.passed} == {}
    assert len(report.results) >= 8


def test_a_run_is_resumed_and_read_back_by_another_process(session: Session, other: Session) -> None:
    app = first_run(session)
    with asking():
        done = app.invoke(Command(resume="yes"), other.config("t"))
    assert done["approved"] == "yes"
    spans = read_spans(session.journal.query, "t")
    shown = [(span.kind, span.path, span.status) for span in spans]
    assert shown[0][0] == "run"
    assert sum(kind == "call" for kind, _, _ in shown) == 9
    assert {span.status for span in spans} <= {"done", "interrupted"}
    assert all(span.checkpoint_id for span in spans if span.kind == "node")
    run = read_run(other, "t")
    assert (run.thread.cost.calls, run.thread.status) == (9, "done")
    assert len(read_history(other, "t")) == len(read_history(session, "t")) > 4


def test_a_fork_shares_and_a_pruned_thread_leaves_it(session: Session, other: Session) -> None:
    first_run(session)
    copy = fork(other, "t", new_thread="copy")
    assert copy == "copy"
    assert session.journal.query(
        "SELECT calls, shared, cost_usd FROM run_costs WHERE thread_id = 'copy'"
    ) == [{"calls": 9, "shared": 9, "cost_usd": 0.0}]
    assert diff(session, "t", "copy")
    assert [thread.thread_id for thread in list_threads(other.journal, order="costliest")] == ["t", "copy"]
    assert count_threads(other.journal, Search("COP")) == 1
    assert {row["record"] for row in records(other, ["t"])} >= {"run", "call", "node_run", "decision"}
    chosen = choose(other, PruneFilter(["t"]))
    assert [(each.thread_id, each.calls) for each in chosen] == [("t", 9)]
    before = chosen[0].checkpoints
    delete_threads(other, ["t"])
    assert choose(session, PruneFilter())[0].checkpoints <= before
    assert [thread.thread_id for thread in list_threads(session.journal)] == ["copy"]
    with asking():
        done = graph().invoke(Command(resume="yes"), session.config("copy"))
    assert done["approved"] == "yes"
    assert delete_checkpoints(other, ["copy"]) > 3
    assert read_history(session, "copy")


def test_node_runs_and_views_add_up(session: Session) -> None:
    first_run(session)
    session.journal.add(NodeRun("t", "late:1", "late", "late", 9, "failed", None, "broken", 1.0, 2.0))
    sums = "sum(calls) AS calls, sum(input_tokens) AS tokens, sum(cost_usd) AS usd"
    (whole,) = session.journal.query(
        "SELECT count(*) AS calls, sum(input_tokens) AS tokens, sum(cost_usd) AS usd FROM calls"
    )
    for view in ("steps", "costs_by_step", "run_costs"):
        assert session.journal.query(f"SELECT {sums} FROM {view}") == [pytest.approx(whole)], view
    assert session.journal.query("SELECT * FROM budgets") == []
