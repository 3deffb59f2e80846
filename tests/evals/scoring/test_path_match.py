from __future__ import annotations

import pytest

from stepgraph.evals.scoring.path_match import path_problem, spoken_of
from stepgraph.evals.suite.model import PathExpected, PathMatch

WENT = ["sort", "bad", "bad/begin", "bad/write", "bad/check", "send"]


@pytest.mark.parametrize(
    ("match", "nodes", "problem"),
    [
        ("strict", ["sort", "bad", "send"], None),
        ("strict", ["sort", "send"], "expected sort > send, went sort > bad/write > bad/check > send"),
        ("order", ["sort", "send"], None),
        (
            "order",
            ["send", "sort"],
            "sort did not come in its order; went sort > bad/write > bad/check > send",
        ),
        ("order", ["gone"], "gone did not come in its order; went sort > bad/write > bad/check > send"),
        ("unordered", ["send", "bad", "sort"], None),
        ("unordered", ["bad", "gone"], "sort, send came unexpectedly; gone did not come"),
        ("unordered", ["sort", "sort", "bad", "send"], "sort did not come"),
        ("subset", ["sort", "bad", "send", "gone"], None),
        ("subset", ["sort", "bad"], "send came unexpectedly"),
        ("superset", ["bad/write"], None),
        ("superset", ["bad/write", "gone"], "gone did not come"),
    ],
)
def test_a_path(match: PathMatch, nodes: list[str], problem: str | None) -> None:
    assert path_problem(PathExpected(tuple(nodes), match), WENT) == problem


def test_a_node_that_comes_twice() -> None:
    assert path_problem(PathExpected(("a",), "subset"), ["a", "a"]) is None
    assert path_problem(PathExpected(("a",), "unordered"), ["a", "a"]) == "a came unexpectedly"
    assert path_problem(PathExpected(("a",), "strict"), []) == "expected a, went nothing"


def test_what_an_expectation_is_about() -> None:
    assert spoken_of(["bad"], WENT) == ["sort", "bad", "send"]
    assert spoken_of([], WENT) == ["sort", "bad/write", "bad/check", "send"]
    assert spoken_of(["bad/begin"], WENT) == ["sort", "bad/begin", "bad/write", "bad/check", "send"]
