from __future__ import annotations

from pathlib import Path

import pytest

from stepgraph.evals.files.located import from_jsonl, from_yaml
from stepgraph.evals.files.suite_file import read_suite, suite_from
from stepgraph.evals.scoring.judge import Judge
from stepgraph.evals.suite.model import PathExpected, RoundsExpected
from stepgraph.state.budget import Budget
from stepgraph.state.errors import InputError

WHOLE = """\
suite: notes
graph: notes.py:graph
repeats: 3
concurrency: 8
budget: { usd: 0.5, calls: 100 }
trial_budget: { seconds: 30 }
evaluators:
  - { name: short, kind: numeric, field: size, tolerance: 2 }
gates:
  - { metric: route, at_least: 0.9, level: 0.05 }
cases:
  - id: a
    input: { text: 2024-01-01 }
    tags: [dates]
    expect:
      route: good
      path: [classify, good]
      rounds: { at_most: 2 }
      output: { answer: fine }
      short: 12
      nodes:
        good:
          last: { answer: fine }
"""


def read(text: str) -> str:
    with pytest.raises(InputError) as raised:
        suite_from(from_yaml(text, "notes.yaml"))
    return str(raised.value)


def test_a_suite_is_read_whole() -> None:
    suite = suite_from(from_yaml(WHOLE, "notes.yaml"))
    assert (suite.name, suite.repeats, suite.concurrency) == ("notes", 3, 8)
    assert (suite.budget, suite.trial_budget) == (Budget(usd=0.5, calls=100), Budget(seconds=30))
    (case,) = suite.cases
    assert (case.id, case.line, case.tags) == ("a", 12, ("dates",))
    assert case.input == {"text": "2024-01-01"}  # a date stays text, as in JSON
    assert case.expect.path == PathExpected(("classify", "good"), "order")
    assert case.expect.rounds == {"": RoundsExpected(0, 2)}
    assert case.expect.values == {"short": 12}
    assert case.expect.nodes == {"good": {"last": {"answer": "fine"}}}
    assert suite.gates[0].line == 10


def test_jsonl_says_the_same_as_yaml() -> None:
    lines = [
        '{"suite": "notes", "graph": "g", "repeats": 2}',
        "",
        '{"id": "a", "input": {"text": "x"}, "expect": {"route": "good"}}',
        '{"id": "b", "input": {"text": "y"}}',
    ]
    suite = suite_from(from_jsonl("\n".join(lines), "notes.jsonl"))
    assert (suite.name, suite.repeats) == ("notes", 2)
    assert [(case.id, case.line) for case in suite.cases] == [("a", 3), ("b", 4)]


def test_a_broken_line_of_jsonl_is_named() -> None:
    with pytest.raises(InputError, match=r"notes.jsonl, line 2: not JSON"):
        from_jsonl('{"id": 1, "input": {}}\n{"id": 2,,}', "notes.jsonl")


def test_text_that_yaml_takes_apart_is_told_to_be_quoted() -> None:
    told = read("suite: x\ncases:\n  - { id: a, input: { text: Is it? } }\n")
    assert told.startswith("notes.yaml, line 3, column ")
    assert told.endswith("needs quotes.")


def test_broken_yaml_is_named_with_line_and_column() -> None:
    assert read("suite: x\ncases:\n  - id: [a\n").startswith("notes.yaml, line 4, column 1: ")
    assert read("") == "notes.yaml is empty. Expected a suite: suite, graph and cases."
    assert "line 1: expected a suite: a mapping" in read("- a\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("suite: x\n", "the suite has no cases"),
        ("cases: []\n", "line 1: the suite has no cases"),
        (
            "repaets: 3\ncases:\n  - {id: a, input: {}}\n",
            "line 1: a suite has no 'repaets'. Did you mean 'repeats'?",
        ),
        ("repeats: no\ncases:\n  - {id: a, input: {}}\n", "line 1: repeats: expected a whole number"),
        (
            "budget: {us: 1}\ncases:\n  - {id: a, input: {}}\n",
            "line 1: a budget has no 'us'. Did you mean 'usd'?",
        ),
        (
            "budget: {usd: -1}\ncases:\n  - {id: a, input: {}}\n",
            "line 1: budget.usd: expected a number from 0 on",
        ),
        (
            "cases:\n  - {id: a, input: {}}\n  - {id: a, input: {}}\n",
            "line 3: the case 'a' is there twice, first on line 2",
        ),
        ("cases:\n  - {id: a, input: text}\n", "line 2: case 'a': input: expected the state's fields"),
        ("cases:\n  - {id: a, input: {}, expct: {}}\n", "a case has no 'expct'. Did you mean 'expect'?"),
        ("cases:\n  - {id: a, input: {}, expect: {ruote: b}}\n", "Did you mean 'route'?"),
        ("cases:\n  - id: a\n    input: {x: 1, x: 2}\n", "line 3: 'x' is there twice"),
        (
            "cases:\n  - id: a\n    input: {}\n    expect:\n      path: {match: strct, nodes: [a]}\n",
            "line 5: path.match",
        ),
        (
            "cases:\n  - id: a\n    input: {}\n    expect:\n      rounds: {at_least: 3, at_most: 1}\n",
            "line 5: rounds: at_least",
        ),
        (
            "cases:\n  - id: a\n    input: {}\n    expect:\n      nodes: {n: {lst: 1}}\n",
            "Did you mean 'last'?",
        ),
        (
            "evaluators:\n  - {name: x, kind: exat}\ncases:\n  - {id: a, input: {}}\n",
            "line 2: there is no evaluator of kind 'exat'. Did you mean 'exact'?",
        ),
        (
            "evaluators:\n  - {name: x, kind: code}\ncases:\n  - {id: a, input: {}}\n",
            "line 2: the code evaluator 'x' needs 'function'",
        ),
        (
            "evaluators:\n  - {kind: numeric, tolerance: much}\ncases:\n  - {id: a, input: {}}\n",
            "line 2: numeric.tolerance",
        ),
        (
            "evaluators:\n  - {kind: code, function: 'nope:x'}\ncases:\n  - {id: a, input: {}}\n",
            "There is no module 'nope'",
        ),
        (
            "evaluators:\n  - {kind: judge, rubric: openevals:corectness}\ncases:\n  - {id: a, input: {}}\n",
            "Did you mean 'correctness'?",
        ),
        (
            "evaluators:\n  - {kind: judge, rubric: Ok, labels: no.jsonl}\ncases:\n  - {id: a, input: {}}\n",
            "there is no file no.jsonl",
        ),
        (
            "gates:\n  - {metric: x, atleast: 1}\ncases:\n  - {id: a, input: {}}\n",
            "a gate has no 'atleast'. Did you mean 'at_least'?",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, told: str) -> None:
    assert told in read(text)


def test_all_problems_come_at_once() -> None:
    told = read("repeats: 0\ncases:\n  - {id: a}\n  - {id: a, input: {}}\n")
    assert told.startswith("notes.yaml: 3 problems, nothing was run.")


def test_aliases_cannot_make_a_suite_endless() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for name, inner in zip("bcdefg", "abcdef", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{inner}'] * 10)}]\n"
    assert "aliases make the suite endless" in read(bomb)
    assert "aliases make the suite endless" in read("cases: &c [*c]\n")


def test_an_anchor_is_used_twice_and_a_merge_key_works() -> None:
    text = "cases:\n  - &a {id: a, input: {text: x}}\n  - {<<: *a, id: b}\n"
    suite = suite_from(from_yaml(text, "notes.yaml"))
    assert [(case.id, case.input) for case in suite.cases] == [("a", {"text": "x"}), ("b", {"text": "x"})]


def test_yaml_makes_no_python_objects() -> None:
    assert "line 1: a suite is plain data" in read("cases: !!python/object/apply:os.getcwd []\n")


def test_code_and_labels_are_looked_for_beside_the_suite(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "checks_beside.py").write_text("def short(answer):\n    return len(answer) < 9\n")
    (tmp_path / "sub" / "labels.jsonl").write_text('{"output": "x", "passed": true}\n')
    (tmp_path / "sub" / "s.yaml").write_text(
        "evaluators:\n"
        "  - {name: short, kind: code, function: checks_beside.py:short}\n"
        "  - {name: kind, kind: judge, rubric: 'openevals:conciseness', labels: labels.jsonl}\n"
        "cases:\n  - {id: a, input: {}}\n"
    )
    suite = read_suite(tmp_path / "sub" / "s.yaml")
    assert [evaluator.name for evaluator in suite.evaluators] == ["short", "kind"]
    judge = suite.evaluators[1]
    assert isinstance(judge, Judge)
    assert "{" not in judge.rubric


def test_a_file_of_another_kind_is_no_suite() -> None:
    with pytest.raises(InputError, match=r"suite.txt is no suite"):
        read_suite("suite.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_suite("not-there.yaml")


def test_files_are_looked_for_beside_the_suite(tmp_path: Path) -> None:
    from stepgraph.evals.suite.check import check_suite
    from stepgraph.evals.suite.targets import target_of
    from stepgraph.graphs.ready.summary.graph import graph as summary

    (tmp_path / "here.txt").write_text("A text.")
    suite_file = tmp_path / "s.yaml"
    cases = "cases: [{ id: a, input: { file: here.txt } }, { id: b, input: { file: gone.txt } }]\n"
    suite_file.write_text(f"suite: s\nfiles: [file]\n{cases}")
    suite = read_suite(suite_file)
    assert suite.input_of(suite.cases[0]) == {"file": str(tmp_path / "here.txt")}
    assert suite.cases[0].input == {"file": "here.txt"}
    with pytest.raises(InputError, match=r"line 3: case 'b': file: there is no file or folder .*gone\.txt"):
        check_suite(suite, target_of(summary.compile()))
    suite_file.write_text(f"suite: s\nfiles: [fil]\n{cases}")
    with pytest.raises(InputError, match="Did you mean 'file'"):
        check_suite(read_suite(suite_file), target_of(summary.compile()))
    suite_file.write_text(f"suite: s\nfiles: file\n{cases}")
    with pytest.raises(InputError, match="line 2: files: expected a list"):
        read_suite(suite_file)
