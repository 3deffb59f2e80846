"""Which node came before which, and in which order nodes usually end."""

from __future__ import annotations

import pytest

from stepgraph.evals.diagnosis.screen import comes_before, in_order
from stepgraph.evals.files.results import Header, Results, Trial
from stepgraph.evals.suite.model import Suite
from stepgraph.evals.suite.topology import topology_of

from ..conftest import graph

ALL = (
    "classify",
    "bad/refine_reply/reply",
    "bad/refine_reply/polite",
    "bad/refine_reply/reply",
    "bad/measure",
)


def results_of(*paths: tuple[str, ...]) -> Results:
    results = Results(None, Header.of(Suite("s", []), "r", {}))
    for number, path in enumerate(paths):
        results.add(Trial(f"case{number}", 0, "t", "done", path=path))
    return results


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([("a", "g/x", "g/y", "b")], ["a", "g/y", "g", "b", "never"]),
        ([("g/x", "g/y", "b", "a")], ["g/y", "g", "b", "a", "never"]),
        ([("a", "b", "a", "g/y")], ["b", "a", "g/y", "g", "never"]),  # the last time counts
        ([("a", "b", "g/y"), ("b", "a", "g/y"), ("b", "a")], ["b", "a", "g/y", "g", "never"]),
        ([("never-not", "a", "b")], ["a", "b", "g/y", "never", "g"]),  # a namesake's longer name is another
    ],
)
def test_nodes_are_in_the_order_in_which_they_end(paths: list[tuple[str, ...]], expected: list[str]) -> None:
    assert in_order(["never", "b", "g", "g/y", "a"], results_of(*paths)) == expected


@pytest.mark.parametrize(
    ("first", "then", "before"),
    [
        ("classify", "bad/measure", True),
        ("bad/measure", "classify", False),
        ("classify", "classify", False),
        ("bad", "bad/measure", False),
        ("bad/measure", "bad", True),
        ("classify", "good", True),  # it did not run, but would have
        ("good", "bad/measure", False),
        ("bad/refine_reply/reply", "bad/refine_reply/polite", True),
        ("bad/refine_reply/polite", "bad/refine_reply/reply", False),  # in a loop the first to begin
    ],
)
def test_what_a_node_may_have_harmed(first: str, then: str, before: bool) -> None:
    trial = Trial("a", 0, "t", "done", path=ALL)
    assert comes_before(first, then, trial, topology_of(graph.compile())) is before
