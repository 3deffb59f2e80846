"""The public face: `stepgraph` offers what it lists, names it once, and loads it late."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import stepgraph

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(link for link in (ROOT / "stepgraph").iterdir() if link.is_symlink())
PACKAGES = [ROOT / "stepgraph/__init__.py"]
PACKAGES += sorted(file for folder in FOLDERS for file in (ROOT / folder.name).rglob("__init__.py"))


def names_for_checkers() -> dict[str, str]:
    """Return the names that the TYPE_CHECKING block imports, with their modules."""
    tree = ast.parse((ROOT / "stepgraph/__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.asname or alias.name: node.module or ""
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_the_names_are_sorted() -> None:
    assert sorted(set(stepgraph.__all__)) == stepgraph.__all__


def test_checkers_and_python_find_each_name_in_the_same_place() -> None:
    assert names_for_checkers() == stepgraph._HOMES
    assert set(stepgraph.__all__) == stepgraph._HOMES.keys()


@pytest.mark.parametrize("name", stepgraph.__all__)
def test_a_name_can_be_imported(name: str) -> None:
    value = getattr(stepgraph, name)
    assert value.__name__ == name
    assert value.__module__ == f"stepgraph.{stepgraph._HOMES[name]}"
    assert value.__doc__
    assert name in dir(stepgraph)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'chian'"):
        _ = stepgraph.chian


def test_import_stepgraph_loads_nothing_heavy() -> None:
    program = "import sys, stepgraph; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"langgraph", "langchain_core", "langchain_openai", "openai", "pydantic", "numpy", "rich"}
    assert heavy & set(done.stdout.split()) == set()


@pytest.mark.parametrize("file", PACKAGES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_package_offers_a_name_over_a_module_of_that_name(file: Path) -> None:
    """`stepgraph.evals.blame` must not be a module in one program and a function in the next."""
    inside = {entry.stem for entry in file.parent.iterdir() if entry.suffix == ".py" or entry.is_dir()}
    tree = ast.parse(file.read_text(encoding="utf-8"))
    offered = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert not offered & inside
