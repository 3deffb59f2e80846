"""SIGTERM while a command runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ended_by_sigterm() -> Iterator[threading.Event]:
    """Let SIGTERM end a command as Ctrl-C does, and yield what is then set.

    Without a handler, the first process of a container would never get it, and any other would leave
    its claims behind. Whoever calls a command from Python has the handler of before afterwards.
    """
    terminated = threading.Event()

    def end(_: int, frame: FrameType | None) -> None:
        terminated.set()
        interrupt = signal.getsignal(signal.SIGINT)
        if callable(interrupt):
            interrupt(signal.SIGINT, frame)
        else:  # Ctrl-C is ignored, as in a shell's background
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield terminated
        return
    former = signal.signal(signal.SIGTERM, end)
    try:
        yield terminated
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if former is None else former)
