"""SIGTERM while work is under way: it ends the program as `sys.exit(143)` would, so that runs end cleanly.

Without a handler the system kills the process where it stands; or, if it is the first one of a container, it
does not even tell it. A program that handles SIGTERM itself is left alone.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM

_under_way: set[int] = set()


def begin(work: object) -> None:
    """Have SIGTERM raise SystemExit from now on, if this is the main thread: only there a handler may."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)
    _under_way.add(id(work))


def end(work: object) -> None:
    """Give SIGTERM its own meaning back, once no work is under way; any thread may say so, and twice."""
    _under_way.discard(id(work))
    if not _under_way and threading.current_thread() is threading.main_thread():
        _restore()


def _end(number: int, _: FrameType | None) -> None:
    if _under_way:
        raise SystemExit(EXIT_CODE)
    _restore()  # the last work ended in a thread that could not
    os.kill(os.getpid(), number)


def _restore() -> None:
    if signal.getsignal(signal.SIGTERM) is _end:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _forget() -> None:
    """Begin anew in a forked child: what is under way is its parent's."""
    _under_way.clear()
    _restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
