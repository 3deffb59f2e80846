"""`stepgraph new`: every command of its README runs, every link leads somewhere; nothing is overwritten."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import stepgraph

from ..servers import ChatServer
from ..warm import run_python
from .conftest import Command

HOME = str(Path(stepgraph.__file__).parents[1])
README = Path(HOME, "README.md")
# As in an installed environment, but without a registry: what is missing is an error, and nothing is changed.
PIP = ["--no-index", "--no-build-isolation", "--dry-run"]
CACHE = {"MYPY_CACHE_DIR": str(Path(HOME, ".mypy_cache", "starter"))}


def in_project(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project as its owner would."""
    ours = {**os.environ, "PYTHONPATH": HOME, **environment}
    if words[0] == "stepgraph":
        return run_python("-m", *words, cwd=folder, env=ours)
    command = [sys.executable, "-m", *words]
    return subprocess.run(
        command, cwd=folder, env=ours, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def project(command: Command, tmp_path: Path) -> Path:
    done = command("new", "my-flow")
    assert done.code == 0, done.err
    assert "stepgraph run my_flow.graph:graph" in done.out
    return tmp_path / "my-flow"


def settings(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def commands_of(project: Path) -> list[str]:
    (block,) = re.findall(r"```sh\n(.*?)```", (project / "README.md").read_text(), re.DOTALL)
    return block.splitlines()


@pytest.mark.slow
@pytest.mark.xdist_group("typing")
def test_every_command_of_its_readme_runs(project: Path, server: ChatServer) -> None:
    (project / "stepgraph.toml").write_text(f'[models.default]\nmodel = "m"\nbase_url = "{server.url}"\n')
    with (project / "pyproject.toml").open("a") as file:  # pyright cannot know PYTHONPATH; it comes last
        file.write(f"extraPaths = [{json.dumps(HOME)}]\n")
    outputs = {}
    for command in commands_of(project):
        program, *words = shlex.split(command)
        extra = {"pip": PIP, "pyright": ["--pythonpath", sys.executable]}.get(program, [])
        done = in_project(project, program, *words, *extra, **CACHE)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        outputs[program] = done.stdout
    assert outputs.keys() == {"pip", "stepgraph", "pytest", "mypy", "pyright"}
    assert "Would install my-flow-0.1.0" in outputs["pip"]
    assert "3 passed" in outputs["pytest"]
    assert "no issues found in 5 source files" in outputs["mypy"]
    assert outputs["pyright"].startswith("0 errors")


def test_the_next_steps_are_the_commands_of_its_readme(command: Command, tmp_path: Path) -> None:
    done = command("new", "my-flow")
    steps = [line.strip() for line in done.out.splitlines() if line.startswith("  ")]
    assert steps == ["cd my-flow", *commands_of(tmp_path / "my-flow")]


def test_it_requires_only_what_can_be_installed(project: Path) -> None:
    """What stepgraph's own extras bring, at the same versions; and stepgraph itself once that is on PyPI."""
    written, ours = settings(project)["project"], settings(Path(HOME))["project"]
    known = {item for items in ours["optional-dependencies"].values() for item in items}
    for items in written["optional-dependencies"].values():
        assert set(items) <= known
    assert written["optional-dependencies"]["evals"] == ours["optional-dependencies"]["evals"]
    unpublished = "stepgraph is not on PyPI yet"
    assert unpublished in README.read_text(encoding="utf-8")
    assert unpublished in (project / "README.md").read_text()
    assert written["dependencies"] == []


def test_its_links_lead_somewhere(project: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (project / "README.md").read_text())
    assert {link for link in links if not (project / link).exists()} == set()
    listed = {*links, "README.md", ".gitignore"}
    written = {file.relative_to(project).as_posix() for file in project.rglob("*") if file.is_file()}
    assert {name for name in written if not name.endswith("__init__.py")} == listed


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
    """By the rules of this repository."""
    for words in (["ruff", "check", "--select=E,F,I,UP", "--line-length=110"], ["ruff", "format", "--check"]):
        done = in_project(project, *words, ".")
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
    ("name", "message"),
    [
        ("../elsewhere", "cannot be a project's name"),
        ("a/b", "cannot be a project's name"),
        ("1st", "beginning with a letter"),
        ("my--flow", "single - or _"),
        ("", "cannot be a project's name"),
        ("class", "is a Python keyword"),
        ("json", "would hide the module 'json'. Try json-flow."),
        ("langgraph", "would hide the module 'langgraph'"),
        ("stepgraph", "would hide the module 'stepgraph'"),
        ("tests", "would hide the module 'tests'"),
    ],
)
def test_a_name_that_cannot_be(command: Command, tmp_path: Path, name: str, message: str) -> None:
    before = list(tmp_path.iterdir())
    done = command("new", name)
    assert done.code == 2
    assert message in done.err
    assert list(tmp_path.iterdir()) == before


def test_a_folder_that_cannot_be_written(command: Command, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    done = command("new", "taken")
    assert done.code == 2
    assert "taken exists already" in done.err
