"""The answers of calls: together in one transaction, told to each who waits, and never dropped."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from stepgraph.errors import StoreError, ThreadBusy
from stepgraph.state.journal.budget_accounts import AccountKey, Amount, Settlement
from stepgraph.state.journal.budget_holds import settling
from stepgraph.state.journal.call_commits import CallCommits
from stepgraph.state.journal.records import Call, CallStatement, insert

from .test_journal import CALL

CALLS = [replace(CALL, id=str(number), occurrence=number) for number in range(3)]
SETTLEMENT = Settlement(AccountKey("ada", "", 0), "me", Amount(1), Amount(1))
ENOUGH_S = 60.0


class Written:
    """A store that writes when a test says so."""

    def __init__(self) -> None:
        self.begun: list[tuple[list[Any], Future[None]]] = []
        self.spilled: list[tuple[list[Call], BaseException]] = []
        self.place: StoreError | None = None
        self.on_flush: Callable[[], None] = lambda: None

    def begin_write(self, statements: Sequence[Any]) -> Future[None]:
        self.begun.append(([*statements], Future()))
        return self.begun[-1][1]

    def check_place(self) -> None:
        if self.place is not None:
            raise self.place

    def spill(self, calls: Sequence[Call], error: BaseException) -> StoreError:
        self.spilled.append(([*calls], error))
        return StoreError("kept elsewhere")

    def flush(self) -> None:
        self.on_flush()

    def end(self, error: BaseException | None = None) -> None:
        _, written = self.begun[-1]
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)


@pytest.fixture
def store() -> Written:
    return Written()


@pytest.fixture
def commits(store: Written) -> CallCommits:
    return CallCommits(store)  # type: ignore[arg-type]


async def outcomes(*awaitables: Awaitable[Any]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*awaitables, return_exceptions=True), ENOUGH_S)


async def begun(store: Written, *awaitables: Any) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    before = len(store.begun)
    for _ in range(100):
        if len(store.begun) > before:
            break
        await asyncio.sleep(0)
    assert len(store.begun) == before + 1
    return tasks


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_what_arrives_together_is_written_together_and_then_told(
    store: Written, commits: CallCommits, elsewhere: bool
) -> None:
    asyncio.get_running_loop().set_debug(elsewhere)  # in which a loop is told from its own thread only
    tasks = await begun(store, *(commits.commit(call, [SETTLEMENT] * (call.id != "1")) for call in CALLS))
    wanted = [*(insert(call)[1] for call in CALLS), *(each[1] for each in settling([SETTLEMENT] * 2))]
    assert [values for _, values in store.begun[0][0]] == wanted
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    if elsewhere:
        thread = threading.Thread(target=store.end)
        thread.start()
        thread.join()
    else:
        store.end()
    assert await outcomes(*tasks) == [None] * 3
    assert store.spilled == []
    more = await begun(store, commits.commit(replace(CALL, id="9")))
    store.end()
    assert await outcomes(*more) == [None]


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("how", ["write", "place"])
async def test_what_cannot_be_written_is_kept_elsewhere_once_and_told_to_all(
    store: Written, commits: CallCommits, how: str, elsewhere: bool
) -> None:
    noise: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    error = StoreError("the disk is full")
    tasks = await begun(store, *map(commits.commit, CALLS))
    store.place = error if how == "place" else None
    tasks[0].cancel()
    await asyncio.sleep(0)
    end = threading.Thread(target=store.end, args=(None if how == "place" else error,))
    if elsewhere:
        end.start()
        end.join()
    else:
        end.run()
    told = await outcomes(*tasks)
    assert [str(each) for each in told[1:]] == ["kept elsewhere"] * 2
    assert store.spilled == [(CALLS, error)]
    commits.close()
    assert len(store.spilled) == 1
    del tasks, told
    gc.collect()
    assert noise == []


async def test_a_failure_that_nobody_waits_for_any_more_makes_no_noise(
    store: Written, commits: CallCommits
) -> None:
    noise: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    tasks = await begun(store, commits.commit(CALL))
    tasks[0].cancel()
    await outcomes(*tasks)
    store.end(StoreError("the disk is full"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [calls for calls, _ in store.spilled] == [[CALL]]
    del tasks
    store.begun.clear()
    gc.collect()
    assert noise == []


async def test_an_answer_whose_run_lost_its_claim_is_told_once_it_is_written(
    store: Written, commits: CallCommits
) -> None:
    tasks = await begun(store, *map(commits.commit, CALLS))
    statement = store.begun[0][0][1]
    assert isinstance(statement, CallStatement)
    statement.superseded(ThreadBusy("another runs it"))
    store.end()
    assert [type(each) for each in await outcomes(*tasks)] == [type(None), ThreadBusy, type(None)]


async def test_the_end_begins_what_was_not_and_waits_for_all(store: Written, commits: CallCommits) -> None:
    first = await begun(store, commits.commit(CALLS[0]))
    second = asyncio.ensure_future(commits.commit(CALLS[1]))
    await asyncio.sleep(0)
    flushed: list[int] = []

    def flush() -> None:
        flushed.append(len(store.begun))
        for _, written in store.begun:
            written.set_result(None)
        raise StoreError("told to each that is under way")

    store.on_flush = flush
    commits.close()
    assert flushed == [2]
    assert await outcomes(*first, second) == [None, None]
    assert store.spilled == []
    commits.close()
    assert flushed == [2]  # nothing is under way


async def test_the_end_waits_for_what_another_thread_writes(store: Written, commits: CallCommits) -> None:
    tasks = await begun(store, commits.commit(CALL))
    writes = threading.Thread(target=store.end)
    store.on_flush = writes.start
    await asyncio.to_thread(commits.close)
    assert store.begun[0][1].done()
    writes.join()
    assert await outcomes(*tasks) == [None]
    assert store.spilled == []


@pytest.mark.parametrize("fails", [False, True])
def test_an_answer_outlives_its_event_loop(store: Written, commits: CallCommits, fails: bool) -> None:
    loop = asyncio.new_event_loop()
    task: Any = loop.create_task(commits.commit(CALL))
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
    task._log_destroy_pending = False
    loop.close()
    store.end(StoreError("the disk is full") if fails else None)
    store.place = StoreError("the file is gone")  # too late for what is written
    commits.close()
    assert [calls for calls, _ in store.spilled] == ([[CALL]] if fails else [])


async def test_a_forked_child_writes_nothing_of_its_parents(store: Written, commits: CallCommits) -> None:
    tasks = await begun(store, commits.commit(CALLS[0]))
    tasks.append(asyncio.ensure_future(commits.commit(CALLS[1])))
    await asyncio.sleep(0)
    commits.after_fork()
    commits.close()
    assert len(store.begun) == 1
    for task in tasks:
        task.cancel()
    await outcomes(*tasks)
