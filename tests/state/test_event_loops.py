from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

import pytest

from stepgraph.state.event_loops import PerLoop, run_sync, sync_stream, sync_version

color: ContextVar[str] = ContextVar("color")


class Resource:
    def __init__(self, fail: int = 0) -> None:
        self.opened = self.closed = 0
        self.fail = fail
        self.held = PerLoop(self._open, self._close)

    async def _open(self) -> int:
        await asyncio.sleep(0)
        if self.fail:
            self.fail -= 1
            raise OSError("not yet")
        self.opened += 1
        return self.opened

    async def _close(self, _: int) -> None:
        self.closed += 1


def test_each_loop_has_its_own_and_closes_it() -> None:
    resource = Resource()

    async def use() -> list[int]:
        return await asyncio.gather(*(resource.held.get() for _ in range(5)))

    assert asyncio.run(use()) == [1] * 5
    assert (resource.opened, resource.closed) == (1, 1)
    assert asyncio.run(use()) == [2] * 5
    assert (resource.opened, resource.closed) == (2, 2)


async def test_a_failure_to_open_is_not_kept() -> None:
    resource = Resource(fail=1)
    outcomes = await asyncio.gather(*(resource.held.get() for _ in range(2)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OSError, OSError]
    assert await resource.held.get() == 1


async def where() -> tuple[str, asyncio.AbstractEventLoop]:
    return color.get("none"), asyncio.get_running_loop()


async def test_a_sync_caller_may_stand_inside_a_running_loop() -> None:
    color.set("red")
    seen, loop = run_sync(where())
    assert seen == "red"
    assert loop is not asyncio.get_running_loop()
    assert loop is run_sync(where())[1]


def test_an_error_reaches_the_sync_caller() -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_sync(fail())


def test_a_sync_call_inside_a_sync_call_is_refused_and_does_not_hang() -> None:
    async def outer() -> None:
        run_sync(where())

    with pytest.raises(RuntimeError, match="Use the async form"):
        run_sync(outer())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_task_reaches_the_caller_and_nobody_else(error: type[BaseException]) -> None:
    async def inner() -> None:
        await asyncio.sleep(0)
        raise error

    async def outer() -> None:
        await asyncio.create_task(inner())

    async def other() -> str:
        await asyncio.sleep(0.2)
        return "done"

    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(run_sync, other())
        with pytest.raises(error):
            run_sync(outer())
        assert beside.result(timeout=30) == "done"
    assert run_sync(other()) == "done"


@pytest.mark.parametrize("is_begun", [True, False], ids=["right behind", "right before"])
@pytest.mark.parametrize("form", ["whole", "stream"])
def test_an_interrupt_as_it_begins_leaves_nothing_that_goes_on(
    monkeypatch: pytest.MonkeyPatch, form: str, is_begun: bool
) -> None:
    """Else it would go on to pay, and hold its thread, while the caller goes on elsewhere."""
    _, loop = run_sync(where())
    real, here, seen = loop.call_soon_threadsafe, threading.get_ident(), []

    async def work() -> AsyncGenerator[int, None]:
        seen.append("begun")
        try:
            await asyncio.sleep(60)
            yield 1
        finally:
            seen.append("ended")

    async def whole() -> None:
        async with aclosing(work()) as items:
            async for _ in items:
                pass

    def interrupted(call: Callable[..., Any], *values: Any, **more: Any) -> Any:
        if threading.get_ident() != here:
            return real(call, *values, **more)
        monkeypatch.setattr(loop, "call_soon_threadsafe", real)
        if is_begun:
            real(call)
            run_sync(asyncio.sleep(0))  # so it is under way
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "call_soon_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_sync(whole()) if form == "whole" else list(sync_stream(work)())
    run_sync(asyncio.sleep(0))
    assert seen == (["begun", "ended"] if is_begun else [])


def test_a_sync_version_runs_the_async_function_and_has_its_signature() -> None:
    async def adouble(number: int, *, plus: int = 0) -> int:
        """Return twice the number."""
        return 2 * number + plus

    double = sync_version(adouble)
    assert double(3, plus=1) == 7
    assert (double.__name__, double.__doc__) == ("double", "Like `adouble`, for sync callers.")
    assert inspect.signature(double) == inspect.signature(adouble)
