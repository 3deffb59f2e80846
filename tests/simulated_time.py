"""An event loop whose time passes only while all wait: minutes are simulated in a second, always the same."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        """Stand in for the module time."""
        return self.now

    def _run_once(self) -> None:
        waiting: Any = self
        if not waiting._ready and waiting._scheduled:
            self.now = max(self.now, waiting._scheduled[0]._when)
        asyncio.SelectorEventLoop._run_once(self)  # type: ignore[attr-defined]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end, and close."""
        try:
            return self.run_until_complete(work)
        finally:
            self.close()
