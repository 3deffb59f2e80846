"""What two sessions may do with each other's threads, known by locks beside a file or by leases alone."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.errors import ClaimLost, InputError, ThreadBusy
from stepgraph.state.journal import claims as module
from stepgraph.state.journal.claims import Claims
from stepgraph.state.journal.fencing import Problems
from stepgraph.state.journal.records import ThreadStatement

pytestmark = pytest.mark.sqlite_file("the same statements run in Postgres in test_leases.py")

LONG_S = 3600.0
ENOUGH_S = 60.0  # for what comes at once


class Two:
    """The claims of two sessions on one record."""

    def __init__(self, journals: list[Any]) -> None:
        self.journal = journals[0]
        self.one, self.other = (Claims(journal, LONG_S) for journal in journals)

    def row(self, thread_id: str = "t") -> dict[str, Any]:
        (row,) = self.journal.query("SELECT * FROM claims WHERE thread_id = ?", (thread_id,))
        return dict(row)

    def left_s(self, thread_id: str = "t") -> float:
        (row,) = self.journal.query(
            f"SELECT expires_at - {self.journal.dialect.now} AS s FROM claims WHERE thread_id = ?",
            (thread_id,),
        )
        return float(row["s"])

    def set_left(self, seconds: float) -> None:
        self.journal.write([(f"UPDATE claims SET expires_at = {self.journal.dialect.now} + ?", (seconds,))])


@pytest.fixture(params=["file", "leases"])
def two(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    with Session(tmp_path / "runs.sqlite") as one, Session(tmp_path / "runs.sqlite") as other:
        journals = [one.journal, other.journal]
        for journal in journals:
            monkeypatch.setattr(journal.store, "has_file", request.param == "file")
        two = Two(journals)
        yield two
        two.one.close()
        two.other.close()


@pytest.fixture
def unsure(monkeypatch: pytest.MonkeyPatch) -> None:
    """No claim is sure by this machine's clocks alone, and none is renewed by itself."""
    monkeypatch.setattr(module, "RENEW_S", 1000.0)


async def acquire(claims: Claims, thread_id: str, way: str) -> bool:
    return claims.acquire(thread_id) if way == "sync" else await claims.aacquire(thread_id)


async def check(claims: Claims, thread_id: str, way: str) -> None:
    if way == "sync":
        claims.check(thread_id)
    else:
        await claims.acheck(thread_id)


@pytest.mark.parametrize(
    ("heartbeat_s", "lives_s", "renewed_s"),
    [(None, 6.0, 2.0), (0.3, 0.3, 0.1), (30.0, 30.0, 10.0), (3600.0, 3600.0, 1200.0)],
)
def test_a_claim_is_renewed_three_times_in_its_life(
    tmp_path: Path, heartbeat_s: float | None, lives_s: float, renewed_s: float
) -> None:
    with Session(tmp_path / "runs.sqlite", heartbeat_s=heartbeat_s) as session:
        assert session.claims.lifetime_s == lives_s
        assert session.claims.renew_s == pytest.approx(renewed_s)


@pytest.mark.parametrize("heartbeat_s", [0.29, 3600.1])
def test_how_long_an_owner_may_be_silent_has_bounds(tmp_path: Path, heartbeat_s: float) -> None:
    with pytest.raises(InputError, match=rf"heartbeat_s is {heartbeat_s}: .* from 0.3 to 3600\."):
        Session(tmp_path / "runs.sqlite", heartbeat_s=heartbeat_s)


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_thread_has_one_owner_at_a_time(two: Two, way: str) -> None:
    assert await acquire(two.one, "t", way) is True
    said = rf"The thread 't' is being run by process {os.getpid()} on .*ends by itself in 3\d\d\d\.\d s"
    with pytest.raises(ThreadBusy, match=said):
        await acquire(two.other, "t", way)
    assert await acquire(two.other, "u", way) is True
    assert (two.one.epoch_of("t"), two.other.epoch_of("t"), two.one.epoch_of("u")) == (1, None, None)
    assert two.one.is_run("t")
    assert two.other.is_run("t")
    assert not two.one.is_run("nobody's")
    two.one.release("t")
    assert not two.other.is_run("t")
    two.journal.start_run("t", "a fingerprint")
    two.journal.flush()
    assert await acquire(two.other, "t", way) is False  # something is on record of it
    assert two.other.epoch_of("t") == 2


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_what_was_taken_over_is_lost_until_it_is_claimed_again(
    two: Two, unsure: None, way: str
) -> None:
    await check(two.one, "t", way)  # of a thread that nobody runs, too
    await acquire(two.one, "t", way)
    await check(two.one, "t", way)
    two.set_left(-1)
    await acquire(two.other, "t", way)
    with pytest.raises(ClaimLost, match="'t' is no longer run by this process: it stood still for too long"):
        await check(two.one, "t", way)
    assert two.one.epoch_of("t") is None
    await check(two.one, "u", way)
    await check(two.other, "t", way)
    two.other.release("t")
    await acquire(two.one, "t", way)
    await check(two.one, "t", way)
    assert two.one.epoch_of("t") == 3


@pytest.mark.parametrize(("expires_at", "is_live"), [(1000.5, True), (1000, False), (999.5, False)])
def test_a_claim_lives_to_its_end_by_the_databases_clock(
    two: Two, monkeypatch: pytest.MonkeyPatch, expires_at: float, is_live: bool
) -> None:
    monkeypatch.setattr(type(two.journal.dialect), "now", "1000.0")
    two.one.acquire("t")
    assert two.row()["expires_at"] == 1000 + LONG_S
    two.journal.write([("UPDATE claims SET expires_at = ?", (expires_at,))])
    assert two.other.is_run("t") is is_live
    if is_live:
        with pytest.raises(ThreadBusy, match=r"its claim ends by itself in 0\.5 s"):
            two.other.acquire("t")
    else:
        two.other.acquire("t")
        assert two.other.epoch_of("t") == 2


def test_what_is_known_of_a_new_thread_ends_with_its_claim(two: Two, unsure: None) -> None:
    for name in ("t", "u"):
        two.one.acquire(name)
        two.journal.new_threads.begin(name)
    two.one.release("t")
    assert "t" not in two.journal.new_threads
    assert "u" in two.journal.new_threads
    two.other.end("u", [two.one.worker_name()])
    with pytest.raises(ClaimLost):
        two.one.check("u")
    assert "u" not in two.journal.new_threads


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_claim_that_is_sure_is_not_looked_up(
    two: Two, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acquire(two.one, "t", way)
    looked: list[Any] = []
    monkeypatch.setattr(two.journal, "transact", looked.append)
    await check(two.one, "t", way)
    assert looked == []


def test_a_release_ends_nobody_elses_claim(two: Two) -> None:
    two.one.acquire("t")
    two.set_left(-1)
    two.other.acquire("t")
    two.one.release("t")
    two.one.release("u")  # it has none
    assert (two.left_s() > 0, two.row()["epoch"]) == (True, 2)


def test_who_ends_a_claim_takes_the_thread_from_its_owner(two: Two, unsure: None) -> None:
    two.one.acquire("t")
    two.one.acquire("u")
    two.other.end("t", [two.one.worker_name()])
    assert (two.row()["expires_at"], two.row()["epoch"]) == (0, 2)
    with pytest.raises(ClaimLost):
        two.one.check("t")
    assert two.row()["expires_at"] == 0  # it is not begun again
    two.one.check("u")


@pytest.mark.parametrize(
    "worker",
    ["worker-5f8bb51ed6ab-00c0ffee", "worker-5f8bb51ed6ab"],
    ids=["another one's", "of a version before"],
)
def test_who_ends_a_workers_claim_leaves_those_of_others(two: Two, unsure: None, worker: str) -> None:
    """Of workers of earlier versions nobody knows which claims are theirs: those end by themselves."""
    two.one.acquire("t")
    two.other.end("t", [worker])
    two.one.check("t")
    assert two.row()["epoch"] == 1


def test_all_claims_are_renewed_together_in_parts(
    two: Two, unsure: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    names = [f"t{number}" for number in range(5)]
    for name in names:
        two.one.acquire(name)
    two.set_left(50)
    two.one.check("t3")
    assert all(two.left_s(name) > 3000 for name in names)
    assert two.one.renewals == 5
    two.one.check("t3")
    assert two.one.renewals == 10


def test_the_end_of_a_session_releases_all(two: Two) -> None:
    for name in ("t", "u"):
        two.one.acquire(name)
    renewers = [each for each in threading.enumerate() if each.name == "stepgraph-claims"]
    assert all(each.daemon for each in renewers)  # they hold up the end of no process
    two.one.close()
    assert [two.row(name)["expires_at"] for name in ("t", "u")] == [0, 0]


def write(thread_id: str, *, of_run: bool = True) -> ThreadStatement:
    return ThreadStatement(("", ()), thread_id, of_run=of_run)


def test_only_what_may_have_changed_is_asked_before_a_write(two: Two) -> None:
    for name in ("u", "t"):
        two.one.acquire(name)
    both = [write("u"), write("t"), write("free")]
    asked = two.one.question(both)
    if two.one.may_be_ended:  # anybody may end a lease
        assert asked is not None
        assert list(asked[1]) == ["t", "u"]
    else:
        assert asked is None
    assert two.one.question([]) is None
    assert two.one.question([write("free"), ("DELETE", ())]) is None
    others = two.one.question([write("t", of_run=False)])
    assert others is not None
    assert list(others[1]) == ["t"]


def test_a_doubtful_claim_is_asked_before_a_write(two: Two, unsure: None) -> None:
    two.one.acquire("t")
    asked = two.one.question([write("t"), write("free"), write("other's", of_run=False)])
    assert asked is not None
    assert list(asked[1]) == ["other's", "t"]


def test_nobody_else_writes_to_a_thread_while_it_is_run(two: Two) -> None:
    two.one.acquire("t")
    from_outside = [write("t", of_run=False), write("free", of_run=False)]

    def refused() -> Problems:
        asked = two.other.question(from_outside)
        assert asked is not None
        return two.other.refused(from_outside, two.journal.query(*asked))

    assert list(refused()) == [("t", False)]
    assert "is being run by process" in str(refused()["t", False])
    two.set_left(-1)
    assert refused() == {}


def test_a_run_that_lost_its_claim_writes_nothing(two: Two, unsure: None) -> None:
    two.one.acquire("t")
    two.one.acquire("u")

    def refused() -> Problems:
        asked = two.one.question(mine)
        return two.one.refused(mine, two.journal.query(*asked) if asked else [])

    mine = [write("t"), write("u")]
    assert refused() == {}
    fence = two.one.fence(mine)
    assert fence is not None
    assert list(two.journal.query(*fence)[0].values()) == [1]
    two.set_left(-1)
    two.other.acquire("t")
    assert list(two.journal.query(*fence)[0].values()) == [None]
    assert {key: type(why) for key, why in refused().items()} == {("t", True): ClaimLost}
    assert two.one.fence(mine) is None
    assert two.one.fence([write("u")]) is not None
    assert two.one.fence([write("u"), write("x", of_run=False)]) is two.one.fence([write("free")]) is None
    assert {key: type(why) for key, why in refused().items()} == {("t", True): ClaimLost}


async def test_whether_an_owner_lives_is_known_once_its_claim_changes_or_ends(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.001)
    looks: list[Any] = []
    looked, real = asyncio.Condition(), two.journal.aquery

    async def aquery(*asked: Any) -> Any:
        found = await real(*asked)
        async with looked:
            looks.append(asked)
            looked.notify_all()
        return found

    monkeypatch.setattr(two.journal, "aquery", aquery)
    await asyncio.wait_for(two.one.until_known("t"), ENOUGH_S)
    two.one.acquire("t")
    await asyncio.wait_for(two.one.until_known("t"), ENOUGH_S)  # its own
    assert len(looks) == 1
    two.one.release("t")
    await asyncio.wait_for(two.one.until_known("t"), ENOUGH_S)
    two.other.acquire("t")
    if not two.one.may_be_ended:  # the lock shows it
        await asyncio.wait_for(two.one.until_known("t"), ENOUGH_S)
        return
    for left_s in (LONG_S + 5, -1):
        looks.clear()
        waiting = asyncio.create_task(two.one.until_known("t"))
        async with looked:
            await asyncio.wait_for(looked.wait_for(lambda: len(looks) >= 3), ENOUGH_S)
        assert not waiting.done()
        two.set_left(left_s)
        await asyncio.wait_for(waiting, ENOUGH_S)
