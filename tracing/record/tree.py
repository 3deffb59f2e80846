"""The tree of a thread's steps: nested node runs, each with its calls and its decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...state.journal.journal import Journal

Row = dict[str, Any]


@dataclass
class TreeNode:
    """One node execution. `node_run` is None while it runs, or if the process died in it."""

    task: str
    path: str
    node_run: Row | None = None
    decision: Row | None = None
    calls: list[Row] = field(default_factory=list)
    children: list[TreeNode] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def started_at(self) -> float:
        times = [row["started_at"] for row in (self.node_run, *self.calls) if row]
        times += [child.started_at for child in self.children]
        times += [self.decision["decided_at"]] if self.decision else []
        return min(times, default=0.0)

    def walk(self) -> Iterator[TreeNode]:
        """Yield this node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class Totals:
    """Sums over calls. `cost_usd` is None if the cost of any is unknown, `known_cost_usd` sums the others."""

    calls: int
    failed: int
    replays: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    known_cost_usd: float
    unknown_costs: int
    latency_s: float


def read_tree(journal: Journal, thread_id: str) -> list[TreeNode]:
    """Return the top-level node executions of a thread, in the order in which they began."""
    nodes: dict[str, TreeNode] = {}

    def node(task: str, path: str) -> TreeNode:
        if task not in nodes:
            nodes[task] = TreeNode(task, path)
            if "|" in task:
                parent = task.rsplit("|", 1)[0]
                node(parent, path.rsplit("/", 1)[0]).children.append(nodes[task])
        return nodes[task]

    for node_run in journal.query("SELECT * FROM node_runs WHERE thread_id = ? ORDER BY id", (thread_id,)):
        node(node_run["task"], node_run["path"]).node_run = node_run
    for call in read_calls(journal, thread_id):
        node(call["task"], call["path"]).calls.append(call)
    for decision in journal.query("SELECT * FROM decisions WHERE thread_id = ?", (thread_id,)):
        node(decision["task"], decision["path"]).decision = decision
    for item in nodes.values():
        item.children.sort(key=lambda child: child.started_at)
    roots = [item for task, item in nodes.items() if "|" not in task]
    return sorted(roots, key=lambda item: item.started_at)


def read_calls(journal: Journal, thread_id: str) -> list[Row]:
    """Return the thread's calls, oldest first."""
    return journal.query("SELECT * FROM calls WHERE thread_id = ? ORDER BY started_at, rowid", (thread_id,))


def totals(calls: list[Row]) -> Totals:
    """Return the sums over calls."""
    answered = [call for call in calls if call["status"] != "failed"]
    known = sum(call["cost_usd"] or 0.0 for call in calls)
    unknown = sum(call["cost_usd"] is None for call in answered)
    return Totals(
        calls=len(calls),
        failed=len(calls) - len(answered),
        replays=sum(call["replays"] for call in calls),
        input_tokens=sum(call["input_tokens"] or 0 for call in calls),
        output_tokens=sum(call["output_tokens"] or 0 for call in calls),
        cost_usd=None if unknown else known,
        known_cost_usd=known,
        unknown_costs=unknown,
        latency_s=sum(call["latency_s"] for call in calls),
    )
