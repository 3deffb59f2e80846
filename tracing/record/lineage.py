"""Which checkpoint led to which, and after which one each node execution ran."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from ...state.errors import InputError
from ...state.journal.journal import Journal

SHORT_ID = 18
_MAX_DIGITS = 6


@dataclass(frozen=True)
class Point:
    """One checkpoint; `ns` is the node execution whose nested graph it belongs to, "" for the root."""

    ns: str
    id: str
    parent: str | None
    step: int


@dataclass(frozen=True)
class CheckpointLevel:
    """One node execution on the way down to a task: `task_id` ran in the graph of `ns`."""

    ns: str
    task_id: str
    task: str


def levels(task: str) -> Iterator[CheckpointLevel]:
    """Yield the node executions that a task or namespace is nested in, itself last."""
    parts = task.split("|") if task else []
    for number, part in enumerate(parts):
        _, sign, task_id = part.partition(":")
        if sign:
            yield CheckpointLevel("|".join(parts[:number]), task_id, "|".join(parts[: number + 1]))


def _step(metadata: bytes | str | None) -> int:
    """Return the superstep in a checkpoint's metadata, which LangGraph keeps as JSON; -1 before the first."""
    step: int = json.loads(metadata or "{}").get("step", -1)
    return step


class Lineage:
    """The checkpoints of one thread and the tasks between them, without their contents.

    `tips` holds the last checkpoint of each namespace, `supersteps` the superstep of each ended task.
    """

    def __init__(self, journal: Journal, thread_id: str) -> None:
        self.thread_id = thread_id
        rows = journal.query(
            "SELECT checkpoint_ns AS ns, checkpoint_id AS id, parent_checkpoint_id AS parent, "
            "metadata FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id",
            (thread_id,),
        )
        self.points = [Point(row["ns"], row["id"], row["parent"], _step(row["metadata"])) for row in rows]
        self._at = {(point.ns, point.id): point for point in self.points}
        self.tips = {point.ns: point for point in self.points}
        writers = journal.query(
            "SELECT DISTINCT task_id, checkpoint_id FROM writes WHERE thread_id = ?", (thread_id,)
        )
        self._after = {row["task_id"]: row["checkpoint_id"] for row in writers}
        node_runs = journal.query("SELECT task, superstep FROM node_runs WHERE thread_id = ?", (thread_id,))
        self.supersteps = {row["task"]: row["superstep"] for row in node_runs}

    def before(self, level: CheckpointLevel) -> Point | None:
        """Return the checkpoint after which a node execution ran, None if the file does not hold it."""
        known = self._after.get(level.task_id)
        if known is not None:
            return self._at.get((level.ns, known))
        superstep = self.supersteps.get(level.task)
        if superstep is None:  # it never ended: it is under way, after the last checkpoint
            return self.tips.get(level.ns)
        points = [p for p in self.points if p.ns == level.ns and p.step == superstep - 1]
        return points[-1] if points else None

    def ancestors(self, point: Point) -> set[str]:
        """Return the ids of the checkpoints that led to one, without its own."""
        ids: set[str] = set()
        parent = point.parent
        while parent is not None and parent not in ids and (point.ns, parent) in self._at:
            ids.add(parent)
            parent = self._at[point.ns, parent].parent
        return ids

    def find(self, at: str | int | None) -> Point:
        """Return the checkpoint with an id, the beginning of one, or a root superstep's number.

        None is the thread's last one. Where a superstep ran more than once the last time counts.
        Raises InputError.
        """
        if not self.points:
            raise InputError(f"The thread {self.thread_id!r} has no checkpoints, so there is none to go to.")
        root = [point for point in self.points if not point.ns]
        hint = f"`stepgraph history {self.thread_id}` lists them."
        if at is None:
            return root[-1]
        text = str(at)
        if text.removeprefix("-").isdigit() and len(text) <= _MAX_DIGITS:
            points = [point for point in root if point.step == int(text)][-1:]
        else:
            points = [point for point in self.points if point.id.startswith(text)]
        if not points:
            raise InputError(f"The thread {self.thread_id!r} has no checkpoint {text!r}. {hint}")
        if len(points) > 1:
            raise InputError(f"{len(points)} checkpoints of {self.thread_id!r} begin with {text!r}. {hint}")
        return points[0]
