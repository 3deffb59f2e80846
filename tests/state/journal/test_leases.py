"""A claim is a lease on the database's clock, with an epoch that only grows; in a file and in Postgres."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import interrupt

from stepgraph import Ask, ScriptedModel, Session, aresume, arun, chain, step, using
from stepgraph.errors import ClaimLost, InputError, StoreError, ThreadBusy
from stepgraph.state.journal.records import Call, ThreadStatement, insert

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
    answer="first",
    cost_usd=0.25,
)


@dataclass
class Note:
    text: str = ""
    more: str = ""


@step("text")
def ask(note: Note) -> Ask[str]:
    return Ask("something")


def wait(note: Note) -> dict[str, Any]:
    return {"more": interrupt("?")}


waits = chain(ask, wait, name="waits").compile()


@pytest.fixture(params=["file", "postgres_url"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return tmp_path / "runs.sqlite" if request.param == "file" else request.getfixturevalue("postgres_url")


@pytest.fixture
def owners(database: Any) -> Iterator[tuple[Session, Session]]:
    with Session(database) as one, Session(database) as other:
        yield one, other


@pytest.fixture(autouse=True)
def _unsure(monkeypatch: pytest.MonkeyPatch) -> None:
    """No claim is sure by this machine's clocks alone, and none is renewed by itself."""
    monkeypatch.setattr("stepgraph.state.journal.claims.RENEW_S", 1000.0)


def lease(session: Session) -> dict[str, Any]:
    (row,) = session.journal.query("SELECT * FROM claims WHERE thread_id = 't'")
    return row


def expire(session: Session) -> None:
    session.journal.write([("UPDATE claims SET expires_at = 1", ())])


def test_the_epoch_grows_with_every_claim_and_stays(owners: tuple[Session, Session]) -> None:
    for epoch, session in enumerate((*owners, *owners), 1):
        session.claims.acquire("t")
        assert (lease(session)["epoch"], session.claims.epoch_of("t")) == (epoch, epoch)
        session.claims.release("t")
        assert (lease(session)["epoch"], session.claims.epoch_of("t")) == (epoch, None)
    expire(owners[0])
    owners[0].claims.acquire("t")
    assert lease(owners[0])["epoch"] == 5


def test_it_ends_by_the_databases_clock(
    owners: tuple[Session, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner whose clock is an hour fast or slow holds and takes what any other does."""
    one, other = owners
    for wrong_s in (-3600.0, 3600.0):
        with monkeypatch.context() as patch:
            now = time.time
            patch.setattr(time, "time", lambda now=now, wrong_s=wrong_s: now() + wrong_s)
            one.claims.acquire("t")
            assert 0 < lease(one)["expires_at"] - now() < 60
        with pytest.raises(ThreadBusy, match=r"its claim ends by itself in \d\.\d s"):
            other.claims.acquire("t")
        assert other.claims.is_run("t")
        one.claims.release("t")
        assert not other.claims.is_run("t")


def test_what_a_run_wrote_last_is_fenced_though_it_gave_its_claim_back(
    owners: tuple[Session, Session],
) -> None:
    one, other = owners
    one.claims.acquire("t")
    one.journal.start_run("t")
    one.journal.flush()
    expire(other)
    other.claims.acquire("t")
    one.journal.end_run("t", "done", of_run=True)
    one.claims.release("t")
    one.journal.flush()
    assert other.journal.query("SELECT status FROM runs") == [{"status": "running"}]
    assert other.claims.is_run("t")
    other.claims.check("t")


async def test_giving_many_claims_back_looks_at_each_of_them_twice_at_most(
    owners: tuple[Session, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each is remembered until it is committed, since what waits in front of it is fenced by it."""
    one, _ = owners
    threads = [str(number) for number in range(30)]
    for thread in threads:
        await one.claims.aacquire(thread)
    monkeypatch.setattr(one.journal, "try_flush", lambda: None)  # so all of them wait together
    looked = []
    is_waiting = one.journal.store.is_waiting
    monkeypatch.setattr(one.journal.store, "is_waiting", lambda each: looked.append(each) or is_waiting(each))
    for thread in threads:
        one.claims.release(thread)
    assert list(one.claims._released) == threads
    await one.journal.aflush()
    await one.claims.aacquire("last")
    one.claims.release("last")
    assert list(one.claims._released) == ["last"]
    assert len(looked) <= 2 * (len(threads) + 1)


def test_a_claim_that_another_ended_is_lost(owners: tuple[Session, Session]) -> None:
    one, other = owners
    one.claims.acquire("t")
    other.claims.end("t", [one.claims.worker_name()])
    with pytest.raises(ClaimLost):
        one.claims.check("t")
    other.claims.acquire("t")
    other.claims.check("t")


async def test_an_answer_is_kept_as_superseded_once_its_owner_was_taken_over(
    owners: tuple[Session, Session],
) -> None:
    one, other = owners
    told: list[str] = []
    one.journal.listeners.append(lambda record: told.append(getattr(record, "status", "")))
    one.claims.acquire("t")
    expire(other)
    other.claims.acquire("t")
    with pytest.raises(ClaimLost):
        await one.journal.commit_call(CALL)
    await other.journal.commit_call(replace(CALL, id="2", answer="second"))
    await one.journal.commit_call(replace(CALL, id="3", thread_id="u"))  # nobody's thread
    rows = other.journal.query("SELECT id, status, cost_usd FROM calls ORDER BY id")
    assert rows == [
        {"id": "1", "status": "superseded", "cost_usd": 0.25},
        {"id": "2", "status": "answered", "cost_usd": 0.25},
        {"id": "3", "status": "answered", "cost_usd": 0.25},
    ]
    assert told == ["superseded", "answered"]
    assert other.spent("t").usd == 0.5
    (seen,) = other.journal.query("SELECT cost_usd FROM run_costs WHERE thread_id = 't'") or [None]
    assert seen is None or seen["cost_usd"] == 0.5


async def test_what_a_batch_brought_is_paid_once_whoever_collects_it(owners: tuple[Session, Session]) -> None:
    one, other = owners
    one.claims.acquire("t")
    expire(other)
    other.claims.acquire("t")
    with pytest.raises(ClaimLost):
        await one.journal.commit_call(replace(CALL, batch_request="r"))
    await other.journal.commit_call(replace(CALL, id="2", batch_request="r"))
    assert other.spent("t").usd == 0.25


@pytest.mark.parametrize("heartbeat_s", [0, 0.01, -1.0, 1e9, float("nan")])
def test_how_long_a_claim_lives_has_bounds(tmp_path: Path, heartbeat_s: float) -> None:
    with pytest.raises(InputError, match="heartbeat_s"):
        Session(tmp_path / "runs.sqlite", heartbeat_s=heartbeat_s)


def test_a_claim_lives_as_long_as_its_session_says(database: Any) -> None:
    with Session(database, heartbeat_s=100.0) as session:
        session.claims.acquire("t")
        (row,) = session.journal.query(
            f"SELECT expires_at - {session.journal.dialect.now} AS left_s FROM claims"
        )
        assert 60 < row["left_s"] <= 100


def test_a_fence_fails_where_a_lease_is_lost(owners: tuple[Session, Session], database: Any) -> None:
    one, other = owners
    for thread in ("t", "u"):
        one.claims.acquire(thread)
    statements = [insert(replace(CALL, id=thread, thread_id=thread)) for thread in ("t", "u", "free")]
    passes = one.claims.fence(statements)
    assert passes is not None
    assert one.journal.query(*passes)[0].popitem()[1] == 1
    other.claims.end("u", [one.claims.worker_name()])
    other.claims.acquire("u")
    if one.journal.dialect.name == "postgresql":
        with pytest.raises(StoreError, match="division by zero"):
            one.journal.query(*passes)
    else:
        assert one.journal.query(*passes)[0].popitem()[1] is None
    assert one.claims.fence([ThreadStatement(("", ()), "t", of_run=False)]) is None
    assert one.claims.fence(statements[2:]) is None


async def test_a_query_sees_what_was_written_beside_a_run_that_has_lost_its_thread(
    owners: tuple[Session, Session],
) -> None:
    """Nothing of what waits can be written as it stands: it is written apart, and only then is it read."""
    one, other = owners
    for thread in ("t", "u"):
        one.claims.acquire(thread)
    other.claims.end("u", [one.claims.worker_name()])
    other.claims.acquire("u")
    for thread in ("t", "u"):
        one.journal.add_later(insert(replace(CALL, id=thread, thread_id=thread)))
    rows = await one.journal.aquery("SELECT thread_id, status FROM calls ORDER BY thread_id")
    assert [(row["thread_id"], row["status"]) for row in rows] == [("t", "answered"), ("u", "superseded")]


async def test_a_resume_waits_for_a_dead_owners_claim_and_not_for_a_living_ones(postgres_url: str) -> None:
    given = Note()
    with Session(postgres_url, heartbeat_s=0.5) as dead, using(ScriptedModel(lambda *_: "kept")):
        await arun(waits, given, dead, "t")
        dead.claims.acquire("t")
        dead.claims._stop.set()  # as kill -9 stops it
        with Session(postgres_url) as other, Session(postgres_url, heartbeat_s=30.0) as living:
            assert (await aresume(waits, other, "t", answer="yes")).values["more"] == "yes"
            living.claims.acquire("t")
            renewing = asyncio.create_task(renewed(living))
            with pytest.raises(ThreadBusy):
                await arun(waits, given, other, "t", restart=True)
            await asyncio.wait_for(other.claims.until_known("t"), 25)  # it takes 30 s where nobody renews
            renewing.cancel()


async def renewed(session: Session) -> None:
    while True:
        await asyncio.sleep(0.05)
        await asyncio.to_thread(session.claims._renew_all)
