"""The rows of a waterfall: nested, long lists in groups, each with its bar and a remark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..state.cost import NOTHING, Cost
from ..state.statuses import RUNNING
from ..tracing.record.notes import notes
from ..tracing.record.run import Run
from ..tracing.record.spans import Span
from ..tracing.record.tree import SpanNode

MANY = 150  # rows, from which on what lies deep is folded
GROUP = 50  # rows in a group, where siblings are more than twice as many
DEEPEST = 40
BAD = ("failed", "unfinished")
_SEARCHED: tuple[str, ...] = (
    "input",
    "output",
    "interrupts",
    "messages",
    "answer",
    "reasoning",
    "problem",
    "model_answered",
)
_SEARCHED += ("query", "passages")


@dataclass
class WaterfallRow:
    """One row. A call that is the only one of its node stands in that node's row."""

    bar: SpanNode
    model: str
    note: str
    x: float
    width: float
    inner: list[WaterfallRow | WaterfallGroup] = field(default_factory=list)
    open: bool = True

    @property
    def span(self) -> Span:
        return self.bar.span

    @property
    def label(self) -> str:
        return self.model if self.span.kind == "call" else self.span.name

    @property
    def critical(self) -> bool:
        return self.bar.critical


@dataclass
class WaterfallGroup:
    """Rows of one level that are folded together."""

    first: int
    last: int
    of: int
    rows: Sequence[WaterfallRow]
    failed: int
    cost: Cost
    open: bool


def waterfall(run: Run) -> list[WaterfallRow | WaterfallGroup]:
    """Return all rows of a run."""
    fold = len(run.by_id) > MANY
    return [_row(run, bar, fold=fold) for bar in run.roots]


def matching(run: Run, *, text: str, only: str) -> list[WaterfallRow | WaterfallGroup]:
    """Return the rows that a search finds, without what is around them."""
    wanted = text.lower()
    return [
        _row(run, bar, alone=True)
        for bar in run.by_id.values()
        if (not wanted or wanted in _searched(bar)) and _is(bar, only)
    ]


def _is(bar: SpanNode, only: str) -> bool:
    span = bar.span
    if only == "failed":
        return span.status in BAD or bool(span.kind == "call" and span.row.get("problem"))
    if only == "decisions":
        return span.decision is not None
    if only == "calls":
        return span.kind == "call"
    return span.kind == "node" and not bar.holds_nodes and (only != "critical" or bar.critical)


def _searched(bar: SpanNode) -> str:
    """Return what is searched of a row: its names and texts, those of its calls for a node."""
    parts = [bar.span.path, bar.span.error or ""]
    for span in (bar.span, *(inner.span for inner in bar.children if inner.span.place != inner.span.id)):
        parts += [str(span.row.get(name) or "") for name in _SEARCHED]
    if bar.span.decision:
        parts += [str(bar.span.decision["choice"]), bar.span.decision["reason"] or ""]
    return "\n".join(parts).lower()


def note_of(run: Run, span: Span) -> str:
    """Return what stands beside a step: what it wrote, decided or asks, or why it failed."""
    bar = run.by_id.get(span.id)
    return ", ".join(notes(run, span, _only_call(bar)[1])) if bar else ""


def _only_call(bar: SpanNode) -> tuple[bool, Span | None]:
    """Tell whether a node made one call and nothing else, and return that call, or the one that this is."""
    calls = [inner for inner in bar.children if inner.span.kind == "call"]
    single = bar.span.kind == "node" and len(bar.children) == len(calls) == 1
    return single, calls[0].span if single else bar.span if bar.span.kind == "call" else None


def _row(run: Run, bar: SpanNode, *, fold: bool = False, alone: bool = False) -> WaterfallRow:
    span = bar.span
    single, shown = _only_call(bar)
    x, width = run.timeline.bar(span)
    row = WaterfallRow(
        bar=bar,
        model=shown.model if shown else "",
        note=", ".join(notes(run, span, shown)),
        x=x,
        width=width,
    )
    if alone or single:
        return row
    if bar.depth >= DEEPEST:
        below = [inner for child in bar.children for inner in child.walk()]
        row.inner = [_row(run, inner, alone=True) for inner in below]
    else:
        row.inner = _grouped([_row(run, inner, fold=fold) for inner in bar.children])
    row.open = not fold or bar.depth < 1 or span.status in (*BAD, RUNNING)
    return row


def _grouped(rows: list[WaterfallRow]) -> list[WaterfallRow | WaterfallGroup]:
    if len(rows) <= 2 * GROUP:
        return list(rows)
    groups: list[WaterfallRow | WaterfallGroup] = []
    for start in range(0, len(rows), GROUP):
        some = rows[start : start + GROUP]
        failed = sum(row.span.status in BAD for row in some)
        groups.append(
            WaterfallGroup(
                first=start + 1,
                last=start + len(some),
                of=len(rows),
                rows=some,
                failed=failed,
                cost=sum((row.bar.cost for row in some), NOTHING),
                open=start == 0 or failed > 0 or any(row.span.status == RUNNING for row in some),
            )
        )
    return groups
