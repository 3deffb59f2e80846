"""The public faces: each offers what it lists, names it once, and loads it late."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(link for link in (ROOT / "stepgraph").iterdir() if link.is_symlink())
PACKAGES = [ROOT / "stepgraph/__init__.py"]
PACKAGES += sorted(file for folder in FOLDERS for file in (ROOT / folder.name).rglob("__init__.py"))
FACES = {
    "stepgraph": ROOT / "stepgraph/__init__.py",
    "stepgraph.coding": ROOT / "coding/__init__.py",
    "stepgraph.errors": ROOT / "stepgraph/errors.py",
    "stepgraph.evals": ROOT / "evals/__init__.py",
    "stepgraph.testing": ROOT / "stepgraph/testing.py",
    "stepgraph.tracing": ROOT / "tracing/__init__.py",
}
NAMES = [(face, name) for face in FACES for name in import_module(face).__all__]
HEAVY = {
    *("aiohttp", "langchain_core", "langchain_openai", "langfuse", "langgraph", "numpy", "openai"),
    *("pydantic", "pydantic_evals", "rich", "scipy", "yaml"),
}


def imports_of(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield each imported name, and the module it is imported from."""
    for node in body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, "." * node.level + (node.module or "")


def homes_for_checkers(face: str) -> dict[str, str]:
    """Return the names that a type checker sees, with their modules."""
    body = ast.parse(FACES[face].read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.If):
            return dict(imports_of(node.body))
    return {name: home for name, home in imports_of(body) if home != "__future__"}


def homes_for_python(face: str) -> dict[str, str]:
    """Return the names that load when they are first used, with their modules."""
    tree = ast.parse(FACES[face].read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    homes = next(ast.literal_eval(call.args[1]) for call in calls)
    return {name: home for home, names in homes.items() for name in names.split()}


@pytest.mark.parametrize("face", FACES)
def test_the_names_are_sorted_and_exact(face: str) -> None:
    names = import_module(face).__all__
    assert sorted(set(names)) == names
    assert set(names) == homes_for_checkers(face).keys()


@pytest.mark.parametrize("face", sorted(FACES.keys() - {"stepgraph.errors"}))
def test_checkers_and_python_find_each_name_in_the_same_place(face: str) -> None:
    assert homes_for_checkers(face) == homes_for_python(face)


@pytest.mark.parametrize("face", FACES)
def test_each_name_can_be_imported(face: str) -> None:
    module, homes = import_module(face), homes_for_checkers(face)
    package = face if FACES[face].name == "__init__.py" else "stepgraph"
    assert set(module.__all__) <= {*dir(module)}
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, type) or callable(value):
            assert value.__name__ == name
            assert value.__doc__, name
            assert value.__module__ == resolve_name(homes[name], package)


def test_every_error_is_offered() -> None:
    from stepgraph.state import errors

    raised = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.StepgraphError)
    }
    assert set(import_module("stepgraph.errors").__all__) == raised


@pytest.mark.parametrize("face", FACES)
def test_a_name_that_is_not_there_is_an_attribute_error(face: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{face}' has no attribute 'chian'"):
        _ = import_module(face).chian


@pytest.mark.parametrize("face", FACES)
def test_importing_a_face_loads_nothing_heavy(face: str) -> None:
    program = f"import sys, {face}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()


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
