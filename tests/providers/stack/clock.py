"""Time that only passes where somebody sleeps, for layers that wait."""

from __future__ import annotations

from types import ModuleType

import pytest


class Clock:
    """Stands in for the modules time, asyncio and random."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.is_unlucky = False

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def uniform(self, low: float, high: float) -> float:
        return high if self.is_unlucky else low


def clock_of(layer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give a layer's module a clock of its own."""
    clock = Clock()
    for module in ("time", "asyncio", "random"):
        monkeypatch.setattr(layer, module, clock)
    return clock
