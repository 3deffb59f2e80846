"""Where a fork parts from its thread: which checkpoints and which work go along, which do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ...state.errors import InputError
from ..record.lineage import SHORT_ID, CheckpointLevel, Lineage, Point, levels

NOBODY = "00000000-0000-0000-0000-000000000000"  # LangGraph's task id of what a resume hands in


class Fate(Enum):
    """What becomes of a node execution: it is over and kept, is done again, or never happens."""

    KEPT = "kept"
    REDONE = "redone"
    LOST = "lost"


@dataclass(frozen=True)
class CutEdge:
    """The last checkpoint that is kept of one namespace, and which tasks after it are done again.

    `again` holds task ids, or is None for all of them; `whole` keeps even the unfinished work after it.
    """

    last: Point
    past: frozenset[str]
    again: frozenset[str] | None = None
    whole: bool = False

    def redoes(self, task_id: str) -> bool:
        return not self.whole and (self.again is None or task_id in self.again)


@dataclass(frozen=True)
class Cut:
    """A cut through a thread and the nested graphs that were at work there: one edge a namespace."""

    lineage: Lineage
    edges: dict[str, CutEdge] = field(default_factory=dict)

    @property
    def root(self) -> Point:
        return self.edges[""].last

    def fate(self, task: str) -> Fate:
        """Return what becomes of a node execution, or of the graph of a namespace."""
        for level in levels(task):
            edge = self.edges.get(level.ns)
            if edge is None:
                return Fate.KEPT
            after = self._relation(level, edge)
            if after is not Fate.REDONE:
                return after
            if not edge.redoes(level.task_id):
                return Fate.KEPT
            if not any(ns == level.task or ns.startswith(f"{level.task}|") for ns in self.edges):
                return Fate.REDONE
        return Fate.REDONE

    def _relation(self, level: CheckpointLevel, edge: CutEdge) -> Fate:
        """Say whether a task ran before the edge's checkpoint (kept), right after it (redone), or later."""
        before = self.lineage.before(level)
        if before is None:  # its checkpoint was pruned: only the superstep is left to go by
            superstep = self.lineage.supersteps.get(level.task) or 0
            return Fate.KEPT if superstep <= edge.last.step else Fate.LOST
        if before.id in edge.past:
            return Fate.KEPT
        return Fate.REDONE if before.id == edge.last.id else Fate.LOST

    def keeps(self, point: Point) -> bool:
        """Tell whether a checkpoint goes along."""
        edge = self.edges.get(point.ns)
        if edge is not None:
            return point.id == edge.last.id or point.id in edge.past
        if not any(levels(point.ns)):  # a graph that keeps its state across its executions
            return self.edges[""].whole or point.id <= self.root.id
        return self.fate(point.ns) is Fate.KEPT

    def keeps_write(self, row: dict[str, Any]) -> bool:
        """Tell whether a pending write of a kept checkpoint goes along."""
        edge = self.edges.get(row["checkpoint_ns"])
        if edge is None or row["checkpoint_id"] != edge.last.id or edge.whole:
            return True
        return row["task_id"] != NOBODY and not edge.redoes(row["task_id"])


def cut_at(lineage: Lineage, point: Point, *, keep_unfinished: bool) -> Cut:
    """Cut right after a checkpoint: every node that runs after it runs again.

    With `keep_unfinished`, what was done after a thread's last checkpoint is kept.
    """
    cut = _cut_around(lineage, point.ns)
    whole = keep_unfinished and lineage.tips.get(point.ns) == point
    cut.edges[point.ns] = CutEdge(point, frozenset(lineage.ancestors(point)), whole=whole)
    return cut


def cut_before_call(lineage: Lineage, call: dict[str, Any]) -> Cut:
    """Cut right before a call: only the node execution that made it, and those around it, run again."""
    cut = _cut_around(lineage, call["task"])
    if not cut.edges:
        raise InputError(f"The call {call['id']} was made outside of a graph, so there is nothing to fork.")
    return cut


def cut_before_tasks(lineage: Lineage, tasks: Sequence[str]) -> Cut:
    """Cut right before node executions that ran side by side: what ran beside them is kept."""
    cut = Cut(lineage)
    for task in tasks:
        for ns, edge in _cut_around(lineage, task).edges.items():
            known = cut.edges.get(ns, edge)
            again = (known.again or frozenset()) | (edge.again or frozenset())
            cut.edges[ns] = CutEdge(edge.last, edge.past, again=again)
    return cut


def _cut_around(lineage: Lineage, task: str) -> Cut:
    """Return a cut before a node execution, or the graph of a namespace, and all those around it."""
    cut = Cut(lineage)
    for level in levels(task):
        point = lineage.before(level)
        if point is None:
            raise InputError(
                f"The file does not hold the checkpoint before {level.task.rsplit('|', 1)[-1][:SHORT_ID]}…: "
                "it was pruned, or the graph kept none there. Fork at a checkpoint: --at."
            )
        cut.edges[level.ns] = CutEdge(
            point, frozenset(lineage.ancestors(point)), again=frozenset({level.task_id})
        )
    return cut
