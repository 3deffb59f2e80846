"""The waterfall: who is below whom, what each branch cost, what the run waited for; and the list's index."""

from __future__ import annotations

import pytest

from stepgraph import Session
from stepgraph.tracing.record import threads
from stepgraph.tracing.record.spans import Kind, Span, Trace
from stepgraph.tracing.record.tree import tree_of

TRACE = Trace("0" * 32, "t", 0, "run")


def span(name: str, parent: str | None, start: float, end: float, cost: float | None = None) -> Span:
    kind: Kind = "call" if name.startswith("call") else "run" if parent is None else "node"
    row = {"status": "answered", "cost_usd": cost} if kind == "call" else {}
    return Span(TRACE, kind, name, parent, name, name, name, "done", start, end, row)


SPANS = [
    span("run", None, 0, 10),
    span("first", "run", 0, 2),
    span("slow", "run", 2, 9),
    span("quick", "run", 2, 4),
    span("call slow", "slow", 3, 9, cost=0.5),
    span("call quick", "quick", 2, 4, cost=None),
    span("last", "run", 9, 10),
]


def test_spans_nest_and_costs_add_up() -> None:
    (run,) = tree_of(SPANS)
    assert [bar.span.name for bar in run.walk()] == [
        "run",
        "first",
        "quick",
        "call quick",
        "slow",
        "call slow",
        "last",
    ]
    assert (run.cost.calls, run.cost.known_usd, run.cost.unknown) == (2, 0.5, 1)
    assert [bar.depth for bar in run.walk()] == [0, 1, 1, 2, 1, 2, 1]


def test_the_critical_path_is_what_the_run_waited_for() -> None:
    (run,) = tree_of(SPANS)
    assert [bar.span.name for bar in run.walk() if bar.critical] == [
        "run",
        "first",
        "slow",
        "call slow",
        "last",
    ]


def test_a_deep_run_is_no_trouble() -> None:
    spans = [span("0", None, 0, 1)] + [span(str(n), str(n - 1), 0, 1) for n in range(1, 3000)]
    (run,) = tree_of(spans)
    assert sum(1 for _ in run.walk()) == 3000


@pytest.mark.sqlite_file("a plan of SQLite's")
def test_the_list_of_threads_reads_no_prompts(session: Session) -> None:
    plan = session.journal.query(
        f"EXPLAIN QUERY PLAN {threads.select_threads(session.journal)} GROUP BY r.thread_id"
    )
    assert any("COVERING INDEX calls_sums" in row["detail"] for row in plan)
