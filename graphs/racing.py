"""Races: parts that run side by side until what they have found is enough, and then are called off."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from langchain_core.runnables import RunnableConfig

from ..nodes.node import Node
from ..state.schema import values_of
from .lanes import Work

RACE = "stepgraph_race"
MOST = 10_000


class Start(Node[Any]):
    """Begins a race: the id in the private channel leads its runners to one another."""

    name = "start"

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        return {RACE: uuid.uuid4().hex}


class Race:
    """Those who run, and what they found. Lives in one event loop, as long as the superstep.

    A process that resumes a thread knows nothing of what was found before: its runners run on.
    """

    def __init__(self) -> None:
        self.found: dict[int, Any] = {}
        self.is_over = False
        self._running: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def run(self, number: int, work: Work) -> dict[str, Any] | None:
        """Return what the work gives, None if the race is over before it does."""
        if self.is_over:
            return None
        mine = self._running[number] = asyncio.ensure_future(work())
        try:
            return await asyncio.shield(mine)
        except asyncio.CancelledError:
            if mine.cancelled() and self.is_over:
                return None
            await _stopped(mine)
            raise
        finally:
            del self._running[number]

    def call_off(self) -> None:
        """End the race: whoever still runs is cancelled."""
        self.is_over = True
        for runner in self._running.values():
            runner.cancel()


async def _stopped(runner: asyncio.Future[Any]) -> None:
    runner.cancel()
    await asyncio.wait([runner])


_races: OrderedDict[tuple[str, str], Race] = OrderedDict()


def race_of(state: Any, config: RunnableConfig, make: Callable[[], Race] = Race) -> Race:
    """Return the race that a runner's state says it is part of."""
    key = _key(state, config)
    if key not in _races:
        while len(_races) >= MOST:
            _races.popitem(last=False)
        _races[key] = make()
    return _races[key]


def forget_race(state: Any, config: RunnableConfig | None) -> None:
    """Forget a race whose superstep has ended."""
    _races.pop(_key(state, config or {}), None)


def _key(state: Any, config: RunnableConfig) -> tuple[str, str]:
    thread = str(config.get("configurable", {}).get("thread_id", ""))
    return thread, str(values_of(state).get(RACE, ""))
