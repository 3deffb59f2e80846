"""What a report says, figure by figure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stepgraph.evals.files.results import Trial
from stepgraph.evals.report.sections import (
    MAX_BAD,
    between,
    comparison_sections,
    money,
    problem_of,
    sections,
    sentence,
)
from stepgraph.evals.statistics.compare import Comparison, Difference
from stepgraph.evals.suite.model import Score
from stepgraph.state.cost import Cost

from .test_render import report


@pytest.mark.parametrize(
    ("cost", "told"),
    [
        (Cost(), "nothing"),
        (Cost(2, 10, 5, 0.25), "$0.25 for 2 calls, 15 tokens"),
        (Cost(2, 10, 5, 0.25, 1), "$0.25 + 1 calls of unknown cost for 2 calls, 15 tokens"),
        (
            Cost(2, 10, 5, 0.25, 1, 7, 0.5),
            "$0.25 + 1 calls of unknown cost (estimated at most $0.5) for 2 calls, 15 + estimated 7 tokens",
        ),
    ],
)
def test_a_cost(cost: Cost, told: str) -> None:
    assert money(cost) == told


def test_an_interval() -> None:
    assert [between(None), between((0.1, 0.25)), between((-0.1, 0.25), "+")] == [
        "-",
        "[0.100, 0.250]",
        "[-0.100, +0.250]",
    ]


def test_problems_are_grouped_by_their_reason() -> None:
    scores = {
        "a": Score(0.0, False, "no"),
        "b": Score(0.0, False, "no"),
        "c": Score(1.0, True, "fine"),
        "d": Score(None, None, "unknown"),
        "e": Score(0.0, False, ""),
    }
    assert problem_of(Trial("x", 0, "t", "done", scores=scores)) == "a, b: no; e"


def test_more_failed_trials_than_a_page_holds_are_counted() -> None:
    whole = report("plain")
    bad = whole.bad[0]
    for count in (MAX_BAD, MAX_BAD + 1):
        many = replace(whole, trials=tuple(replace(bad, repeat=n) for n in range(count)), wanted=count)
        section = next(s for s in sections(many) if s.title == f"Trials that failed: {count}")
        assert section.table is not None
        assert len(section.table.rows) == MAX_BAD
        assert section.lines == (() if count == MAX_BAD else ("1 more are in the results' file.",))


def test_the_head_says_what_ran_and_whether_it_is_whole() -> None:
    whole = report("plain")
    header = replace(whole.header, graph=None, node="draft", models={"default": "m"}, repeats=3)
    head = sections(replace(whole, header=header, wanted=9, judged=Cost(1, 1, 1, 0.5)))[0]
    done = f"draft of a graph given in Python: {len(whole.trials)} of 9 trials of 2 cases x 3"
    assert head.lines[0].startswith(done)
    assert head.lines[1].startswith("PARTIAL")
    assert head.lines[2] == "models: default=m"
    assert head.lines[3].endswith("; judges $0.5 for 1 calls, 2 tokens")
    assert head.lines[4].startswith("time of a trial: median ")
    full = sections(replace(whole, wanted=len(whole.trials), statuses={}))[0]
    assert full.lines[0] == f"plain: {len(whole.trials)} trials of 2 cases x 1 (none)"
    assert not any("PARTIAL" in line for line in full.lines)


def difference(**changes: Any) -> Difference:
    given: dict[str, Any] = {
        "metric": "route",
        "cases": 20,
        "a": 0.5,
        "b": 0.75,
        "change": 0.25,
        "interval": (0.1, 0.4),
        "p": 0.01,
        "corrected": 0.02,
        "smallest": 0.2,
        "gained": 6,
        "lost": 1,
        "verdict": "better",
        "test": "McNemar's exact test",
    }
    return Difference(**{**given, **changes})


def test_a_difference_in_words() -> None:
    moved = "0.500 -> 0.750 on 20 cases"
    assert sentence(difference()) == f"route got better: {moved} (p = 0.02, McNemar's exact test)."
    undecided = difference(verdict="undecided")
    assert (
        sentence(undecided)
        == f"route is undecided: {moved}; these cases would show a change of 0.20 or more."
    )
    assert sentence(replace(undecided, smallest=None)) == f"route is undecided: {moved}."


@pytest.mark.parametrize("left_out", [0, 3, 10, 11])
def test_a_comparison_says_what_is_undecided_and_what_was_left_out(left_out: int) -> None:
    names = tuple(f"case{n}" for n in range(left_out))
    differences = (difference(), difference(metric="tone", verdict="undecided", smallest=None))
    head, *_ = comparison_sections(Comparison("one", "two", 0.05, differences, (), names))
    assert head.lines[0] == "A is one, B is two."
    assert head.lines[2] == "Undecided, so perhaps equal, perhaps not: tone."
    if left_out:
        shown = "; ".join(names[:10]) + (" …" if left_out > 10 else "")
        assert head.lines[3:] == (f"Not compared: {left_out} ({shown})",)
    else:
        assert len(head.lines) == 3
    assert head.table is not None
    row = ("route", "0.500", "0.750", "+0.250", "[+0.100, +0.400]", "0.02", "0.200", "+6 -1 of 20", "better")
    assert head.table.rows[0] == row
    assert head.table.rows[1][6] == "-"
