"""`stepgraph new`: what it writes runs at once; bad names are refused, nothing is overwritten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import stepgraph

from ..servers import ChatServer
from .conftest import Command

HOME = str(Path(stepgraph.__file__).parents[1])


def in_project(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project as its owner would."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": HOME, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def project(command: Command, tmp_path: Path) -> Path:
    done = command("new", "my-flow")
    assert done.code == 0, done.err
    assert "stepgraph run my_flow.graph:graph" in done.out
    return tmp_path / "my-flow"


def test_its_own_tests_pass(project: Path) -> None:
    done = in_project(project, "pytest", "-q")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_it_runs_on_whatever_model_is_bound(project: Path, server: ChatServer) -> None:
    server.will("With vinegar.")
    (project / "stepgraph.toml").write_text(f'[models.default]\nmodel = "m"\nbase_url = "{server.url}"\n')
    words = ["run", "my_flow.graph:graph", "-i", "text=How do I descale a kettle?", "--json"]
    done = in_project(project, "stepgraph", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"]["reply"] == "With vinegar."


@pytest.mark.local
@pytest.mark.xdist_group("local")
def test_it_runs_and_is_evaluated_unchanged_on_the_model_of_this_machine(project: Path) -> None:
    done = in_project(project, "stepgraph", "run", "my_flow.graph:graph", "-i", "text=What is tea?")
    assert done.returncode == 0, done.stderr
    done = in_project(project, "stepgraph", "eval", "run", "evals/routes.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_it_is_a_langgraph_project(project: Path) -> None:
    config = json.loads((project / "langgraph.json").read_text())
    module, _, attribute = config["graphs"]["my-flow"].partition(":")
    program = f"from {module} import {attribute}; print(sorted({attribute}.compile().nodes))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project,
        env={**os.environ, "PYTHONPATH": HOME},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "sort_message" in done.stdout, done.stderr


def test_it_is_tidy(project: Path) -> None:
    """As strict as this repository itself."""
    for words in (["ruff", "check", "--select=E,F,I,UP", "--line-length=110"], ["ruff", "format", "--check"]):
        done = in_project(project, *words, ".")
        assert done.returncode == 0, done.stdout
    done = in_project(project, "mypy", "--strict", "my_flow", "tests")
    assert done.returncode == 0, done.stdout


def test_a_secret_file_or_a_record_is_not_committed(project: Path) -> None:
    assert "stepgraph.sqlite*" in (project / ".gitignore").read_text().splitlines()


def test_nothing_is_overwritten(command: Command, project: Path) -> None:
    (project / "README.md").write_text("mine")
    done = command("new", "my-flow")
    assert done.code == 2
    assert "nothing is overwritten" in done.err
    assert (project / "README.md").read_text() == "mine"


def test_an_empty_folder_is_taken(command: Command, tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    assert command("new", "fresh").code == 0
    assert (tmp_path / "fresh" / "fresh" / "graph.py").exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../elsewhere", "cannot be a project's name"),
        ("a/b", "cannot be a project's name"),
        ("1st", "beginning with a letter"),
        ("my--flow", "single - or _"),
        ("", "cannot be a project's name"),
        ("class", "a word of Python's"),
        ("json", "would hide the module 'json'. Try json-flow."),
        ("langgraph", "would hide the module 'langgraph'"),
        ("stepgraph", "would hide the module 'stepgraph'"),
        ("tests", "would hide the module 'tests'"),
    ],
)
def test_a_name_that_cannot_be(command: Command, tmp_path: Path, name: str, told: str) -> None:
    before = list(tmp_path.iterdir())
    done = command("new", name)
    assert done.code == 2
    assert told in done.err
    assert list(tmp_path.iterdir()) == before


def test_a_folder_that_cannot_be_written(command: Command, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    done = command("new", "taken")
    assert done.code == 2
    assert "There is taken already" in done.err
