"""What tasks of an event loop want at one moment, done together: by one statement, in the place of many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

W = TypeVar("W")
D = TypeVar("D")


class Together(Generic[W, D]):
    """Does what was wanted in one pass of an event loop: `work` returns what came of each, in their order."""

    def __init__(self, work: Callable[[Sequence[W]], Awaitable[Sequence[D]]], most: int = 400) -> None:
        self._work = work
        self._most = most
        self._waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, list[tuple[W, asyncio.Future[D]]]] = (
            WeakKeyDictionary()
        )
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, wanted: W) -> D:
        """Return what came of it, once it is done for all that want something now."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting.setdefault(loop, [])
        if not waiting:
            loop.call_soon(self._start, loop)
        done: asyncio.Future[D] = loop.create_future()
        waiting.append((wanted, done))
        return await done

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting.pop(loop)
        for start in range(0, len(waiting), self._most):
            task = loop.create_task(self._do(waiting[start : start + self._most]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _do(self, some: Sequence[tuple[W, asyncio.Future[D]]]) -> None:
        try:
            results = await self._work([wanted for wanted, _ in some])
        except BaseException as error:
            for _, done in some:
                if not done.done():
                    done.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, done), each in zip(some, results, strict=True):
                if not done.done():
                    done.set_result(each)
