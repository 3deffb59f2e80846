"""One call ahead of those that share a prefix with it: it puts the prefix into the provider's cache.

Providers let others have what they read of a prompt only once its answer begins. Calls that come all at once
would each pay for the whole prefix.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from ...state.errors import ModelRefused
from ...state.event_loops import forget_after_fork
from ..backends.backend import Backend
from ..model import CallContext, Layer, Model, Reply, Request
from ..prefix_marks import front_of

KEPT_S: Final = 240.0  # providers keep a prefix for five minutes after its last use, or longer
LONGEST_WAIT_S: Final = 30.0
MOST_LEADERS: Final = 3


class Prefixes:
    """The prefixes that an endpoint has in its cache, and those that a call is bringing there.

    All threads and event loops of the process share it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used_at: dict[str, float] = {}
        self._leaders: dict[str, Future[None]] = {}
        forget_after_fork(self)

    def forget(self) -> None:
        """Drop the calls under way."""
        self._lock = threading.Lock()
        self._leaders.clear()

    async def turn(self, front: str) -> Future[None] | None:
        """Wait until the prefix is in the cache. Where nobody brings it there, return what is to be settled.

        A call waits for LONGEST_WAIT_S at most, and for MOST_LEADERS that fail; then it goes with all others.
        """
        end = time.monotonic() + LONGEST_WAIT_S
        for _ in range(MOST_LEADERS):
            with self._lock:
                now = time.monotonic()
                if now - self._used_at.get(front, -KEPT_S) < KEPT_S:
                    return None
                leader = self._leaders.get(front)
                if leader is None:
                    leader = self._leaders[front] = Future()
                    return leader
            done, _waiting = await asyncio.wait([_mirror(leader)], timeout=end - now)
            if not done:
                return None
        return None

    def used(self, front: str) -> None:
        """Note that the prefix is in the cache, from now on."""
        with self._lock:
            now = time.monotonic()
            self._used_at.pop(front, None)
            self._used_at[front] = now  # the oldest stand first
            while now - next(iter(self._used_at.values())) > KEPT_S:
                del self._used_at[next(iter(self._used_at))]

    def begun(self, front: str, leader: Future[None]) -> None:
        """Note that the leader's answer begins: the others may go."""
        self.used(front)
        self.left(front, leader)

    def left(self, front: str, leader: Future[None]) -> None:
        """Note that the leader leads no more; if its answer has not begun, another one does."""
        with self._lock:
            if self._leaders.get(front) is leader:
                del self._leaders[front]
                leader.set_result(None)


def _mirror(leader: Future[None]) -> asyncio.Future[None]:
    """Return a future of this event loop that ends with the leader's, and may be given up by itself."""
    loop = asyncio.get_running_loop()
    mirror = loop.create_future()

    def settle() -> None:
        if not mirror.done():
            mirror.set_result(None)

    def end(_: Future[None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(settle)

    leader.add_done_callback(end)
    return mirror


class FirstToken:
    """A sink that notes when the leader's answer begins."""

    listened = True

    def __init__(self, prefixes: Prefixes, front: str, leader: Future[None]) -> None:
        self._note = partial(prefixes.begun, front, leader)
        self._begun = False

    async def emit(self, text: str = "", *, reasoning: str = "") -> None:
        if not self._begun:
            self._begun = True
            self._note()


class PrefixLayer(Layer):
    """Lets one of the calls with a shared prefix go ahead until its answer begins, and the others after it.

    The leader is streamed where the model `streams`; else the others wait for its whole answer. Where it
    fails or is given up, the next one leads.
    """

    def __init__(self, inner: Model, prefixes: Prefixes, backend: Backend) -> None:
        super().__init__(inner)
        self._prefixes = prefixes
        self._streams = backend.streams
        self._with_schema = backend.schema_first

    async def complete(self, request: Request, context: CallContext) -> Reply:
        if request.prefix is None:
            return await self.inner.complete(request, context)
        front = front_of(request, with_schema=self._with_schema)
        leader = await self._prefixes.turn(front)
        try:
            if leader is not None and self._streams:
                note = FirstToken(self._prefixes, front, leader)
                reply = await self._streamed(request, context, note)
            else:
                reply = await self.inner.complete(request, context)
            self._prefixes.used(front)
            return reply
        finally:
            if leader is not None:
                self._prefixes.left(front, leader)

    async def _streamed(self, request: Request, context: CallContext, note: FirstToken) -> Reply:
        """Ask for a stream, which nobody asked for but us: where the server has none, never again."""
        try:
            reply = await self.inner.complete(request, replace(context, sink=note))
        except ModelRefused as error:
            if "stream" not in str(error).lower():
                raise
            self._streams = False
            return await self.inner.complete(request, context)
        if reply.usage.input is None:  # a stream that does not tell what it costs
            self._streams = False
        return reply
