"""The places in a trial of A from which B can go on: before and after each innermost node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...state.session.session import Session
from ...tracing.record.lineage import CheckpointLevel, levels
from ...tracing.record.reads import read_node_runs


@dataclass(frozen=True)
class Place:
    """A state of a trial: A's nodes were done up to there, and B's `tasks` are the next to run.

    `anew` names the nodes of A's run that B runs instead; `key` tells places of one trial apart.
    """

    tasks: tuple[str, ...]
    anew: frozenset[str]

    @property
    def key(self) -> str:
        return "\n".join(self.tasks)


@dataclass(frozen=True)
class Stage:
    """A node in a trial, before its first execution and after its last; `after` is None at the end."""

    node: str
    before: Place
    after: Place | None


@dataclass(frozen=True)
class Execution:
    """One execution of a node in a trial: its task is nested in those of the graphs around it."""

    path: str
    task: str
    superstep: int


def places_of(session: Session, thread: str) -> list[Stage]:
    """Return the stages of a thread, in the order in which its nodes began."""
    rows = sorted(read_node_runs(session.journal, thread), key=lambda row: row["started_at"])
    return stages_in([Execution(row["path"], row["task"], int(row["superstep"] or 0)) for row in rows])


def stages_in(executions: Sequence[Execution]) -> list[Stage]:
    """Return the stages of a trial whose nodes were executed so."""
    steps = {execution.task: execution.superstep for execution in executions}
    holders = {outer for task in steps for outer in _around(task)}
    leaves = [execution for execution in executions if execution.task not in holders]
    known: dict[frozenset[str], Place] = {}

    def place(tasks: Iterable[str]) -> Place:
        again = tuple(sorted(set(tasks)))
        anew = [leaf for leaf in leaves if any(_is_redone(leaf.task, task, steps) for task in again)]
        # What goes on from the same state is one place, however it was come by.
        key = frozenset(leaf.task for leaf in anew)
        return known.setdefault(key, Place(again, frozenset(leaf.path for leaf in anew)))

    stages = []
    for node in dict.fromkeys(leaf.path for leaf in leaves):
        own = [leaf.task for leaf in leaves if leaf.path == node]
        first = [task for task in own if not any(_comes_after(task, other, steps) for other in own)]
        last = [task for task in own if not any(_comes_after(other, task, steps) for other in own)]
        following = [task for one in last for task in _following(one, steps)]
        stages.append(Stage(node, place(first), place(following) if following else None))
    return stages


def _around(task: str) -> Iterator[str]:
    """Yield the tasks of the graphs that a task is nested in."""
    parts = task.split("|")
    for number in range(1, len(parts)):
        yield "|".join(parts[:number])


def _is_redone(task: str, again: str, steps: dict[str, int]) -> bool:
    return task == again or task.startswith(f"{again}|") or _comes_after(task, again, steps)


def _comes_after(task: str, other: str, steps: dict[str, int]) -> bool:
    """Tell whether a task ran in a later superstep of the innermost graph that holds both."""
    for mine, theirs in zip(_levels(task), _levels(other), strict=False):
        if mine.task != theirs.task:
            return mine.ns == theirs.ns and steps.get(mine.task, 0) > steps.get(theirs.task, 0)
    return False


def _levels(task: str) -> list[CheckpointLevel]:
    return list(levels(task))


def _following(task: str, steps: dict[str, int]) -> list[str]:
    """Return the tasks of the next superstep, in the innermost graph that has one."""
    for level in reversed(_levels(task)):
        beside = {other: step for other, step in steps.items() if _levels(other)[-1].ns == level.ns}
        later = [step for step in beside.values() if step > steps.get(level.task, 0)]
        if later:
            return [other for other, step in beside.items() if step == min(later)]
    return []
