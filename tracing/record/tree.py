"""What a reader wants of spans: the tree, what each branch cost, and which steps the run waited for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ...state.cost import NOTHING, Cost
from .spans import Span

_SAME_MOMENT_S = 1e-4


@dataclass
class SpanNode:
    """One span in its place: `cost` is of it and all below it.

    `critical` says that the run would have ended sooner, had this been faster.
    """

    span: Span
    depth: int
    children: list[SpanNode] = field(default_factory=list)
    cost: Cost = NOTHING
    critical: bool = False

    @property
    def holds_nodes(self) -> bool:
        return any(child.span.kind == "node" for child in self.children)

    def walk(self) -> Iterator[SpanNode]:
        """Yield this node and all below it."""
        todo: list[SpanNode] = [self]
        while todo:
            node = todo.pop()
            yield node
            todo.extend(reversed(node.children))


def tree_of(spans: Sequence[Span]) -> list[SpanNode]:
    """Return the outermost spans, those below them inside, each level in the order of its beginnings."""
    below: dict[str, list[Span]] = defaultdict(list)
    ids = {span.id for span in spans}
    roots = []
    for span in spans:
        if span.parent_id in ids:
            below[span.parent_id or ""].append(span)
        else:
            roots.append(span)
    nodes = [SpanNode(span, 0) for span in roots]
    todo = list(nodes)
    order = []
    while todo:
        node = todo.pop()
        order.append(node)
        below_it = sorted(below[node.span.id], key=lambda s: (s.started_at, s.ended_at))
        node.children = [SpanNode(span, node.depth + 1) for span in below_it]
        todo += node.children
    for node in reversed(order):
        node.cost = sum((child.cost for child in node.children), node.span.cost)
    for node in nodes:
        _mark(node)
    return nodes


def _mark(node: SpanNode) -> None:
    """Mark the critical path: from the end back, always what ended last before the next one began."""
    todo = [node]
    while todo:
        node = todo.pop()
        node.critical = True
        end = node.span.ended_at
        for child in sorted(node.children, key=lambda b: b.span.ended_at, reverse=True):
            if child.span.kind == "run" or child.span.ended_at <= end + _SAME_MOMENT_S:
                todo.append(child)
                end = min(end, child.span.started_at)
