"""Event loops: resources that belong to one, and one for callers that have none."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import inspect
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

from . import sigterm

R = TypeVar("R")
P = ParamSpec("P")


class ForgetfulResource(Protocol):
    """What a forked child must not take over from its parent."""

    def forget(self) -> None:
        """Drop everything that belongs to threads and event loops of the parent."""
        ...


def forget_after_fork(resource: ForgetfulResource) -> None:
    """Have a resource forget, in a forked child, what belongs to threads and event loops of the parent."""
    _of_this_process.add(resource)


class PerLoop(Generic[R]):
    """A resource that is opened once in each event loop and closed with it.

    The end of a loop is seen by an async generator that waits in it: `loop.shutdown_asyncgens()`,
    which `asyncio.run` and every server call, finishes it.
    """

    def __init__(self, open: Callable[[], Awaitable[R]], close: Callable[[R], Awaitable[None]]) -> None:
        self._open = open
        self._close = close
        self._held: dict[asyncio.AbstractEventLoop, asyncio.Future[R]] = {}
        self._keepers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}
        forget_after_fork(self)

    def forget(self) -> None:
        """Drop everything, unclosed."""
        self._held.clear()
        self._keepers.clear()

    async def get(self) -> R:
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is None:
            for closed in [other for other in self._held if other.is_closed()]:
                self._held.pop(closed, None)
                self._keepers.pop(closed, None)
            held = self._held[loop] = loop.create_future()
            try:
                held.set_result(await self._open())
            except BaseException as error:
                del self._held[loop]
                held.set_exception(error)
                held.exception()
                raise
            self._keepers[loop] = keeper = self._keep(loop, held.result())
            await anext(keeper)
        return held.result() if held.done() else await asyncio.shield(held)

    async def _keep(self, loop: asyncio.AbstractEventLoop, resource: R) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._held.pop(loop, None)
            self._keepers.pop(loop, None)
            await self._close(resource)


class _Background:
    """A daemon thread with an event loop, for sync callers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        begin, wait = self.prepared(work)
        return wait(begin)

    def prepared(self, work: Coroutine[Any, Any, R]) -> tuple[Callable[[], Any], Callable[..., R]]:
        """Return what begins the work, and what waits for its outcome; with `cancel=True` it is stopped.

        Begin it where an exception has it stopped: Ctrl-C may come as soon as it is begun.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError(
                "A sync call was made from inside an async one that runs for a sync caller. "
                "Use the async form (`await step.ainvoke(...)`) there."
            )
        loop, ended = self._started(), threading.Event()
        tasks: list[asyncio.Task[R]] = []

        def start() -> None:
            if not ended.is_set():
                tasks.append(loop.create_task(work))
                tasks[0].add_done_callback(lambda _: ended.set())

        def stop() -> None:
            if tasks:
                tasks[0].cancel()
            else:  # nor is it begun any more
                work.close()
                ended.set()

        def wait(begin: Callable[[], Any] | None = None, *, cancel: bool = False) -> R:
            try:
                sigterm.begin(work)
                if begin is not None:
                    begin()
                if cancel:
                    loop.call_soon_threadsafe(stop)
                ended.wait()
            except BaseException:  # Ctrl-C, or whatever a signal's handler raises
                loop.call_soon_threadsafe(stop)
                ended.wait()  # the work puts down what it holds, so that it can be begun again at once
                raise
            finally:
                sigterm.end(work)
            if not tasks or tasks[0].cancelled():
                raise CancelledError
            return tasks[0].result()

        return partial(loop.call_soon_threadsafe, start), wait

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="stepgraph", daemon=True
                )
                self._thread.start()
                atexit.register(self._stop)
            return self._loop

    def _stop(self) -> None:
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        closing = asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop)
        try:
            closing.result(timeout=2)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=2)
            if not thread.is_alive():
                loop.close()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped.

    A task that ends in KeyboardInterrupt or SystemExit hands it to whoever waits for it, and ends the
    loop's run as well: nobody else's work may end with it.
    """
    while True:
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            continue
        return


_background = _Background()
_of_this_process: WeakSet[ForgetfulResource] = WeakSet()
_threads = ThreadPoolExecutor(256, thread_name_prefix="stepgraph-code")


def _after_fork() -> None:
    """Forget the parent's threads and event loops, which a forked child does not have."""
    global _background, _threads
    _background = _Background()
    _threads = ThreadPoolExecutor(256, thread_name_prefix="stepgraph-code")
    for resource in _of_this_process:
        resource.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def begin_in_thread(function: Callable[[], R]) -> Future[R]:
    """Have plain code run in a thread of our own, whatever becomes of the event loop here."""
    return _threads.submit(contextvars.copy_context().run, function)


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run plain code in a thread of our own, so that code which waits for code finds a thread too."""
    context = contextvars.copy_context()
    call = functools.partial(context.run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_threads, call)


async def outcome_of(function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
    """Return what a function of the user's gives, be it async, or plain code, which runs in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(*args, **kwargs)
    value = await in_thread(function, *args, **kwargs)
    return await value if inspect.isawaitable(value) else value


def aside(function: Callable[[], R]) -> R:
    """Run plain code in a thread, and wait: for what a server forbids in its event loop, briefly as it is."""
    return begin_in_thread(function).result()


async def in_new_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run plain code in a thread made for it: for code that itself waits for many threads."""
    future: Future[R] = Future()
    future.set_running_or_notify_cancel()  # plain code cannot be cancelled
    call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="stepgraph-graph", daemon=True).start()
    return await asyncio.wrap_future(future)


def run_sync(work: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine for a sync caller, who may itself be inside a running event loop."""
    return _background.run(work)


def sync_version(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """Return the form of an async function for sync callers: `run` of `arun`."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return run_sync(function(*args, **kwargs))

    call.__name__ = call.__qualname__ = function.__name__.removeprefix("a")
    call.__doc__ = f"Like `{function.__name__}`, for sync callers."
    return call


def sync_stream(function: Callable[P, AsyncGenerator[R, None]]) -> Callable[P, Iterator[R]]:
    """Return the form of an async generator function for sync callers: `stream_run` of `astream_run`."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        items: SimpleQueue[tuple[R] | None] = SimpleQueue()

        async def work() -> None:
            try:
                async with aclosing(function(*args, **kwargs)) as stream:
                    async for item in stream:
                        items.put((item,))
            finally:
                items.put(None)

        begin, wait = _background.prepared(work())
        try:
            begin()
            while (item := items.get()) is not None:
                yield item[0]
        except BaseException:  # the caller left the loop, or was interrupted
            with suppress(CancelledError):
                wait(cancel=True)
            raise
        wait()

    call.__name__ = call.__qualname__ = function.__name__.removeprefix("a")
    call.__doc__ = f"Like `{function.__name__}`, for sync callers."
    return call
