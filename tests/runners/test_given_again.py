"""A worker that is given a thread whose run of an earlier turn still goes on there."""

from __future__ import annotations

import asyncio

import pytest

from stepgraph import Session
from stepgraph.runners.turns import Outcome, Turn
from stepgraph.state.journal.jobs import JobRecord, fail_job, stop_job

from .test_late_turns import DONE, Workers, workers
from .test_turns import Held

__all__ = ["workers"]
Turning = asyncio.Task[Outcome]


async def taken(workers: Workers, turn: Turn, *, lease_s: float = -1.0) -> tuple[Turning, Held]:
    """Begin a turn of a worker, and wait until its model is asked."""
    held = turn.session.models = Held()
    turning = asyncio.create_task(turn.take(workers.begun(turn, lease_s=lease_s)))
    await held.begun.wait()
    return turning, held


async def again(workers: Workers, turn: Turn, *records: JobRecord) -> list[Turning]:
    """Give a worker turns of a thread that it runs, by default the one that is due."""
    records = records or (workers.begun(turn),)
    turns = [asyncio.create_task(turn.take(each)) for each in records]
    async with asyncio.timeout(60):
        while not all(is_met(turn, each) for each in records):  # noqa: ASYNC110 nobody tells
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # for what a turn must not do
    return turns


def is_met(turn: Turn, record: JobRecord) -> bool:
    """Tell whether it is decided what becomes of the run that goes on there."""
    running = turn._running.get(record.thread_id)
    return running is not None and (running.is_ending or running.record.epoch >= record.epoch)


async def test_who_is_given_a_thread_again_that_another_worker_runs_ends_that_workers_claim(
    workers: Workers,
) -> None:
    """Its own run of the turn before the other's has lost the thread, and is not this turn's."""
    workers.submit("Ada")
    turning, first = await taken(workers, workers.slow)
    others, second = await taken(workers, workers.other)
    (last,) = await again(workers, workers.slow)
    first.may.set()
    assert (await last).status == "done"
    assert workers.job().status == "done"
    second.may.set()
    assert {(await each).kind for each in (turning, others)} == {"ClaimLost"}
    assert first.asked == {"Write to Ada": 2, "Seal Ada": 1}
    assert second.asked == {"Write to Ada": 1}


@pytest.mark.parametrize("case", ["its own alone", "after another worker", "another one has not claimed it"])
async def test_who_is_given_a_thread_again_that_it_has_not_lost_goes_on_with_its_run(
    workers: Workers, case: str
) -> None:
    workers.submit("Ada")
    if case == "after another worker":
        workers.begun(workers.other, lease_s=-1.0)
    turning, model = await taken(workers, workers.slow)
    if case == "another one has not claimed it":
        workers.begun(workers.other, lease_s=-1.0)
    record = workers.begun(workers.slow)
    turns = [turning, *await again(workers, workers.slow, record, record)]
    model.may.set()
    assert [(await each).status for each in turns] == ["done"] * 3
    assert workers.job().status == "done"
    assert model.asked == DONE


async def test_a_worker_that_handed_over_in_between_hides_no_other_one(workers: Workers) -> None:
    """The record forgets at such an end which workers did not end their turns before it."""
    workers.submit("Ada")
    workers.begun(workers.other, lease_s=-1.0)
    turning, first = await taken(workers, workers.slow)
    with Session(workers.slow.session.database) as session:
        leaving = Turn(session, workers.other.served._graphs)
        leaving.drain()
        assert (await leaving.take(workers.begun(leaving))).status == "handed_over"
    others, second = await taken(workers, workers.other)
    (last,) = await again(workers, workers.slow)
    first.may.set()
    assert (await last).status == "done"
    second.may.set()
    assert {(await each).kind for each in (turning, others)} == {"ClaimLost"}


async def test_a_run_whose_thread_another_worker_had_and_left_is_not_gone_on_with(workers: Workers) -> None:
    workers.submit("Ada")
    _, first = await taken(workers, workers.slow)
    others, second = await taken(workers, workers.other, lease_s=60.0)
    workers.other.drain()
    second.may.set()
    assert (await others).status == "handed_over"
    (last,) = await again(workers, workers.slow)
    first.may.set()
    assert (await last).status == "done"
    assert first.asked == DONE  # and what the other one was answered is not asked again


async def test_a_turn_that_comes_after_a_later_one_stops_nothing(workers: Workers) -> None:
    workers.submit("Ada")
    workers.begun(workers.other, lease_s=-1.0)
    older = workers.begun(workers.slow, lease_s=-1.0)
    turning, model = await taken(workers, workers.slow, lease_s=60.0)
    await again(workers, workers.slow, older)
    model.may.set()
    assert (await turning).status == "done"
    assert workers.job().status == "done"
    assert model.asked == DONE


async def test_of_two_turns_that_wait_the_later_one_counts(workers: Workers) -> None:
    workers.submit("Ada")
    _, first = await taken(workers, workers.slow)
    workers.begun(workers.other, lease_s=-1.0)
    older = workers.begun(workers.slow, lease_s=-1.0)
    others, second = await taken(workers, workers.other)
    turns = await again(workers, workers.slow, workers.begun(workers.slow), older)
    first.may.set()
    assert [(await each).status for each in turns] == ["done", "done"]
    assert workers.job().status == "done"
    second.may.set()
    assert (await others).kind == "ClaimLost"


async def test_a_turn_that_is_over_ends_no_claim(workers: Workers) -> None:
    """Its worker stood still before it looked whose claim to end, and the thread is that worker's again."""
    workers.submit("Ada")
    workers.begun(workers.other, lease_s=-1.0)
    late = workers.begun(workers.slow, lease_s=-1.0)
    turning, held = await taken(workers, workers.other, lease_s=60.0)
    assert (await workers.slow.take(late)).status == "failed"
    held.may.set()
    assert (await turning).status == "done"
    assert held.asked == DONE


async def test_a_run_that_has_not_claimed_its_thread_yet_is_not_a_later_turns(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins, may, pinned = asyncio.Event(), asyncio.Event(), workers.slow._pinned

    async def pins(record: JobRecord) -> JobRecord:
        begins.set()
        await may.wait()
        return await pinned(record)

    monkeypatch.setattr(workers.slow, "_pinned", pins)
    workers.submit("Ada")
    (first,) = await again(workers, workers.slow, workers.begun(workers.slow, lease_s=-1.0))
    await begins.wait()
    (last,) = await again(workers, workers.slow)
    may.set()
    assert (await first).status == "handed_over"
    assert (await last).status == "done"


async def test_a_run_of_another_job_is_not_this_ones(workers: Workers) -> None:
    """The job before was given up while its run still went on."""
    workers.submit("Ada")
    _, model = await taken(workers, workers.slow, lease_s=60.0)
    fail_job(workers.other.session.journal, "t", "Terminated")
    workers.submit("Bob", trace=1)
    (last,) = await again(workers, workers.slow)
    model.may.set()
    assert (await last).status == "done"
    assert model.asked == {"Write to Ada": 1, "Write to Bob": 1, "Seal Bob": 1}


@pytest.mark.parametrize("lost", [False, True], ids=["its own run", "a run that lost its claim"])
@pytest.mark.parametrize("told", [False, True], ids=["before", "while it waits"])
async def test_a_job_that_is_canceled_begins_no_more_calls(workers: Workers, lost: bool, told: bool) -> None:
    workers.submit("Ada")
    _, first = await taken(workers, workers.slow)
    if lost:
        others, second = await taken(workers, workers.other)
    if not told:
        stop_job(workers.other.session.journal, "t")
    (last,) = await again(workers, workers.slow)
    if told:
        stop_job(workers.other.session.journal, "t")
        workers.slow.cancel("t")
    first.may.set()
    assert (await last).status == "canceled"
    assert workers.job().status == "canceled"
    assert first.asked == {"Write to Ada": 1}
    if lost:
        second.may.set()
        await others
        assert second.asked == {"Write to Ada": 1}


async def test_turns_whose_workers_live_are_no_attempts(workers: Workers) -> None:
    """They were given one after the other before any of them had ended."""
    workers.submit("Ada")
    first, second = workers.slow.session.models, workers.other.session.models = Held(), Held()
    turns: list[Turning] = []
    for number in range(11):
        turn = (workers.slow, workers.other)[number % 2]
        turns += await again(workers, turn, workers.begun(turn, lease_s=-1.0))
    first.may.set()
    second.may.set()
    await asyncio.gather(*turns)
    assert workers.job().status != "failed"
