"""Lower folders never import upper ones, and all of them import each other relatively."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Folders of one row are peers, which do not import each other either.
LAYERS = (
    {"state"},
    {"tracing"},
    {"providers"},
    {"nodes"},
    {"graphs"},
    {"runners"},
    {"evals"},
    {"ui"},
    {"cli"},
)
LEVEL = {folder: level for level, row in enumerate(LAYERS) for folder in row}
FILES = sorted(file for folder in LEVEL for file in (ROOT / folder).rglob("*.py"))


def imports_of(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of each import, at any depth, in a module of the package."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                yield node.lineno, ".".join((*(("", *base) if node.level else ()), name))


def problems_in(source: str, package: tuple[str, ...]) -> list[str]:
    """Return what the imports of a module do that they may not; `package` begins with its folder."""
    problems = []
    own = package[0]
    for line, name in imports_of(source, package):
        relative = name.startswith(".")
        top = name.strip(".").split(".")[0]
        if not relative and (top == "stepgraph" or top in LEVEL):
            problems.append(f"{line}: imports {name}, which must be a relative import")
        elif relative and top not in LEVEL:
            problems.append(f"{line}: imports {name}, which lies in no folder of the layers")
        elif relative and top != own and LEVEL[top] >= LEVEL[own]:
            problems.append(f"{line}: {own} may not import {top}")
    return problems


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_lies_below_it(file: Path) -> None:
    package = file.relative_to(ROOT).parent.parts
    assert problems_in(file.read_text(encoding="utf-8"), package) == []


@pytest.mark.parametrize(
    "source",
    [
        "from ..graphs.chaining import chain",
        "from .. import graphs",
        "def later():\n    from ..cli.main import main",
        "from ..nonsense import x",
        "import stepgraph",
        "from stepgraph.state import errors",
        "from state.errors import StepgraphError",
        "import nodes.step",
    ],
)
def test_a_wrong_import_is_found(source: str) -> None:
    assert problems_in(source, ("nodes",))


@pytest.mark.parametrize(
    "source", ["from ..state.errors import StepgraphError", "from .node import Node", "import statistics"]
)
def test_a_right_import_is_not(source: str) -> None:
    assert problems_in(source, ("nodes",)) == []


def test_runs_know_nothing_of_evals() -> None:
    assert problems_in("from ..evals.running.runner import run_suite", ("runners",))
    assert not problems_in("from ..runners.run import run", ("evals",))
    assert not problems_in("from ...graphs.chaining import chain", ("evals", "reports"))


def test_every_folder_has_a_layer() -> None:
    assert {link.name for link in (ROOT / "stepgraph").iterdir() if link.is_symlink()} <= LEVEL.keys()
