"""Where suites and their graphs are loaded from, and what is said where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepgraph.evals.suite.loading import load_suite, load_target
from stepgraph.evals.suite.model import Suite
from stepgraph.state.errors import InputError

CODE = """
from dataclasses import dataclass
from stepgraph import chain
from stepgraph.evals.suite.model import Suite

@dataclass
class Note:
    text: str = ""

def keep(note: Note) -> dict[str, str]:
    return {}

app = chain(keep, name="NAME")
ready = Suite("ready", [])
def made(): return Suite("made", [])
number = 3
"""
YAML = "suite: notes\ncases:\n  - {id: one, input: {text: a}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before = list(sys.path)
    (tmp_path / "flows.py").write_text(CODE.replace("NAME", "here"))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "flows.py").write_text(CODE.replace("NAME", "beside"))
    for place in ("notes.yaml", "notes.yml", "deep/notes.yaml", "a:b.yaml"):
        (tmp_path / place).write_text(YAML)
    (tmp_path / "notes.jsonl").write_text('{"suite": "notes"}\n{"id": "one", "input": {}}\n')
    yield tmp_path
    sys.path[:] = before
    sys.modules.pop("flows", None)


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("support-desk", "support desk routes"),
        ("notes.yaml", "notes"),
        ("notes.yml", "notes"),
        ("notes.jsonl", "notes"),
        ("a:b.yaml", "notes"),
        ("deep/notes.yaml", "notes"),
        ("flows.py:ready", "ready"),
        ("flows.py:made", "made"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_suite_that_ships_a_file_or_code(reference: str, name: str) -> None:
    assert load_suite(reference).name == name


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("flows.py:number", r"flows\.py:number is int; expected a Suite"),
        ("flows.py:Suite", "is type; expected a Suite"),
        ("flows.py:raedy", r"has no 'raedy'\. Did you mean 'ready'"),
        ("suport-desk", "Did you mean 'support-desk'"),
        ("none.yaml", r"none\.yaml"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_is_no_suite(reference: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_suite(reference)


@pytest.mark.parametrize(
    ("suite", "graph", "name"),
    [
        (Suite("s", [], graph="flows.py:app"), None, "here"),
        (Suite("s", [], graph="flows.py:app", source=Path("deep/notes.yaml")), None, "beside"),
        (Suite("s", [], graph="flows.py", source=Path("deep/notes.yaml")), None, "beside"),
        (Suite("s", [], graph="flows.py:app", source=Path("notes.yaml")), None, "here"),
        (Suite("s", [], graph="flows.py:app", source=Path("deep/notes.yaml")), "flows.py:app", "here"),
        (Suite("s", []), "flows.py:app", "here"),
        (Suite("s", [], graph="support-desk", source=Path("deep/notes.yaml")), None, "support-desk"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_graph_is_looked_for_beside_its_suite(suite: Suite, graph: str | None, name: str) -> None:
    assert load_target(suite, graph).graph.name == name


def test_a_suite_without_a_graph() -> None:
    with pytest.raises(InputError, match=r"'s' names no graph\. Add `graph:`, or give --graph"):
        load_target(Suite("s", []))
