"""A case from a run with a person's verdict, and what a judge is measured by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepgraph.evals.files.suite_file import read_suite
from stepgraph.evals.scoring.judge import read_labels
from tests.servers import Answer

from .conftest import Command

SUITE = """\
suite: memos
graph: memo.py:graph
evaluators:
  - { name: kind, kind: judge, rubric: "Is it kind?", field: short, labels: labels.jsonl }
  - { name: bare, kind: judge, rubric: "Is it kind?", field: short }
cases:
  - { id: other, input: { text: Another memo. } }
"""
ADD = ("eval", "add", "memo-1", "--suite", "memo.eval.yaml")


@pytest.fixture
def ran(command: Command, memo: Any, tmp_path: Path) -> Command:
    """A run on record, and a suite with a judge."""
    memo.always = Answer("Short.")
    (tmp_path / "memo.eval.yaml").write_text(SUITE)
    (tmp_path / "labels.jsonl").write_text('{"output": "Go away.", "passed": false}')
    assert command("run", "memo.py:graph", "-i", "text=A long memo.", "--thread", "memo-1").code == 0
    return command


def test_of_a_wrong_run_what_a_person_says_is_expected(ran: Command, tmp_path: Path) -> None:
    done = ran(*ADD, "--verdict", "wrong", "--correct", "short=A memo.", "--judge", "kind", "--by", "Ada")
    assert done.code == 0, done.err
    case = read_suite(tmp_path / "memo.eval.yaml").cases[-1]
    assert (case.id, case.expect.output, case.expect.path) == ("memo-1", {"short": "A memo."}, None)
    last = json.loads((tmp_path / "labels.jsonl").read_text().splitlines()[-1])
    assert last.pop("input")["text"] == "A long memo."
    assert last == {"output": "Short.", "passed": False, "by": "Ada"}
    assert [label.passed for label in read_labels(tmp_path / "labels.jsonl")] == [False, False]


def test_of_a_right_run_the_output_is_expected_again(ran: Command, tmp_path: Path) -> None:
    done = ran(*ADD, "--judge", "kind", "--expect", "output")
    assert done.code == 0, done.err
    assert read_suite(tmp_path / "memo.eval.yaml").cases[-1].expect.output == {"short": "Short."}
    assert read_labels(tmp_path / "labels.jsonl")[-1].passed


def test_a_case_that_is_there_gets_one_more_label(ran: Command, tmp_path: Path) -> None:
    ran(*ADD)
    before = (tmp_path / "memo.eval.yaml").read_bytes()
    done = ran(*ADD, "--judge", "kind", "--verdict", "wrong")
    assert done.code == 0, done.err
    assert done.out.endswith("labels.jsonl: wrong, for the judge 'kind'.\n")
    assert (tmp_path / "memo.eval.yaml").read_bytes() == before
    again = ran(*ADD, "--judge", "kind")
    assert (again.code, "has this example already, on line 2" in again.err) == (2, True)


def test_without_a_correction_it_is_to_be_filled_in(ran: Command, tmp_path: Path) -> None:
    done = ran(*ADD, "--verdict", "wrong")
    assert done.code == 0, done.err
    assert "until then the suite does not run" in done.out
    assert ran("eval", "check", "memo.eval.yaml").code == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--correct", "short=x"), "goes with --verdict wrong"),
        (("--verdict", "wrong", "--expect", "output"), "cannot be what is expected"),
        (("--verdict", "wrong", "--correct", "shrt=x"), "no field 'shrt'. Did you mean 'short'?"),
        (("--verdict", "wrong", "--correct", "short"), "expected FIELD=VALUE"),
        (("--verdict", "wrong", "--correct", "short=Short."), "that is what the run gave"),
        (("--judge", "kin"), "no judge 'kin'. Did you mean 'kind'?"),
        (("--judge", "bare"), "Give it one: `labels: labels.jsonl`."),
    ],
)
def test_what_is_wrong_leaves_both_files_as_they_were(
    ran: Command, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    before = [(tmp_path / name).read_bytes() for name in ("memo.eval.yaml", "labels.jsonl")]
    done = ran(*ADD, *options)
    assert (done.code, told in done.err) == (2, True), done.err
    assert [(tmp_path / name).read_bytes() for name in ("memo.eval.yaml", "labels.jsonl")] == before
