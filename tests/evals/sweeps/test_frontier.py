"""Which assignments are the frontier, which is the cheapest, and what the sections say of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stepgraph.evals.report.render import as_text
from stepgraph.evals.sweeps.frontier import (
    Keeps,
    Kept,
    Option,
    Sweep,
    frontier,
    shown,
    sweep_sections,
    verdict_of,
)
from stepgraph.state.cost import Cost


def kept(verdict: Any = "keeps", mean: float = 0.5, metric: str = "output") -> Kept:
    return Kept(metric, mean, -0.125, (-0.25, 0.0), verdict)


def option(
    run: str,
    usd: float | None,
    mean: float = 0.5,
    verdict: Keeps = "keeps",
    change: tuple[float, float] | None = (-0.5, -0.25),
    scores: tuple[Kept, ...] | None = None,
) -> Option:
    found = (kept(mean=mean),) if scores is None else scores
    return Option({"small": run, "large": "x"}, run, verdict, found, 20, usd, change)


def told(*options: Option, **changes: Any) -> str:
    given: dict[str, Any] = {"skipped": {}, "paid": Cost(3, 1, 1, 0.5), **changes}
    return as_text(sweep_sections(Sweep("r", "sums", ("output", "tone"), 0.05, 0.05, 9, options, **given)))


REFERENCE = option("big", 1.0, 1.0, "reference", None)


@pytest.mark.parametrize(
    ("verdicts", "metrics", "expected"),
    [
        (["keeps", "keeps"], 2, "keeps"),
        (["keeps", "undecided"], 2, "undecided"),
        (["keeps", "loses"], 2, "loses"),
        (["undecided", "loses"], 2, "loses"),
        (["keeps"], 2, "undecided"),  # one was never measured
        ([], 1, "undecided"),
    ],
)
def test_all_scores_decide(verdicts: Sequence[str], metrics: int, expected: str) -> None:
    assert verdict_of([kept(verdict) for verdict in verdicts], ["m"] * metrics) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], set()),
        ([("a", 1.0, 0.5)], {"a"}),
        ([("a", 1.0, 0.5), ("b", 2.0, 0.5)], {"a"}),  # as good and cheaper
        ([("a", 1.0, 0.5), ("b", 1.0, 0.6)], {"b"}),  # as cheap and better
        ([("a", 1.0, 0.5), ("b", 2.0, 0.6)], {"a", "b"}),
        ([("a", 1.0, 0.6), ("b", 2.0, 0.5)], {"a"}),
        ([("a", 1.0, 0.5), ("b", 1.0, 0.5)], {"a", "b"}),  # the same
        ([("a", 0.0, 0.5), ("b", 1.0, 0.5)], {"a"}),
        ([("a", None, 0.9), ("b", 1.0, 0.5)], {"b"}),  # of unknown cost
    ],
)
def test_the_frontier_is_what_nothing_beats(options: Sequence[Any], expected: set[str]) -> None:
    assert frontier([option(*each) for each in options]) == expected
    assert frontier([option("no score", 0.0, scores=()), *(option(*each) for each in options)]) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([REFERENCE], "big"),
        ([REFERENCE, option("mid", 0.5)], "mid"),
        ([REFERENCE, option("mid", 0.5), option("tiny", 0.1, verdict="loses")], "mid"),
        ([REFERENCE, option("tiny", 0.1, verdict="undecided")], "big"),
        ([REFERENCE, option("free", 0.0)], "free"),
        ([REFERENCE, option("mid", None)], "big"),
        ([option("mid", None)], None),
    ],
)
def test_the_cheapest_keeps_the_score_and_has_a_known_cost(
    options: list[Option], expected: str | None
) -> None:
    found = Sweep("r", "s", ("output",), 0.05, 0.05, 9, tuple(options), {}).cheapest
    assert (found.run if found else None) == expected


def test_what_is_said_of_a_cheaper_one() -> None:
    text = told(REFERENCE, option("mid", 0.25, scores=(kept(), kept(metric="tone", mean=0.75))))
    assert "Cheapest that keeps the score: small=mid, large=x" in text
    for line in (
        "sums, run r, measured by output, tone",
        "$0.25 a trial on 20 cases",
        "output 0.500, change -0.125 [-0.250, +0.000]",
        "tone 0.750, change -0.125",
        "75% less than the reference",
        "with 95 % intervals for all 9 assignments together",
        "a loss of more than 0.05 is ruled out",
    ):
        assert line in text, line
    for line in ("PARTIAL", "That is the reference", "chance alone", "Undecided", "unknown cost:", "Not run"):
        assert line not in text, line


@pytest.mark.parametrize(
    ("options", "changes", "line"),
    [
        ([REFERENCE], {}, "That is the reference: nothing that is cheaper"),
        ([REFERENCE, option("mid", 0.5, change=(-0.5, 0.0))], {}, "But chance alone may explain"),
        ([REFERENCE], {"complete": False}, "PARTIAL: the budget ended"),
        ([option("mid", None)], {}, "No cheapest assignment: what keeps the score has no known cost"),
        ([REFERENCE, option("mid", None)], {}, "Of unknown cost: small=mid, large=x."),
        (
            [REFERENCE, option("mid", 0.5, verdict="undecided")],
            {},
            "Undecided: small=mid, large=x. More cases",
        ),
        ([REFERENCE], {"skipped": {"small=tiny": "loses"}}, "Not run: 1"),
    ],
)
def test_what_else_is_said(options: list[Option], changes: dict[str, Any], line: str) -> None:
    assert line in told(*options, **changes)
    assert "less than the reference" not in told(REFERENCE)


def test_the_table_has_a_row_for_each_score_cheapest_first_and_unknown_costs_last() -> None:
    both = (kept(), kept("loses", metric="tone"))
    options = (
        option("unknown", None),
        REFERENCE,
        option("mid", 0.5, scores=both, verdict="loses"),
        option("no score", 0.0, scores=(), verdict="undecided"),
    )
    found = Sweep("r", "s", ("output",), 0.05, 0.05, 9, options, {})
    table = sweep_sections(found)[1].table
    assert table is not None
    change, moved = "[-0.5, -0.25]", ("-0.125", "[-0.250, +0.000]")
    assert [row[:8] for row in table.rows] == [
        ("small=no score, large=x", "0", change, "-", "-", "-", "-", "undecided"),
        ("small=mid, large=x", "0.5", change, "output", "0.500", *moved, "keeps"),
        ("", "", "", "tone", "0.500", *moved, "loses"),
        ("small=big, large=x", "1", "-", "output", "1.000", "", "", "reference"),
        ("small=unknown, large=x", "unknown", change, "output", "0.500", *moved, "keeps"),
    ]


def test_an_assignment_in_one_line() -> None:
    assert shown({"small": "a", "step plan": "b"}) == "small=a, step plan=b"
