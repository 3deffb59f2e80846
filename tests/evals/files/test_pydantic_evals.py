from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic_evals import Case as TheirCase, Dataset

from stepgraph.evals.files.pydantic_evals import as_evaluation_report, cases_of
from stepgraph.evals.files.results import Results
from stepgraph.evals.suite.model import Expected
from stepgraph.state.errors import InputError

from ..conftest import Note


def test_cases_come_from_a_dataset() -> None:
    data = Dataset(name="d", cases=[TheirCase(name="a", inputs=Note("x"), expected_output={"size": 1})])
    (case,) = cases_of(data)
    assert (case.id, case.input["text"]) == ("a", "x")
    assert case.expect == Expected(output={"size": 1}, has_output=True)
    with pytest.raises(InputError, match="has str as inputs"):
        cases_of(Dataset(name="d", cases=[TheirCase(name="a", inputs="x")]))


def test_results_become_their_report(evaluate: Callable[..., Results]) -> None:
    text = """\
repeats: 2
evaluators:
  - { name: near, kind: similarity, field: answer }
cases:
  - { id: a, input: { text: I love it }, expect: { route: good, near: fined } }
  - { id: c, input: { text: crash }, expect: { route: bad } }
"""
    report = as_evaluation_report(evaluate(text))
    assert [case.name for case in report.cases] == ["a [1]", "a [2]"]
    assert report.cases[0].assertions["route"].value is True
    assert report.cases[0].scores["near"].value == pytest.approx(8 / 9)
    assert [failure.name for failure in report.failures] == ["c [1]", "c [2]"]
    assert "fine" in str(report.cases[0].output)
