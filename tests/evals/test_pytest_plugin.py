"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..warm import run_python

MOODS = """
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from stepgraph import route

@dataclass
class Note:
    text: str
    answer: str = ""

def mood(note: Note) -> Literal["good", "bad"]:
    with Path("ran").open("a") as file:
        file.write("x")
    return "good" if "love" in note.text else "bad"

def cheer(note: Note) -> dict[str, str]:
    return {"answer": "hurray"}

def soothe(note: Note) -> dict[str, str]:
    return {"answer": "sorry"}

graph = route(mood, {"good": cheer, "bad": soothe}, name="mood")
"""
SUITE = """
suite: moods
graph: moods_graph.py:graph
repeats: 2
gates:
  - { metric: route, at_least: %s }
cases:
  - { id: a, input: { text: I love it }, expect: { route: good } }
  - { id: b, input: { text: I hate it }, expect: { route: bad } }
  - { id: c, input: { text: I like it }, expect: { route: good } }
"""


def pytest_in(folder: Path, *options: str) -> tuple[int, str]:
    command = ["-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    plugin = ["-p", "stepgraph.evals.pytest_plugin"] if not installed() else []
    (folder / "temporary").mkdir(exist_ok=True)
    ours = {**os.environ, "TMPDIR": str(folder / "temporary")}
    done = run_python(*command, *plugin, *options, cwd=folder, env=ours)
    return done.returncode, done.stdout + done.stderr


def installed() -> bool:
    from importlib.metadata import entry_points

    return any(point.value == "stepgraph.evals.pytest_plugin" for point in entry_points(group="pytest11"))


@pytest.fixture
def moods(tmp_path: Path) -> Path:
    (tmp_path / "moods_graph.py").write_text(MOODS)
    (tmp_path / "moods.eval.yaml").write_text(SUITE % 0.6)
    return tmp_path


@pytest.mark.slow
def test_a_case_is_an_item_and_the_gates_are_one(moods: Path) -> None:
    code, told = pytest_in(moods)
    assert code == 0, told
    assert "3 passed, 1 xfailed" in told
    assert "XFAIL moods.eval.yaml::c - c, repeat 1: route: expected good, took bad" in told
    assert "passed: route >= 0.6 (0.667 over 3 cases)" in told
    assert len((moods / "ran").read_text()) == 6


@pytest.mark.slow
def test_workers_share_one_run(moods: Path) -> None:
    code, told = pytest_in(moods, "-n", "2")
    assert code == 0, told
    assert "3 passed, 1 xfailed" in told
    assert len((moods / "ran").read_text()) == 6
    assert list((moods / "temporary").glob("stepgraph-eval-*")) == []  # the run's record is gone with it


@pytest.mark.slow
def test_a_gate_that_fails_says_why_and_a_selection_skips_it(moods: Path) -> None:
    (moods / "moods.eval.yaml").write_text(SUITE % 0.9)
    code, told = pytest_in(moods)
    assert code == 1
    assert "failed: route >= 0.9 (0.667 over 3 cases)" in told
    code, told = pytest_in(moods, "-k", "gates")
    assert code == 0, told
    assert "3 of the suite's cases were not selected" in told


@pytest.mark.slow
def test_a_bad_suite_is_an_error_of_collection_with_its_lines(moods: Path) -> None:
    (moods / "moods.eval.yaml").write_text(
        SUITE.replace("expect: { route: bad }", "expect: { route: sad }") % 1
    )
    code, told = pytest_in(moods)
    assert code == 2
    assert "line 9: case 'b': no route has a branch 'sad'. Did you mean 'bad'?" in told
    assert not (moods / "ran").exists()


def test_the_plugin_alone_imports_nothing_heavy() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules); import stepgraph.evals.pytest_plugin; "
        "print(*sorted({n.split('.')[0] for n in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {
        "langgraph",
        "langchain_core",
        "pydantic",
        "numpy",
        "scipy",
        "yaml",
        "click",
        "openai",
        "asyncio",
    }
    assert heavy & set(done.stdout.split()) == set()
