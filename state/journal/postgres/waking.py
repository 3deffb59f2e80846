"""Who looks after a connection: event loops that watch its socket, and threads that sleep on it."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakKeyDictionary, WeakSet

from ...event_loops import running_loop
from .wire import Wire

SLEEP_S = 0.1  # of a thread whom another one's waking may have passed by, or of a loop that sees no news
LookAfter = Callable[[asyncio.AbstractEventLoop], None]


class Waking:
    """The watchers of one connection. A byte in a pipe rouses the threads that sleep."""

    def __init__(self) -> None:
        self.handle, self._rousing = os.pipe()
        os.set_blocking(self.handle, False)
        os.set_blocking(self._rousing, False)
        self._sleepers = 0
        self._watched: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Wire, bool]] = WeakKeyDictionary()
        self._later: WeakSet[asyncio.AbstractEventLoop] = WeakSet()  # that look once more soon
        self._loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()  # that look after the connection

    def begin(self) -> None:
        """Count a thread that is about to sleep; called with the lock."""
        self._sleepers += 1

    def sleep(self, wire: Wire | None) -> None:
        """Sleep until the connection has news, or somebody rouses."""
        try:
            if wire is not None:
                with suppress(OSError, ValueError):  # another thread closed it
                    wire.wait(SLEEP_S, self.handle)
            else:
                select.select([self.handle], [], [], SLEEP_S)
            with suppress(BlockingIOError):
                os.read(self.handle, 4096)
        finally:
            self._sleepers -= 1

    def rouse(self) -> None:
        if self._sleepers > 0:
            with suppress(BlockingIOError):
                os.write(self._rousing, b".")

    def call(self, look_after: LookAfter) -> None:
        """Have everybody look after what is left to do; called with the lock."""
        self.rouse()
        for loop in list(self._loops):
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(look_after, loop)

    def watch(self, loop: asyncio.AbstractEventLoop, wire: Wire | None, look_after: LookAfter) -> None:
        """Have an event loop look after a connection when its socket is ready; called with the lock.

        Without a connection, not for now: whoever has one calls.
        """
        self._loops.add(loop)
        if wire is None:
            self._unwatch(loop)
            return
        if wire.hides_news and loop not in self._later:
            self._later.add(loop)
            loop.call_later(SLEEP_S, self._look_later, loop, look_after)
        wanted = (wire, wire.has_unsent)
        entry = self._watched.get(loop)
        if entry == wanted:
            return
        if entry is None or entry[0] is not wire:
            loop.add_reader(wire.handle, look_after, loop)
        if wire.has_unsent:
            loop.add_writer(wire.handle, look_after, loop)
        elif entry is not None and entry[1]:
            loop.remove_writer(wire.handle)
        self._watched[loop] = wanted

    def _look_later(self, loop: asyncio.AbstractEventLoop, look_after: LookAfter) -> None:
        self._later.discard(loop)
        look_after(loop)

    def _unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        entry = self._watched.pop(loop, None)
        if entry is not None:
            loop.remove_reader(entry[0].handle)
            loop.remove_writer(entry[0].handle)

    def part(self, wire: Wire) -> None:
        """Close a connection; its handle once no event loop watches it any more."""
        wire.close()
        watching = {loop for loop, (watched, _) in self._watched.items() if watched is wire}
        for loop in watching:
            del self._watched[loop]

        def drop(loop: asyncio.AbstractEventLoop) -> None:
            if not loop.is_closed():
                loop.remove_reader(wire.handle)
                loop.remove_writer(wire.handle)
            watching.discard(loop)
            if not watching:
                wire.let_go()

        if not watching:
            wire.let_go()
        for loop in list(watching):
            if loop is running_loop() or loop.is_closed():
                drop(loop)
                continue
            try:
                loop.call_soon_threadsafe(drop, loop)
            except RuntimeError:  # it was closed meanwhile
                drop(loop)

    def close(self) -> None:
        os.close(self.handle)
        os.close(self._rousing)
