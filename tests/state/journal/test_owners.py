"""Whether the owner of a claim may still live: by its lock, its process, its machine and its host."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stepgraph.state.journal import owners
from stepgraph.state.journal.owners import FileOwner, host_name, process_of, this_machine

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system tells no process's start"),
    pytest.mark.sqlite_file("locks on files that say who lives; Postgres has leases"),
]


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[FileOwner]:
    owner = FileOwner(tmp_path / "runs.sqlite")
    yield owner
    owner.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[FileOwner]:
    other = FileOwner(tmp_path / "runs.sqlite")
    yield other
    other.close()


def claim(owner: FileOwner, **changes: Any) -> dict[str, Any]:
    return {"thread_id": "t", "owner": owner.new_name(), "expires_at": 9.0, **owner.row(), **changes}


def test_a_claim_says_who_made_it(owner: FileOwner) -> None:
    first, second = claim(owner), claim(owner)
    assert first["owner"].endswith(".1")
    assert second["owner"] == first["owner"][:-1] + "2"
    told = {name: value for name, value in first.items() if name != "owner"}
    assert told == {
        "thread_id": "t",
        "host": host_name(),
        "pid": os.getpid(),
        "expires_at": 9.0,
        "machine": this_machine(),
        "process": process_of(),
    }


def test_the_lock_tells_whatever_else_the_claim_says(owner: FileOwner, other: FileOwner) -> None:
    held = claim(owner)
    dead = {"pid": 2**22 + 1, "process": "1 1"}
    assert other.lives(held)
    assert other.lives({**held, **dead})
    assert other.lives({**held, "host": "container", **dead})
    owner.close()
    assert other.lives({**held, "owner": "no file.1"})  # its process is this one
    sign = other._database.with_name(f"runs.sqlite.owner-{held['owner'].partition('.')[0]}")
    sign.touch()
    assert not other.lives(held)
    assert not other.lives({**held, "host": "container"})
    other.forget(held)
    assert not sign.exists()
    other.forget(held)


@pytest.mark.parametrize(
    ("changes", "lives"),
    [
        ({}, True),
        ({"process": "1 1"}, True),  # in another number space: it cannot be seen
        ({"pid": 2**22 + 1}, False),
        ({"host": "container"}, True),
        ({"machine": "another boot"}, False),
        ({"machine": "another boot", "host": "container"}, True),
        ({"machine": None}, True),  # of an older format: any process of that number counts
        ({"machine": None, "pid": 2**22 + 1}, False),
        ({"machine": None, "pid": 2**70}, False),
        ({"machine": None, "host": "container", "pid": 2**22 + 1}, True),
    ],
    ids=str,
)
def test_without_a_lock_the_process_tells(
    owner: FileOwner, other: FileOwner, changes: dict[str, Any], lives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "fcntl", None)
    assert other.lives(claim(owner, **changes)) is lives


def test_a_process_of_the_same_number_that_began_later_is_another(
    owner: FileOwner, other: FileOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "fcntl", None)
    space, _, start = str(process_of()).partition(" ")
    assert not other.lives(claim(owner, process=f"{space} {int(start) + 1}"))


def test_a_process_that_ended_has_no_start() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process_of(process.pid) not in (None, process_of())
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_of(process.pid) is None  # dead, and nobody has asked how it ended
    assert process_of(process.pid) is None


def test_an_owner_that_closed_begins_anew(owner: FileOwner, tmp_path: Path) -> None:
    first = claim(owner)["owner"]
    assert len(list(tmp_path.glob("*.owner-*"))) == 1
    owner.close()
    assert list(tmp_path.glob("*.owner-*")) == []
    assert claim(owner)["owner"].partition(".")[0] != first.partition(".")[0]
    owner.close(forked=True)
    assert len(list(tmp_path.glob("*.owner-*"))) == 1  # that is its parent's


def test_threads_that_begin_at_once_are_one_owner(tmp_path: Path) -> None:
    for number in range(30):
        owner, begun = FileOwner(tmp_path / f"runs-{number}.sqlite"), threading.Barrier(6)

        def name(owner: FileOwner = owner, begun: threading.Barrier = begun) -> str:
            begun.wait(30)
            return owner.new_name()

        with ThreadPoolExecutor(6) as pool:
            names = [running.result(30) for running in [pool.submit(name) for _ in range(6)]]
        assert len(set(names)) == 6
        owner.close()
