"""Waterfalls: many rows are folded, pauses are left out, and what failed is open."""

from __future__ import annotations

from collections.abc import Sequence

from stepgraph import Session
from stepgraph.state.cost import Cost
from stepgraph.state.statuses import RunState
from stepgraph.tracing.record.run import Run
from stepgraph.tracing.record.spans import Kind, Span, Trace
from stepgraph.tracing.record.threads import Thread
from stepgraph.tracing.record.timeline import Timeline
from stepgraph.ui.records import Reader
from stepgraph.ui.waterfalls import DEEPEST, WaterfallGroup, WaterfallRow, waterfall

from .runs import run_blog

TRACE = Trace("0" * 32, "t", 0, "run")
THREAD = Thread("t", None, None, {}, "done", None, 0, 1, Cost())


def span(
    name: str, parent: str | None, start: float, end: float, status: RunState = "done", kind: Kind = "node"
) -> Span:
    return Span(TRACE, kind, name, parent, name, name, name, status, start, end, {})


def run_of(spans: Sequence[Span]) -> Run:
    return Run(THREAD, "done", False, spans)


def test_long_lists_are_folded_but_for_what_failed() -> None:
    spans = [span("run", None, 0, 400, kind="run")]
    spans += [span(str(n), "run", n, n + 1, "failed" if n == 170 else "done") for n in range(400)]
    (root,) = waterfall(run_of(spans))
    assert isinstance(root, WaterfallRow)
    groups = [group for group in root.inner if isinstance(group, WaterfallGroup)]
    assert [(group.first, group.last, group.of) for group in groups][-1] == (351, 400, 400)
    assert [number for number, group in enumerate(groups) if group.open] == [0, 3]
    assert groups[3].failed == 1


def test_deep_runs_become_flat_in_the_end() -> None:
    spans = [span("0", None, 0, 1, kind="run")] + [span(str(n), str(n - 1), 0, 1) for n in range(1, 500)]
    rows = waterfall(run_of(spans))
    depth = 0
    while rows and isinstance(rows[0], WaterfallRow) and rows[0].inner:
        rows, depth = rows[0].inner, depth + 1
    assert depth == DEEPEST + 1
    assert len(rows) + DEEPEST <= 500


def test_time_in_which_nothing_ran_is_left_out() -> None:
    pieces = [span("one", None, 0, 10, kind="run"), span("two", "one", 1010, 1020, kind="run")]
    line = Timeline(pieces)
    assert line.length == 20
    assert line.at(5) == 5
    assert line.at(1015) == 15
    assert line.at(500) == 10
    assert line.waited_before(1010) == 1000
    begin, width = line.bar(pieces[1])
    assert (begin, width) == (500, 500)


def test_a_call_that_is_the_only_one_stands_in_the_row_of_its_node(session: Session) -> None:
    run_blog(session, "one")
    found = []
    todo = list(waterfall(Reader(session).run("one")))
    while todo:
        row = todo.pop()
        assert isinstance(row, WaterfallRow)
        found.append((row.span.name, row.model))
        todo += row.inner
    assert ("plan", "scripted") in found
    assert ("kind", "") in found
    assert len(found) == len({bar.span.id for bar in Reader(session).run("one").steps}) + 1
