"""A lock under which no signal interrupts the main thread, whoever handles it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from importlib import import_module
from types import FrameType, TracebackType
from typing import Any, Final

# The functions of `signal` make enums of handlers, and handlers of enums, which takes 20 times as long.
_fast: Any = import_module("_signal")
_QUIET: Final = "asyncio.unix_events"  # whose handlers raise nothing

_sheltered = 0  # locks under which the main thread is
_put_off: dict[int, Callable[[int, FrameType | None], Any]] = {}  # handlers, until it is under none
_struck: list[int] = []


class ShelteredLock:
    """A lock under which neither SIGTERM nor Ctrl-C raises anything: they do as the lock is let go.

    So what belongs together happens as a whole, and whoever cleans up afterwards finds no half of it.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            _put_signals_off()
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._lock.release()
        if threading.current_thread() is threading.main_thread():
            _hear_signals()


def _put_signals_off() -> None:
    global _sheltered
    if not _sheltered:
        _struck.clear()
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                handler = _fast.getsignal(number)
                if callable(handler) and getattr(handler, "__module__", "") != _QUIET:
                    _put_off[number] = handler
                    _fast.signal(number, _note)
        except BaseException:  # raised by a handler that was not put off yet
            _put_back()
            raise
    _sheltered += 1


def _hear_signals() -> None:
    global _sheltered
    _sheltered -= 1
    if _sheltered:
        return
    handlers = dict(_put_off)
    _put_back()
    struck = dict.fromkeys(_struck)  # once each, as where it is under no lock
    _struck.clear()
    for number in struck:
        handlers[number](number, None)


def _put_back() -> None:
    try:
        for number, handler in [*_put_off.items()]:
            _fast.signal(number, handler)
            _put_off.pop(number, None)
    except BaseException:  # raised by a handler that is back already
        _put_back()
        raise


def _note(number: int, _: FrameType | None) -> None:
    _struck.append(number)


def _forget() -> None:
    """Begin anew in a forked child: whatever is locked is its parent's."""
    global _sheltered
    _sheltered = 0
    _struck.clear()
    _put_back()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
