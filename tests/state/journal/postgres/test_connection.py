"""The connection to Postgres: one for a process, whoever uses it, and another one where it was lost."""

from __future__ import annotations

import asyncio
import multiprocessing
import select
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cluster.postgres import PostgresServer
from stepgraph import Session
from stepgraph.state.errors import StoreError
from stepgraph.state.journal.postgres import reconnecting
from stepgraph.state.journal.records import Call, CallKey


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(params=["postgres_url", "pgbouncer_url"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    with Session(url) as opened:
        yield opened


def call_of(number: int, answer: str = "yes", thread: str = "t") -> Call:
    return Call(
        id=f"{thread}-{number}",
        thread_id=thread,
        task="n:1",
        path="n",
        step="s",
        role=None,
        request_hash=f"h{number}",
        occurrence=0,
        attempt=1,
        status="answered",
        model_asked="m",
        messages="[]",
        params="{}",
        latency_s=0.5,
        started_at=float(number),
        answer=answer,
        input_tokens=7,
        cost_usd=0.25,
    )


def key_of(number: int, thread: str = "t") -> CallKey:
    return CallKey(thread, "n:1", f"h{number}", 0)


def connections(server: PostgresServer, url: str) -> set[int]:
    name = url.rpartition("/")[2].partition("?")[0]
    sql = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
    return {row[0] for row in server.admin.execute(sql, [name]).fetchall()}


async def test_what_is_kept_comes_back_as_it_was(session: Session) -> None:
    texts = ["\0", "a\0b\u2400c\0\0\u24000", "\u2400\u24001", "😀\udc80", "%s ? $1 '", ""]
    journal = session.journal
    for number, text in enumerate(texts):
        await journal.commit_call(call_of(number, text))
    found = [await journal.find_answer(key_of(number)) for number in range(len(texts))]
    assert [call.answer for call in found if call] == [
        text.encode("utf-8", "replace").decode() for text in texts
    ]
    (row,) = await journal.aquery(
        "SELECT count(*) AS n, sum(input_tokens) AS tokens, sum(cost_picos) AS picos, sum(cost_usd) AS usd, "
        "max(answer) AS text FROM calls WHERE thread_id = ?",
        ("t",),
    )
    assert (row["n"], row["tokens"], row["picos"], row["usd"]) == (6, 42, 1_500_000_000_000, 1.5)
    assert [type(row[name]) for name in ("n", "tokens", "picos", "usd")] == [int, int, int, float]
    await journal.awrite([("UPDATE calls SET input_tokens = ? WHERE id = ?", (2**70, "t-0"))])
    assert (await journal.aquery("SELECT max(input_tokens) AS n FROM calls"))[0]["n"] == 2**63 - 1


def test_all_threads_and_event_loops_share_one_connection(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    others = connections(postgres_server, postgres_url)  # PgBouncer's, of a test before
    with Session(postgres_url) as session:
        use_everywhere(session)
        assert len(connections(postgres_server, postgres_url) - others) == 1
    while connections(postgres_server, postgres_url) - others:  # the server notices in a moment
        pass
    with pytest.raises(StoreError, match="closed"):
        session.journal.query("SELECT 1 AS n")


def test_threads_and_event_loops_go_through_pgbouncer(pgbouncer_url: str) -> None:
    with Session(pgbouncer_url) as session:
        use_everywhere(session)


def use_everywhere(session: Session) -> None:
    def in_loop(thread: int) -> int:
        async def work() -> int:
            kept = [session.journal.commit_call(call_of(n, thread=f"loop-{thread}")) for n in range(30)]
            await asyncio.gather(*kept)
            rows = await session.journal.aquery(
                "SELECT count(*) AS n FROM calls WHERE thread_id = ?", (f"loop-{thread}",)
            )
            return int(rows[0]["n"])

        return asyncio.run(work())

    def in_thread(thread: int) -> int:
        for n in range(30):
            session.journal.add(call_of(n, thread=f"thread-{thread}"))
        sql = "SELECT count(*) AS n FROM calls WHERE thread_id = ?"
        return int(session.journal.query(sql, (f"thread-{thread}",))[0]["n"])

    def in_transaction(thread: int) -> int:
        def add(transaction: Any) -> int:
            names = "thread_id, task, name, kind, due, status, started_at"
            (row,) = transaction.execute("SELECT count(*) AS n FROM waits WHERE thread_id = 'x'")
            values = ("x", str(row["n"]), "w", "wait", 1.0, "waiting", 1.0)
            return len(
                transaction.execute(
                    f"INSERT INTO waits ({names}) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING task", values
                )
            )

        return 29 + sum(session.journal.transact(add) for _ in range(1))

    works: list[Callable[[int], int]] = [in_loop, in_thread, in_transaction]
    with ThreadPoolExecutor(9) as pool:
        assert set(pool.map(lambda n: works[n % 3](n), range(9))) == {30}
    (row,) = session.journal.query("SELECT count(*) AS n FROM waits WHERE thread_id = 'x'")
    assert row["n"] == 3


async def test_a_lost_connection_is_made_anew_and_nothing_is_lost(
    session: Session, url: str, postgres_server: PostgresServer
) -> None:
    for number in range(6):
        for pid in connections(postgres_server, url):
            postgres_server.admin.execute("SELECT pg_terminate_backend(%s)", [pid])
        if number % 2:
            await session.journal.commit_call(call_of(number))
        else:
            await asyncio.to_thread(session.journal.write, [])
            session.journal.add(call_of(number))
    rows = await session.journal.aquery("SELECT id FROM calls ORDER BY started_at")
    assert [row["id"] for row in rows] == [f"t-{number}" for number in range(6)]
    session.journal.check_writable()


async def test_answers_in_flight_outlast_a_restart(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    with Session(postgres_url) as session:
        await session.journal.commit_call(call_of(0))
        kept = [asyncio.create_task(session.journal.commit_call(call_of(n))) for n in range(1, 40)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        postgres_server.restart("immediate")
        await asyncio.gather(*kept)
        assert len(await session.journal.aquery("SELECT id FROM calls")) == 40
        session.claims.acquire("t")
        session.claims.release("t")


async def test_without_a_database_no_model_is_asked_and_what_is_paid_is_kept_here(
    postgres_url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reconnecting, "WAIT_S", 0.1)
    with Session(postgres_url) as session:
        await session.journal.commit_call(call_of(0))
        postgres_server.stop("immediate")
        with pytest.raises(StoreError, match="What was paid for is not lost: 1 calls are kept in"):
            await session.journal.commit_call(call_of(1))
        with pytest.raises(StoreError, match="No model is asked as long as its answer cannot be kept"):
            session.journal.check_writable()
        assert len(list((tmp_path / "state").rglob("*.spill"))) == 1
        with pytest.raises(StoreError, match="cannot be reached") as away:
            Session(postgres_url)
        assert "\n" not in str(away.value)
        postgres_server.start()
        while True:
            try:
                session.journal.check_writable()
            except StoreError:
                await asyncio.sleep(0.05)
            else:
                break
        assert (await session.journal.find_answer(key_of(1))) is not None
    assert list((tmp_path / "state").rglob("*.spill")) == []


@pytest.fixture
def read_only(postgres_url: str, postgres_server: PostgresServer) -> Iterator[Callable[[bool], None]]:
    """What has the database take no writes, as the first server of a pair after a failover."""
    name = postgres_url.rpartition("/")[2]

    def change(to: bool) -> None:
        postgres_server.admin.execute(
            f"ALTER DATABASE {name} SET default_transaction_read_only = {to}".encode()
        )
        for pid in connections(postgres_server, postgres_url):
            postgres_server.admin.execute("SELECT pg_terminate_backend(%s)", [pid])

    yield change
    change(False)


async def test_a_server_that_takes_no_writes_is_waited_for(
    postgres_url: str, read_only: Callable[[bool], None]
) -> None:
    with Session(postgres_url) as session:
        read_only(True)
        works: list[Any] = [session.journal.commit_call(call_of(n)) for n in range(2)]
        waiting = [asyncio.create_task(work) for work in (*works, session.claims.aacquire("t"))]
        assert await asyncio.wait(waiting, timeout=1.0) == (set(), {*waiting})
        read_only(False)
        await asyncio.gather(*waiting)
        assert len(await session.journal.aquery("SELECT id FROM calls")) == 2


async def test_a_server_that_takes_no_writes_for_long_is_told(
    postgres_url: str, read_only: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconnecting, "WAIT_S", 0.1)
    told = "takes no writes: it is a standby, or set to be read only"
    with Session(postgres_url) as session:
        read_only(True)
        with pytest.raises(StoreError, match=told):
            await session.claims.aacquire("t")
        read_only(False)


async def test_what_the_server_ends_after_a_time_says_so(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    with Session(postgres_url) as session:
        name = postgres_url.rpartition("/")[2]
        postgres_server.admin.execute(f"ALTER DATABASE {name} SET statement_timeout = '1s'".encode())
        for pid in connections(postgres_server, postgres_url):
            postgres_server.admin.execute("SELECT pg_terminate_backend(%s)", [pid])
        try:
            with pytest.raises(StoreError, match="statement timeout"):
                await session.journal.aquery("SELECT pg_sleep(60)")
            await session.journal.commit_call(call_of(0))
        finally:
            postgres_server.admin.execute(f"ALTER DATABASE {name} RESET statement_timeout".encode())


class Hiding:
    """A libpq over TLS: what its socket had is there only after some more reads, of OpenSSL's own buffer."""

    ssl_in_use = True

    def __init__(self, link: Any, reads: int) -> None:
        self._link, self._reads, self._left = link, reads, 0

    def consume_input(self) -> None:
        has_news = select.select([self._link.socket], [], [], 0)[0]
        self._left = self._reads if has_news else max(0, self._left - 1)
        self._link.consume_input()

    def is_busy(self) -> bool:
        return self._left > 0 or self._link.is_busy()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)


@pytest.mark.parametrize("reads", [1, 3], ids=["one more read", "three more reads"])
async def test_an_answer_that_tls_has_decrypted_already_is_not_waited_for(
    postgres_url: str, reads: int
) -> None:
    with Session(postgres_url) as session:
        store: Any = session.journal.store
        wire = store._traffic._wire
        wire._link = Hiding(wire._link, reads)
        async with asyncio.timeout(60):
            for number in range(3):
                assert await session.journal.aquery(f"SELECT {number} AS n") == [{"n": number}]
        wire._link = wire._link._link


def test_a_forked_child_has_a_connection_of_its_own(session: Session) -> None:
    session.journal.add(call_of(0))

    def child() -> None:
        session.journal.add(call_of(1))
        session.close()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    session.journal.add(call_of(2))
    assert session.journal.query("SELECT count(*) AS n FROM calls")[0]["n"] == 3


async def test_one_bad_statement_spoils_no_other(session: Session) -> None:
    journal = session.journal
    kept = [journal.commit_call(call_of(n)) for n in range(5)]
    bad = journal.awrite([("UPDATE calls SET nothing = 1", ())])
    more = [journal.commit_call(call_of(n)) for n in range(5, 10)]
    outcomes = await asyncio.gather(*kept, bad, *more, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(StoreError) == 1
    assert isinstance(outcomes[5], StoreError)
    assert len(await journal.aquery("SELECT id FROM calls")) == 10
    with pytest.raises(StoreError, match="only reads"):
        journal.query("DELETE FROM calls")


def test_what_starts_a_thread_and_what_ends_it_stay_in_order(session: Session) -> None:
    journal = session.journal
    names = "thread_id, status, started_at, updated_at"
    statements: list[tuple[str, tuple[Any, ...]]] = []
    for number in range(20):
        thread = f"t{number % 5}"
        statements += [
            (
                f"INSERT INTO runs ({names}) VALUES (?, ?, ?, ?) ON CONFLICT (thread_id) "
                "DO UPDATE SET status = excluded.status",
                (thread, "running", 1.0, 1.0),
            ),
            ("UPDATE runs SET status = ?, updated_at = ? WHERE thread_id = ?", ("done", number, thread)),
            ("DELETE FROM exports WHERE thread_id = ?", (thread,)),
            ("INSERT INTO exports (destination, thread_id, spans) VALUES (?, ?, ?)", ("d", thread, b"1")),
        ]
    journal.write(statements)
    rows = journal.query("SELECT status, updated_at FROM runs ORDER BY thread_id")
    assert [(row["status"], row["updated_at"]) for row in rows] == [("done", 15.0 + n) for n in range(5)]
    assert journal.query("SELECT count(*) AS n FROM exports")[0]["n"] == 5


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda url: url.replace("stepgraph:", "stepgraph:no"), "the password is wrong"),
        (lambda url: f"{url}x", "does not exist"),
        (lambda url: f"{url}?sslmode=require", "TLS failed"),
        (lambda url: f"{url}?schema=no-name", "schema='no-name'"),
    ],
)
def test_what_keeps_it_from_connecting_is_said_in_one_line(
    postgres_url: str, change: Callable[[str], str], problem: str
) -> None:
    password = postgres_url.split(":")[2].split("@")[0]
    with pytest.raises(StoreError, match=problem) as told:
        Session(change(postgres_url))
    assert "\n" not in str(told.value)
    assert password not in f"{told.value!r} {told.value.__cause__!r}"


def test_many_processes_make_the_tables_at_once(url: str) -> None:
    def open_it() -> None:
        with Session(url) as session:
            session.journal.add(call_of(0, thread=multiprocessing.current_process().name))

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=open_it) for _ in range(10)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 10
    with Session(url) as session:
        assert session.journal.query("SELECT count(*) AS n FROM calls")[0]["n"] == 10


def test_tables_of_an_older_stepgraph_are_renewed_and_those_of_a_newer_one_refused(postgres_url: str) -> None:
    with Session(postgres_url) as session:
        session.journal.add(call_of(0))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE stepgraph.calls DROP COLUMN batch_request CASCADE")
        connection.execute("DROP TABLE stepgraph.waits")
        connection.execute("UPDATE stepgraph.format SET version = 1")
    with Session(postgres_url) as session:
        session.journal.add(call_of(1))
        assert session.journal.query("SELECT batch_request FROM calls") == [{"batch_request": None}] * 2
        assert session.journal.query("SELECT count(*) AS n FROM waits") == [{"n": 0}]
        assert len(session.journal.query("SELECT step FROM costs_by_step")) == 1
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE stepgraph.format SET version = 99")
    with pytest.raises(StoreError, match=r"newer stepgraph \(format 99"):
        Session(postgres_url)
