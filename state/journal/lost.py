"""Answers whose checkpoints are lost: somebody else kept a thread's checkpoints, and lost them in a crash.

The thread begins with its input again, or goes on from an older checkpoint, and its nodes run again as tasks
with other ids. They ask the same in the same places, so each takes an answer that no node has which is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Protocol, TypeVar

# Returns the ids of the tasks that wrote to the checkpoints of a graph, by its namespace.
WrittenBy = Callable[[str], Awaitable[Collection[str]]]


class Placed(Protocol):
    """An answer, or what will be one, at the task that asked for it."""

    @property
    def id(self) -> str: ...

    @property
    def task(self) -> str: ...


P = TypeVar("P", bound=Placed)


@dataclass(slots=True)
class Unclaimed:
    """The answers of earlier tries at an input, by when they were asked for; and which are in use again."""

    since: float
    before: float
    claimed: set[str] = field(default_factory=set)

    def enter(self, task: str) -> None:
        """Take note that a task begins."""

    async def find(self, task: str, calls: Sequence[P], written_by: WrittenBy) -> P | None:
        """Return the first of the calls that no task uses."""
        for call in calls:
            if call.id not in self.claimed and await self._is_free(task, call.task, written_by):
                return call
        return None

    async def _is_free(self, task: str, other: str, written_by: WrittenBy) -> bool:
        return True  # the thread began anew


@dataclass(slots=True)
class LostTail(Unclaimed):
    """The answers of earlier lives of a thread that goes on; its checkpoints may have lost some of them."""

    began: set[str] = field(default_factory=set)
    written: dict[str, Collection[str]] = field(default_factory=dict)

    def enter(self, task: str) -> None:
        self.began.add(task)

    async def _is_free(self, task: str, other: str, written_by: WrittenBy) -> bool:
        """Tell whether the other task, or one around it, is neither done nor under way again."""
        mine, parts = task.split("|"), other.split("|")
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(mine, parts, strict=False)))
        if same == len(parts) or "|".join(parts[: same + 1]) in self.began:
            return False
        graph = "|".join(parts[:same])
        if graph not in self.written:
            self.written[graph] = await written_by(graph)
        return parts[same].rpartition(":")[2] not in self.written[graph]
