"""What an engine carries: a job, which is two names, how its turn ended, and that its worker lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Protocol

OutcomeStatus = Literal["done", "partial", "interrupted", "failed", "canceled", "handed_over", "spread"]


@dataclass(frozen=True)
class Job:
    """A thread that was handed to workers, as an engine carries it: names, no state, no prompt, no key."""

    graph: str
    thread: str


@dataclass(frozen=True)
class Outcome:
    """How a turn ended, as an engine carries it: words and ids; the record has all the rest.

    `waiting` has the ids of the questions that wait for an answer, `due_at` the Unix time of the next
    deadline. Of one that failed, `kind` is the error's class, and `retryable` says whether another turn may
    help, after `after_s` seconds. `handed_over` means that another turn goes on: the worker had to stop, or
    something came in meanwhile, `spread` that it waits for jobs of its own.
    """

    status: OutcomeStatus
    waiting: tuple[str, ...] = ()
    due_at: float | None = None
    kind: str | None = None
    retryable: bool = False
    after_s: float = 0.0
    usd: float | None = None
    calls: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, without what says nothing."""
        return {name: value for name, value in asdict(self).items() if value not in (None, (), 0, False)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        return cls(**{**data, "waiting": tuple(data.get("waiting", ()))})


class Heartbeat(Protocol):
    """Tells an engine, while a turn runs, that its worker lives."""

    every_s: float

    def beat(self) -> None:
        """Say so; called every so many seconds."""
        ...


class NoHeartbeat:
    """For an engine that hears of its workers in another way."""

    every_s = 3600.0

    def beat(self) -> None:
        return


NO_HEARTBEAT: Final[Heartbeat] = NoHeartbeat()


@asynccontextmanager
async def beating(beat: Heartbeat) -> AsyncIterator[None]:
    """Beat while the block runs."""
    if beat is NO_HEARTBEAT:
        yield
        return

    async def beats() -> None:
        while True:
            beat.beat()
            await asyncio.sleep(beat.every_s)

    task = asyncio.ensure_future(beats())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
