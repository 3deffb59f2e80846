"""What a reader wants of spans: the tree, what each branch cost, and which steps the run waited for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .spans import Span

_SAME_MOMENT_S = 1e-4


@dataclass
class Bar:
    """One span in its place: `cost_usd` and `unknown_costs` are of it and all below it.

    `critical` says that the run would have ended sooner, had this been faster.
    """

    span: Span
    depth: int
    inner: list[Bar] = field(default_factory=list)
    calls: int = 0
    cost_usd: float = 0.0
    unknown_costs: int = 0
    critical: bool = False

    def walk(self) -> Iterator[Bar]:
        """Yield this bar and all below it."""
        todo: list[Bar] = [self]
        while todo:
            bar = todo.pop()
            yield bar
            todo.extend(reversed(bar.inner))


def bars_of(spans: Sequence[Span]) -> list[Bar]:
    """Return the outermost spans, those below them inside, each level in the order of its beginnings."""
    below: dict[str, list[Span]] = defaultdict(list)
    ids = {span.id for span in spans}
    roots = []
    for span in spans:
        if span.parent_id in ids:
            below[span.parent_id or ""].append(span)
        else:
            roots.append(span)
    bars = [Bar(span, 0) for span in roots]
    todo = list(bars)
    order = []
    while todo:
        bar = todo.pop()
        order.append(bar)
        inner = sorted(below[bar.span.id], key=lambda s: (s.started_at, s.ended_at))
        bar.inner = [Bar(span, bar.depth + 1) for span in inner]
        todo += bar.inner
    for bar in reversed(order):
        _add_up(bar)
    for bar in bars:
        _mark(bar)
    return bars


def _add_up(bar: Bar) -> None:
    span = bar.span
    if span.kind == "call":
        bar.calls = 1
        bar.cost_usd = span.cost_usd or 0.0
        bar.unknown_costs = int(span.cost_usd is None and span.status != "failed")
    for inner in bar.inner:
        bar.calls += inner.calls
        bar.cost_usd += inner.cost_usd
        bar.unknown_costs += inner.unknown_costs


def _mark(bar: Bar) -> None:
    """Mark the critical path: from the end back, always what ended last before the next one began."""
    todo = [bar]
    while todo:
        bar = todo.pop()
        bar.critical = True
        end = bar.span.ended_at
        for inner in sorted(bar.inner, key=lambda b: b.span.ended_at, reverse=True):
            if inner.span.kind == "run" or inner.span.ended_at <= end + _SAME_MOMENT_S:
                todo.append(inner)
                end = min(end, inner.span.started_at)
