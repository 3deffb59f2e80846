"""What tasks of an event loop want at one moment is done by one piece of work."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from stepgraph.state.journal.together import Together

ENOUGH_S = 60.0


async def outcomes(*awaitables: Awaitable[Any]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*awaitables, return_exceptions=True), ENOUGH_S)


class Work:
    """Doubles numbers, and notes which it was given at once."""

    def __init__(self, *errors: BaseException) -> None:
        self.seen: list[list[int]] = []
        self.errors = list(errors)
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def __call__(self, wanted: Sequence[int]) -> list[int]:
        self.seen.append([*wanted])
        self.begun.set()
        await self.go_on.wait()
        if self.errors:
            raise self.errors.pop(0)
        return [2 * number for number in wanted]


async def test_each_gets_what_came_of_its_own_wish() -> None:
    work = Work()
    together = Together(work)
    assert await outcomes(*map(together, (3, 1, 2))) == [6, 2, 4]
    assert await outcomes(*map(together, (5,))) == [10]
    assert work.seen == [[3, 1, 2], [5]]


@pytest.mark.parametrize(
    ("most", "number", "parts"),
    [(2, 5, [2, 2, 1]), (5, 5, [5]), (None, 401, [400, 1])],
    ids=["2", "5", "default"],
)
async def test_many_are_done_in_parts(most: int | None, number: int, parts: list[int]) -> None:
    work = Work()
    together = Together(work) if most is None else Together(work, most)
    assert await outcomes(*map(together, range(number))) == [2 * n for n in range(number)]
    assert [len(some) for some in work.seen] == parts


async def test_what_is_wanted_meanwhile_is_done_next() -> None:
    work = Work()
    work.go_on.clear()
    together = Together(work)
    first = asyncio.create_task(together(1))
    await asyncio.wait_for(work.begun.wait(), ENOUGH_S)
    second = asyncio.create_task(together(2))
    await asyncio.sleep(0)
    work.go_on.set()
    assert await outcomes(first, second) == [2, 4]
    assert work.seen == [[1], [2]]


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()], ids=["error", "cancelled"])
async def test_an_error_is_told_to_all_and_ends_with_them(error: BaseException) -> None:
    noise: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    together = Together(Work(error))
    assert [type(each) for each in await outcomes(*map(together, (1, 2)))] == [type(error)] * 2
    assert await outcomes(together(3)) == [6]
    gc.collect()
    assert noise == []


@pytest.mark.parametrize("fails", [False, True])
async def test_who_was_cancelled_keeps_the_others_from_nothing(fails: bool) -> None:
    work = Work(*[ValueError("no")] * fails)
    work.go_on.clear()
    together = Together(work)
    tasks = [asyncio.create_task(together(number)) for number in (1, 2)]
    await asyncio.wait_for(work.begun.wait(), ENOUGH_S)
    tasks[0].cancel()
    await asyncio.sleep(0)
    work.go_on.set()
    told = [type(each) for each in await outcomes(*tasks)]
    assert told == [asyncio.CancelledError, ValueError if fails else int]


async def test_work_under_way_is_kept_until_it_ends_and_no_longer() -> None:
    begun, waits, tasks = asyncio.Event(), list[Any](), list[Any]()

    async def work(wanted: Sequence[int]) -> list[int]:
        tasks.append(weakref.ref(asyncio.current_task()))
        waits.append(weakref.ref(freed := asyncio.get_running_loop().create_future()))
        begun.set()
        await freed  # which nothing else holds
        return [*wanted]

    together = Together(work)
    asking = asyncio.create_task(together(1))
    await asyncio.wait_for(begun.wait(), ENOUGH_S)
    gc.collect()
    freed = waits[0]()
    assert freed is not None
    freed.set_result(None)
    del freed
    assert await outcomes(asking) == [1]
    await asyncio.sleep(0)
    gc.collect()
    assert tasks[0]() is None
    del together


async def test_work_that_is_cut_off_ends_so() -> None:
    tasks: list[Any] = []

    async def work(wanted: Sequence[int]) -> list[int]:
        tasks.append(asyncio.current_task())
        raise asyncio.CancelledError

    together = Together(work)
    assert [type(each) for each in await outcomes(together(1))] == [asyncio.CancelledError]
    await asyncio.sleep(0)
    assert tasks[0].cancelled()
