"""The rows of a waterfall: nested, long lists in groups, each with its bar and a remark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..tracing.record.attributes import changed_fields
from ..tracing.record.spans import Span
from ..tracing.record.text import duration, one_line, sureness
from ..tracing.record.waterfall import Bar
from .records import RUNNING, Run
from .texts import read_json

MANY = 150  # rows, from which on what lies deep is folded
GROUP = 50  # rows in a group, where siblings are more than twice as many
DEEPEST = 40
BAD = ("failed", "unfinished")


@dataclass
class WaterfallRow:
    """One row. A call that is the only one of its node stands in that node's row."""

    bar: Bar
    model: str
    note: str
    x: float
    width: float
    seconds: float
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
    lines: Sequence[WaterfallRow]
    failed: int
    cost_usd: float
    unknown_costs: int
    open: bool


def waterfall(run: Run) -> list[WaterfallRow | WaterfallGroup]:
    """Return all rows of a run."""
    fold = len(run.by_id) > MANY
    return [_line(run, bar, fold=fold) for bar in run.bars]


def matching(run: Run, *, text: str, only: str) -> list[WaterfallRow | WaterfallGroup]:
    """Return the rows that a search finds, without what is around them."""
    wanted = text.lower()
    return [
        _line(run, bar, alone=True)
        for bar in run.by_id.values()
        if (not wanted or wanted in _searched(bar)) and _is(bar, only)
    ]


def _is(bar: Bar, only: str) -> bool:
    span = bar.span
    if only == "failed":
        return span.status in BAD or bool(span.kind == "call" and span.row.get("problem"))
    if only == "decisions":
        return span.decision is not None
    if only == "calls":
        return span.kind == "call"
    holds_others = any(inner.span.kind == "node" for inner in bar.inner)
    return span.kind == "node" and not holds_others and (only != "critical" or bar.critical)


def _searched(bar: Bar) -> str:
    """Return what is searched of a row: its names and texts, those of its calls for a node."""
    parts = [bar.span.path, bar.span.error or ""]
    for span in (bar.span, *(inner.span for inner in bar.inner if inner.span.kind == "call")):
        names = (
            "output",
            "interrupts",
            "messages",
            "answer",
            "reasoning",
            "problem",
            "model_answered",
            "input",
        )
        parts += [str(span.row.get(name) or "") for name in names]
    if bar.span.decision:
        parts += [str(bar.span.decision["choice"]), bar.span.decision["reason"] or ""]
    return "\n".join(parts).lower()


def _line(run: Run, bar: Bar, *, fold: bool = False, alone: bool = False) -> WaterfallRow:
    span = bar.span
    calls = [inner for inner in bar.inner if inner.span.kind == "call"]
    single = span.kind == "node" and len(bar.inner) == len(calls) == 1
    shown = calls[0].span if single else span if span.kind == "call" else None
    x, width = run.timeline.bar(span)
    line = WaterfallRow(
        bar=bar,
        model=_model(shown) if shown else "",
        note=", ".join(_notes(run, span, shown)),
        x=x,
        width=width,
        seconds=max(0.0, span.ended_at - span.started_at),
    )
    if alone or single:
        return line
    if bar.depth >= DEEPEST:
        below = [inner for child in bar.inner for inner in child.walk()]
        line.inner = [_line(run, inner, alone=True) for inner in below]
    else:
        line.inner = _grouped([_line(run, inner, fold=fold) for inner in bar.inner])
    line.open = not fold or bar.depth < 1 or span.status in (*BAD, RUNNING)
    return line


def _grouped(lines: list[WaterfallRow]) -> list[WaterfallRow | WaterfallGroup]:
    if len(lines) <= 2 * GROUP:
        return list(lines)
    groups: list[WaterfallRow | WaterfallGroup] = []
    for start in range(0, len(lines), GROUP):
        some = lines[start : start + GROUP]
        failed = sum(line.span.status in BAD for line in some)
        groups.append(
            WaterfallGroup(
                first=start + 1,
                last=start + len(some),
                of=len(lines),
                lines=some,
                failed=failed,
                cost_usd=sum(line.bar.cost_usd for line in some),
                unknown_costs=sum(line.bar.unknown_costs for line in some),
                open=start == 0 or failed > 0 or any(line.span.status == RUNNING for line in some),
            )
        )
    return groups


def _model(span: Span) -> str:
    return str(span.row["model_answered"] or span.row["model_asked"])


def _notes(run: Run, span: Span, call: Span | None) -> Iterator[str]:
    if span.kind == "run":
        waited = run.timeline.waited_before(span.started_at)
        if waited:
            yield f"after a pause of {duration(waited)}"
    if span.decision:
        yield f"→ {one_line(str(span.decision['choice']), 60)}{sureness(span.decision['confidence'])}"
    if call is not None:
        if call.source != "model":
            yield {"replayed": "replayed at no cost", "cache": "from the cache"}.get(call.source, call.source)
        if call.row["attempt"] > 1:
            yield f"attempt {call.row['attempt']}"
    problem = span.error or (call.row.get("problem") if call is not None else None)
    if problem:
        yield one_line(problem, 120)
    if span.row.get("interrupts"):
        asked = read_json(span.row["interrupts"])
        yield "asks " + one_line(str(asked[0] if isinstance(asked, list) and asked else asked), 60)
    changed = changed_fields(span.row) if span.kind == "node" else None
    if changed and not span.decision:
        yield "wrote " + one_line(", ".join(changed), 80)
    for score in run.scores.get(span.id, ()):
        value = score["label"] if score["value"] is None else f"{score['value']:g}"
        yield f"{one_line(score['name'], 30)}: {one_line(str(value), 30)}"
