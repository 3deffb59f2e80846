"""Races: parts that run side by side until their results are enough; then the others are cancelled.

LangGraph lets no node end another one of its superstep, so the runners of a race find one another
through a table of this process, by the id that `Start` wrote into a private channel. The table is only
a meeting place: what counts is in the checkpoints, from where a race is rebuilt after a crash.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver

from ...nodes.node import Node, Update
from ...state.event_loops import in_thread
from ...state.run_context import RunContext
from ...state.run_resources import RunResources, resources_of
from ...state.schema import values_of
from .branches import Branch
from .compiled import is_sync_only

RACE = "stepgraph_race"
MAX_RACES = 10_000


class Start(Node[Any]):
    """Begins a race: the id in the private channel leads its runners to one another."""

    name = "start"

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        race = {RACE: uuid.uuid4().hex}
        _begin(_key(race, config or {}), resources_of(config))
        return race


class Race:
    """The runners and their results. Lives in one event loop, as long as the superstep in one run.

    A run that resumes a thread begins with the results that finished runners left in the checkpoint: what
    others had found when an earlier run failed, in this process too, may not be there.
    """

    def __init__(self, run: RunResources | None) -> None:
        self.run_of = run
        self.results: dict[int, Any] = {}
        self.is_over = False
        self.recorded: set[int] = set()
        self.reading: asyncio.Future[None] | None = None
        self._running: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def run(self, number: int, work: Branch) -> dict[str, Any] | None:
        """Return what the work gives, None if the race is over before it does."""
        if self.is_over:
            return None
        mine = self._running[number] = asyncio.ensure_future(work())
        try:
            return await asyncio.shield(mine)
        except asyncio.CancelledError:
            # Two things look the same here. The race cancelled the work: that is a result. Or somebody
            # cancelled this runner, such as a timeout around the graph: then the work must end too.
            if mine.cancelled() and self.is_over:
                return None
            await _stopped(mine)
            raise
        finally:
            del self._running[number]

    def enter(self, number: int) -> None:
        """Take note that a runner runs; if it is one on record, the record is of another execution.

        LangGraph does not run again what has written to the checkpoint. So when it does, as in a fork, the
        results that were read belong to a race that is not this one.
        """
        if number in self.recorded:
            for other in self.recorded:
                self.results.pop(other, None)
            self.recorded.clear()
            self.is_over = False

    def call_off(self) -> None:
        """End the race: whoever still runs is cancelled."""
        self.is_over = True
        for runner in self._running.values():
            runner.cancel()


async def _stopped(runner: asyncio.Future[Any]) -> None:
    runner.cancel()
    await asyncio.wait([runner])


_races: OrderedDict[tuple[str, str], Race] = OrderedDict()


Note = Callable[[Race, Any], int]


def _begin(key: tuple[str, str], run: RunResources | None) -> Race:
    while len(_races) >= MAX_RACES:  # races whose superstep was killed are never forgotten otherwise
        _races.popitem(last=False)
    race = _races[key] = Race(run)
    return race


async def race_of(state: Any, config: RunnableConfig, number: int, channel: str, note: Note) -> Race:
    """Return the race that a runner's state belongs to.

    `channel` takes the runners' results; `note` puts one into the race and returns its runner's number.
    """
    key, run = _key(state, config), resources_of(config)
    race = _races.get(key)
    if race is None or race.run_of is not run:
        race = _begin(key, run)
        race.reading = asyncio.ensure_future(_read(race, config, channel, note))
        race.reading.add_done_callback(lambda done: _forget_unread(key, done))
    if race.reading is not None:
        await asyncio.shield(race.reading)
    race.enter(number)
    return race


def _forget_unread(key: tuple[str, str], reading: asyncio.Future[None]) -> None:
    """Forget a race whose record could not be read, so that a resume reads it again."""
    if reading.cancelled() or reading.exception() is not None:
        _races.pop(key, None)


async def _read(race: Race, config: RunnableConfig, channel: str, note: Note) -> None:
    """Put into a race what finished runners left in the checkpoint: they do not run again."""
    here = RunContext.of(config)
    saver = here.checkpointer
    if not isinstance(saver, BaseCheckpointSaver):
        return
    place = here.outer_checkpoint()
    if is_sync_only(saver):
        checkpoint = await in_thread(saver.get_tuple, place)
    else:
        checkpoint = await saver.aget_tuple(place)
    for _, written, value in (checkpoint and checkpoint.pending_writes) or ():
        if written == channel:
            race.recorded.add(note(race, value))


def forget_race(state: Any, config: RunnableConfig | None) -> None:
    """Forget a race whose superstep has ended."""
    _races.pop(_key(state, config), None)


def _key(state: Any, config: RunnableConfig | None) -> tuple[str, str]:
    return RunContext.of(config).thread_id, str(values_of(state).get(RACE, ""))
