"""A process that stands still while it sends a transaction keeps nobody waiting for long."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg
import pytest

from cluster.postgres import PostgresServer
from stepgraph import Session
from stepgraph.state.journal.postgres import unblocking

LIMIT_S = 60.0  # what stood still before stood for ever
LOCK = b"SELECT 1 FROM stepgraph.claims WHERE thread_id = 't' FOR SHARE"
STANDS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state = 'active' "
    "AND wait_event = 'ClientRead' AND query LIKE '%%FOR SHARE'"
)
LOCKS = "SELECT 1 FROM pg_locks WHERE relation = 'public.theirs'::regclass"
WAITS = "SELECT 1 FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
ENDS = (
    unblocking._END.replace("SELECT pg_terminate_backend(still.pid)", "SELECT still.pid", 1)
    .replace("$1", "0")
    .replace("$2", "'stepgraph'")
    .encode()
)


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unblocking, "LOOK_S", 0.02)
    monkeypatch.setattr(unblocking, "STILL_S", 0.1)


@pytest.fixture
def session(postgres_url: str) -> Iterator[Session]:
    with Session(postgres_url) as opened:
        opened.claims.acquire("t")
        opened.claims.release("t")
        yield opened


@pytest.fixture(params=["postgres_url", "pgbouncer_url"])
def stopped(
    request: pytest.FixtureRequest, session: Session, postgres_url: str, postgres_server: PostgresServer
) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection whose process stopped: the first statement of a transaction has come, not its end."""
    with closing(psycopg.connect(request.getfixturevalue(request.param), autocommit=True)) as connection:
        link = connection.pgconn
        link.enter_pipeline_mode()
        link.send_query_params(LOCK, None)
        assert link.flush() == 0
        name = postgres_url.rpartition("/")[2]
        while postgres_server.admin.execute(STANDS, [name]).fetchone() == (0,):
            pass
        yield connection


@pytest.mark.usefixtures("impatient", "stopped")
async def test_a_thread_is_taken_over_from_a_process_that_stopped_while_it_sent(session: Session) -> None:
    await asyncio.wait_for(session.claims.aacquire("t"), LIMIT_S)


@pytest.mark.usefixtures("impatient", "stopped")
async def test_what_needs_many_rounds_goes_past_a_process_that_stopped_while_it_sent(
    session: Session,
) -> None:
    ended = ("UPDATE claims SET pid = 0 WHERE thread_id = 't'", ())
    await asyncio.wait_for(session.journal.store.atransact(lambda db: db.execute(*ended)), LIMIT_S)


@pytest.mark.usefixtures("impatient")
async def test_who_is_at_work_while_others_wait_is_left_alone(session: Session, postgres_url: str) -> None:
    """A statement that takes its time, and a transaction that is open between its rounds."""
    with (
        closing(psycopg.connect(postgres_url)) as busy,
        closing(psycopg.connect(postgres_url, autocommit=True)) as looks,
    ):
        busy.execute(LOCK)
        takes = asyncio.create_task(session.claims.aacquire("t"))
        while not looks.execute(WAITS).fetchall():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        assert looks.execute(ENDS).fetchall() == []
        works = threading.Thread(target=busy.execute, args=("SELECT pg_sleep(0.5)",))
        works.start()
        while works.is_alive():
            assert looks.execute(ENDS).fetchall() == []
            await asyncio.sleep(0.01)
        busy.commit()
        await asyncio.wait_for(takes, LIMIT_S)


@pytest.mark.usefixtures("session")
def test_other_programs_of_the_same_user_are_left_alone(postgres_url: str) -> None:
    """Such as one that copies slowly into a table of its own for which another one waits."""
    connected = partial(psycopg.connect, postgres_url, autocommit=True)
    with closing(connected()) as stands, closing(connected()) as waits, closing(connected()) as looks:
        looks.execute("CREATE TABLE public.theirs AS SELECT 1 AS number")
        stands.pgconn.enter_pipeline_mode()
        stands.pgconn.send_query_params(b"SELECT * FROM public.theirs FOR UPDATE", None)
        assert stands.pgconn.flush() == 0
        while not looks.execute(
            "SELECT 1 FROM pg_locks WHERE relation = 'public.theirs'::regclass"
        ).fetchall():
            assert stands.pgconn.status == psycopg.pq.ConnStatus.OK
        waiting = threading.Thread(target=waits.execute, args=("UPDATE public.theirs SET number = 2",))
        waiting.start()
        while not looks.execute(WAITS).fetchall():
            pass
        assert looks.execute(ENDS).fetchall() == []
        stands.close()
        waiting.join()


def test_what_a_thread_begins_to_send_for_an_event_loop_is_sent_to_its_end(session: Session) -> None:
    """More than the socket takes at once: the loop has to watch for when it takes more."""
    store = session.journal.store
    large = ("UPDATE claims SET host = ? WHERE thread_id = 't'", ("x" * 16_000_000,))
    loop = asyncio.new_event_loop()
    try:
        with socket.socket(fileno=socket.dup(store._traffic._wire.handle)) as small:  # type: ignore[attr-defined]
            small.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        thread = threading.Thread(target=store.rows, args=("SELECT pg_sleep(1)",))
        thread.start()
        while not store._traffic.is_busy:  # type: ignore[attr-defined]
            pass
        written = loop.create_task(store.awrite([large]))
        for _ in range(5):
            loop.run_until_complete(asyncio.sleep(0))
        thread.join()  # while the loop stands, it takes the first answer, and sends what waits
        loop.run_until_complete(asyncio.wait_for(written, LIMIT_S))
    finally:
        loop.close()
    assert store.rows("SELECT length(host) FROM claims") == [(16_000_000,)]
