"""A mapping whose large part stays in its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stepgraph.evals.files import filed
from stepgraph.evals.files.results import Header, Results, Trial, open_results, read_results
from stepgraph.evals.statistics.compare import ordered
from stepgraph.evals.suite.model import Case, Score, Suite

SUITE = Suite("s", [Case(f"c{n}", {"text": "x"}) for n in range(30)])


def trial(number: int) -> Trial:
    return Trial(f"c{number}", 1, f"t{number}", "done", scores={"good": Score.of(True)}, output={"n": number})


def in_memory(results: Results) -> int:
    return len(results.trials._in_memory)


@pytest.fixture(autouse=True)
def few_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filed, "IN_MEMORY", 4)


def test_only_so_many_trials_are_in_memory_and_all_are_found(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results = open_results(path, Header.of(SUITE, "r", {}))
    for number in reversed(range(30)):
        results.add(trial(number))
        if number == 20:  # a crash of another process leaves half a line
            with path.open("ab") as file:
                file.write(b'{"case": "c3", "sco')
    for found in (results, read_results(path)):
        assert in_memory(found) == 4
        assert found.complete
        assert [one.output for one in ordered(found)] == [{"n": number} for number in range(30)]
        assert ordered(found)[5] == trial(5)
        assert [one.case for one in ordered(found)[2:4]] == ["c2", "c3"]


def test_what_others_add_is_found_and_the_first_line_of_a_trial_counts(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    mine, theirs = (open_results(path, Header.of(SUITE, "r", {})) for _ in range(2))
    for number in range(0, 30, 2):
        mine.add(trial(number))
        theirs.add(trial(number + 1))
    theirs.append({"case": "c0", "repeat": 1, "thread": "later", "status": "done", "scores": {}})
    mine.refresh()
    assert in_memory(mine) == 4
    assert [one.thread for one in ordered(mine)] == [f"t{number}" for number in range(30)]
    mine.add(replace(trial(0), thread="again"))
    assert mine.trials["c0", 1].thread == "t0"


def test_without_a_file_all_are_in_memory() -> None:
    results = Results(None, Header.of(SUITE, "r", {}))
    for number in range(30):
        results.add(trial(number))
    assert in_memory(results) == 30
    with pytest.raises(KeyError):
        results.trials["c99", 1]
