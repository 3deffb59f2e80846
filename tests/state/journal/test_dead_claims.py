"""What becomes of claims whose owners died, stood still or were forked."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from stepgraph.errors import ClaimLost, ThreadBusy
from stepgraph.state.journal.owners import process_of, this_machine

from .test_claiming import Two, acquire, two as two, unsure as unsure, write

pytestmark = pytest.mark.sqlite_file("the same statements run in Postgres in test_leases.py")


def dead_claim(two: Two, thread_id: str, owner: str, expires_at: float) -> None:
    sql = (
        "INSERT INTO claims (thread_id, owner, host, pid, machine, process, epoch, expires_at) "
        "VALUES (?, ?, ?, ?, ?, ?, 1, ?)"
    )
    told = (socket.gethostname(), 2**22 + 1, this_machine(), process_of())
    two.journal.write([(sql, (thread_id, owner, *told, expires_at))])


@pytest.mark.parametrize("two", ["file"], indirect=True)
def test_the_signs_of_dead_owners_are_swept_away_once_for_a_session(two: Two, tmp_path: Path) -> None:
    def signs() -> list[str]:
        return [
            name for name in ("dead", "held", "over") if (tmp_path / f"runs.sqlite.owner-{name}").exists()
        ]

    def leave() -> None:
        for name in ("dead", "held", "over"):
            (tmp_path / f"runs.sqlite.owner-{name}").touch()

    dead_claim(two, "a", "held.1", 9e9)
    dead_claim(two, "b", "over.1", 0)
    leave()
    two.one.acquire("t")
    assert signs() == ["held"]
    leave()
    two.one.acquire("u")
    assert signs() == ["dead", "held", "over"]


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("two", ["file"], indirect=True)
async def test_beside_a_file_a_dead_owners_thread_is_taken_at_once(
    two: Two, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact, seen = two.journal.transact, list[Any]()
    monkeypatch.setattr(two.journal, "transact", lambda work: seen.append(work) or transact(work))
    sign = tmp_path / "runs.sqlite.owner-held"
    sign.touch()
    dead_claim(two, "t", "held.1", 9e9)
    assert not two.one.is_run("t")
    await acquire(two.one, "t", way)
    assert len(seen) == 1  # so that nobody takes it between the look and the claim
    assert two.one.epoch_of("t") == 2
    assert not sign.exists()


@pytest.mark.parametrize("two", ["file"], indirect=True)
def test_who_takes_a_thread_that_was_released_leaves_its_last_owners_sign(two: Two, tmp_path: Path) -> None:
    two.one.acquire("t")
    two.one.release("t")
    two.other.acquire("t")
    assert len(list(tmp_path.glob("runs.sqlite.owner-*"))) == 2


@pytest.mark.parametrize("two", ["leases"], indirect=True)
async def test_leases_that_begin_at_once_are_one_statement(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    execute, seen = two.journal.store.aexecute, list[Any]()
    monkeypatch.setattr(two.journal.store, "aexecute", lambda *asked: seen.append(asked) or execute(*asked))
    assert await asyncio.gather(*(two.one.aacquire(f"t{number}") for number in range(3))) == [True] * 3
    assert len(seen) == 1
    assert [two.one.epoch_of(f"t{number}") for number in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("two", ["leases"], indirect=True)
def test_a_dead_owners_lease_holds_until_it_ends(two: Two) -> None:
    dead_claim(two, "t", "held.1", 9e9)
    assert two.one.is_run("t")
    with pytest.raises(ThreadBusy):
        two.one.acquire("t")


def test_a_renewed_claim_is_sure_again(two: Two) -> None:
    two.one.acquire("t")
    two.one._held["t"].ticking -= 1e6  # as if it had been renewed long ago
    for _ in range(2):
        two.one.check("t")
    assert two.one.renewals == 1


def test_a_claim_that_is_made_while_others_are_renewed_is_not_lost(
    two: Two, unsure: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.one.acquire("t")
    transact = two.journal.transact

    def meanwhile(work: Any) -> Any:
        monkeypatch.setattr(two.journal, "transact", transact)
        two.one.release("t")
        two.one.acquire("t")
        return transact(work)

    monkeypatch.setattr(two.journal, "transact", meanwhile)
    two.one.check("t")
    assert two.one.epoch_of("t") == 2


def test_a_claim_that_is_sure_is_lost_only_where_leases_may_be_ended(two: Two) -> None:
    two.one.acquire("t")
    refused = two.one.refused([write("t")], [])
    if two.one.may_be_ended:
        assert [type(why) for why in refused.values()] == [ClaimLost]
    else:
        assert (refused, two.one.epoch_of("t")) == ({}, 1)


def test_a_forked_child_runs_nothing_of_its_parents(two: Two, tmp_path: Path) -> None:
    two.one.acquire("t")
    parents, signs = two.one._stop, sorted(tmp_path.glob("runs.sqlite.owner-*"))
    two.one.after_fork()
    assert two.one.epoch_of("t") is None
    with pytest.raises(ClaimLost, match="it was forked from the one that runs it"):
        two.one.check("t")
    assert sorted(tmp_path.glob("runs.sqlite.owner-*")) == signs
    two.one.acquire("u")
    owners = [two.row(name)["owner"].partition(".")[0] for name in ("t", "u")]
    assert owners[0] != owners[1]
    parents.set()


@pytest.mark.parametrize("two", ["file"], indirect=True)
def test_the_end_of_a_session_leaves_no_sign(two: Two, tmp_path: Path) -> None:
    two.one.acquire("t")
    assert len(list(tmp_path.glob("runs.sqlite.owner-*"))) == 1
    two.one.close()
    assert list(tmp_path.glob("runs.sqlite.owner-*")) == []
