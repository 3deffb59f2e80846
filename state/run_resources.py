"""What a run opens and shares among its nodes, such as a connection: closed when the run ends."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Generic, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from .names import RESOURCES_KEY

R = TypeVar("R")

Opener = Callable[[], AbstractAsyncContextManager[R]]


class RunResources:
    """The resources of one run, by keys; each is opened when it is first asked for."""

    def __init__(self) -> None:
        self._open: dict[object, _Resource[Any]] = {}

    async def get(self, key: object, opener: Opener[R]) -> R:
        """Return a resource, opened if it is not; one that has broken down meanwhile is opened anew."""
        held = self._open.get(key)
        if held is None or held.is_over:
            held = self._open[key] = _Resource(opener)
        return cast("R", await held.value())

    def __bool__(self) -> bool:
        return bool(self._open)

    async def close(self) -> None:
        """Close everything."""
        while self._open:
            _, held = self._open.popitem()
            await held.close()


class _Resource(Generic[R]):
    """A resource in a task of its own, because some must be closed by the task that opened them."""

    def __init__(self, opener: Opener[R]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[R] = self._loop.create_future()
        self._enough = asyncio.Event()
        self._task = self._loop.create_task(self._hold(opener), context=contextvars.Context())

    async def _hold(self, opener: Opener[R]) -> None:
        try:
            async with opener() as resource:
                self._ready.set_result(resource)
                await self._enough.wait()
        except BaseException as error:
            if self._ready.done():  # it broke down later: whoever uses it is told there
                if isinstance(error, Exception):
                    return
                raise
            if isinstance(error, Exception):
                self._ready.set_exception(error)
                self._ready.exception()  # nobody may be waiting any more
                return
            self._ready.cancel()
            raise

    @property
    def is_over(self) -> bool:
        return self._task.done()

    async def value(self) -> R:
        return await asyncio.shield(self._ready)

    async def close(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            if self._loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(self.close(), self._loop)
                await asyncio.wrap_future(closing)
            return
        if self._ready.done():
            self._enough.set()
        else:
            self._task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.shield(asyncio.wait([self._task]))


def with_resources(config: RunnableConfig | None, resources: RunResources) -> RunnableConfig:
    """Return the config under which a run's nodes share these resources."""
    base = config or {}
    configurable = {**base.get("configurable", {}), RESOURCES_KEY: resources}
    return cast("RunnableConfig", {**base, "configurable": configurable})


def resources_of(config: RunnableConfig | None) -> RunResources | None:
    """Return what the run shares that a config belongs to, None outside of any run.

    A config that names no thread belongs to the run of the node in which it is used, as LangGraph has it.
    """
    configurable = (config or {}).get("configurable") or {}
    own: RunResources | None = configurable.get(RESOURCES_KEY)
    if own is not None or "thread_id" in configurable:
        return own
    around = var_child_runnable_config.get() or {}
    return (around.get("configurable") or {}).get(RESOURCES_KEY)
