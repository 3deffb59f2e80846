"""Every file in examples/ runs; the example tickets are what they claim to be."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from ..warm import run_python
from .test_workflows import WORKFLOWS

EXAMPLES = Path(__file__).parents[2] / "examples"
PATTERNS = sorted((EXAMPLES / "patterns").glob("*.py"))
SCREEN = 60  # lines


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_example_is_covered() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"support_routing", *WORKFLOWS}


def test_at_least_17_of_the_20_tickets_are_routed_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPGRAPH_OUTBOX", str(tmp_path / "outbox"))
    table = load("support_routing").main(tmp_path / "routes.sqlite")
    assert table.total == 20
    assert table.right >= 17


def test_the_tickets_have_one_expected_route_each() -> None:
    lines = (EXAMPLES / "tickets.jsonl").read_text(encoding="utf-8").splitlines()
    routes = json.loads((EXAMPLES / "tickets.routes.json").read_text(encoding="utf-8"))
    assert [json.loads(line)["ticket"] for line in lines] == list(routes)


@pytest.mark.parametrize("path", PATTERNS, ids=lambda path: path.stem)
def test_each_pattern_has_an_example_that_runs(path: Path, tmp_path: Path) -> None:
    done = run_python("-W", "error", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert len(path.read_text(encoding="utf-8").splitlines()) <= SCREEN
