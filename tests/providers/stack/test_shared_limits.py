"""Limits of an endpoint that all workers of one database share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from stepgraph import Ask, Session, arun, chain, step, using
from stepgraph.providers.stack import shared_limits
from stepgraph.providers.stack.rate_limit import TooLong
from stepgraph.providers.stack.shared_limits import SharedRate, SharedSlots, Sharing
from stepgraph.state.journal import rate_leases
from stepgraph.state.journal.rate_leases import shares

from ...servers import Answer, ChatServer, Fault

ENDPOINT = ("http://here/v1", "m")


@dataclass
class Work:
    number: int = 0
    said: str = ""


@step("said")
def say(work: Work) -> Ask[str]:
    return Ask(f"say {work.number}")


GRAPH = chain(say).compile()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.xdist_group("cluster"))])
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Session]]:
    """Three workers of one database."""
    file = request.param == "sqlite"
    database = str(tmp_path / "runs.sqlite") if file else request.getfixturevalue("postgres_url")
    with ExitStack() as stack:
        yield [stack.enter_context(Session(database)) for _ in range(3)]


@given(
    wishes=st.dictionaries(st.text("abcdef", min_size=1), st.integers(0, 20), min_size=1, max_size=6),
    limit=st.integers(0, 30),
    turn=st.integers(0, 5),
)
def test_slots_are_shared_out_evenly_and_none_is_left_that_somebody_wants(
    wishes: dict[str, int], limit: int, turn: int
) -> None:
    found = shares(wishes, limit, turn)
    assert sum(found.values()) == min(limit, sum(wishes.values()))
    assert all(found[name] <= wishes[name] for name in wishes)
    hungry = [found[name] for name in wishes if found[name] < wishes[name]]
    assert not hungry or max(found.values()) - min(hungry) <= 1


def test_what_cannot_be_shared_out_evenly_goes_round() -> None:
    wishes = dict.fromkeys("abcde", 9)
    lucky = {name for turn in range(40) for name, n in shares(wishes, 2, turn).items() if n}
    assert lucky == {*"abcde"}


async def test_no_place_is_given_twice(sessions: list[Session]) -> None:
    rates = [SharedRate(each.journal, ENDPOINT, (60_000, None, 1)) for each in sessions]
    loop = asyncio.get_running_loop()

    async def turn(rate: SharedRate) -> float:
        wait = await rate.place(0, None)
        await asyncio.sleep(wait)
        return loop.time()

    began = loop.time()
    turns = sorted(await asyncio.gather(*(turn(rate) for rate in rates for _ in range(40))))
    assert turns[-1] - began >= 119 * 0.001  # 120 places of a thousandth of a second


async def test_what_is_too_far_away_takes_no_place(sessions: list[Session]) -> None:
    first, second, _ = (SharedRate(each.journal, ENDPOINT, (1, None, 1)) for each in sessions)
    assert await first.place(0, None) == 0
    with pytest.raises(TooLong):
        await second.place(0, 1.0)
    assert 30 < await second.place(0, 90.0) < 62
    with pytest.raises(TooLong):
        await first.place(0, 80.0)
    second.leave(0)  # whoever had the place was cancelled
    assert 30 < await second.place(0, 80.0) < 62


async def test_tokens_are_settled_and_a_pause_holds_for_all(
    sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_limits, "BLOCK_S", 0.01)
    first, second, _ = (SharedRate(each.journal, ENDPOINT, (None, 600, 1)) for each in sessions)
    assert await first.place(600, None) == 0  # the tokens of a minute
    with pytest.raises(TooLong):
        await second.place(10, 30)
    first.settle(600, 10)
    while True:
        try:
            assert await second.place(10, 5) <= 5
            break
        except TooLong:
            await asyncio.sleep(0.01)
    first.hold(5000)
    waits = [0.0]
    while waits[-1] < 2500:  # once it is told, however slow the machine is
        waits.append(await second.place(0.0, None))


async def test_all_together_have_no_more_slots_than_there_are(sessions: list[Session]) -> None:
    slots = [SharedSlots(each.journal, ENDPOINT, 4) for each in sessions]
    running = most = done = 0

    async def call(own: SharedSlots) -> None:
        nonlocal running, most, done
        await own.enter()
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        done += 1
        own.leave()

    await asyncio.wait_for(asyncio.gather(*(call(own) for own in slots for _ in range(20))), 60)
    assert (most, done) == (4, 60)


async def test_a_cancelled_call_leaves_its_slot_and_the_line(sessions: list[Session]) -> None:
    one, other, _ = (SharedSlots(each.journal, ENDPOINT, 1) for each in sessions)
    await one.enter()
    waiting = [asyncio.create_task(own.enter()) for own in (one, other)]
    await asyncio.sleep(0.05)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    one.leave()
    await asyncio.wait_for(other.enter(), 30)
    other.leave()


def test_a_slot_that_two_want_goes_from_one_to_the_other_every_two_seconds(sessions: list[Session]) -> None:
    journal = sessions[0].journal

    def gets(second: float) -> int:
        place, now = f"as at {second}", f"{second:.1f}"
        journal.transact(
            lambda db: rate_leases.lease(db, place, "other", running=0, wanted=1, limit=0, now=now)
        )
        mine, _ = journal.transact(
            lambda db: rate_leases.lease(db, place, "one", running=0, wanted=1, limit=1, now=now)
        )
        return mine

    begun, ended = ([gets(turn + second) for turn in range(0, 40, 2)] for second in (0, 1.9))
    assert begun == ended
    assert set(begun) == {0, 1}


async def test_the_slots_of_a_dead_worker_come_back(
    sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_leases, "LEASE_S", 0.2)
    dead, alive, _ = sessions
    dead.journal.transact(
        lambda db: rate_leases.lease(
            db, " ".join(ENDPOINT), "dead", running=1, wanted=1, limit=1, now=dead.journal.dialect.now
        )
    )
    slots = SharedSlots(alive.journal, ENDPOINT, 1)
    await asyncio.wait_for(slots.enter(), 30)
    slots.leave()


@pytest.mark.parametrize(
    ("always", "postgres", "shared"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_it_is_shared_where_several_machines_can_use_the_database_or_the_settings_say_so(
    request: pytest.FixtureRequest, tmp_path: Path, always: bool | None, postgres: bool, shared: bool
) -> None:
    database = request.getfixturevalue("postgres_url") if postgres else str(tmp_path / "runs.sqlite")
    with Session(database) as session:
        sharing = Sharing(ENDPOINT, (60, None, 1), 3, always)
        assert (sharing.rate(session) is not None, sharing.slots(session) is not None) == (shared, shared)
        assert sharing.rate(session) is sharing.rate(session)
        assert sharing.rate(None) is None
        assert Sharing(None, (60, None, 1), 3, True).rate(session) is None
        assert Sharing(ENDPOINT, always=True).slots(session) is None


async def test_a_run_keeps_to_them(sessions: list[Session], server: ChatServer) -> None:
    server.always = Answer("kind", delay_s=0.01)
    server.will("kind", Fault(429))
    spec: Any = server.spec(max_concurrency=2, requests_per_minute=6000, shared=True)
    with using(spec):
        runs = [arun(GRAPH, Work(n), each, f"{n}-{w}") for w, each in enumerate(sessions) for n in range(4)]
        results = await asyncio.gather(*runs)
    assert {result.status for result in results} == {"done"}
    assert server.most_in_flight <= 2


async def test_tokens_that_come_back_bring_no_place(
    sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_limits, "BLOCK_S", 0.01)
    rate = SharedRate(sessions[0].journal, ENDPOINT, (1, 600, 1))
    assert await rate.place(300, None) == 0
    rate.settle(300, 10)
    await asyncio.sleep(0.1)  # for it to be told
    with pytest.raises(TooLong):
        await rate.place(0, 20)


async def test_who_waits_in_a_loop_that_is_closed_takes_no_slot(sessions: list[Session]) -> None:
    slots = SharedSlots(sessions[0].journal, ENDPOINT, 1)
    await slots.enter()
    closed = asyncio.new_event_loop()
    slots._line.append((closed, closed.create_future()))
    closed.close()
    slots.leave()
    await asyncio.wait_for(slots.enter(), 60)
    slots.leave()
