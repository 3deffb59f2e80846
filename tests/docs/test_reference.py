"""The API reference is that of the code as it is, and leaves nobody asking."""

from __future__ import annotations

import inspect
import runpy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BUILDER = runpy.run_path(str(ROOT / "docs/build_reference.py"))
PAGES: dict[str, str] = BUILDER["pages"]()
FACES = tuple(BUILDER["FACES"])
NAMES = [(face, name) for face in FACES for name in import_module(face).__all__]


@pytest.mark.parametrize("page", PAGES)
def test_it_is_up_to_date(page: str) -> None:
    written = (ROOT / "docs/reference" / page).read_text(encoding="utf-8")
    assert written == PAGES[page], f"docs/reference/{page} is older than the code: run `make docs`"


def test_no_page_is_left_over() -> None:
    assert {file.name for file in (ROOT / "docs/reference").iterdir()} == PAGES.keys()


@pytest.mark.parametrize("face", FACES)
def test_each_name_is_documented(face: str) -> None:
    module, page = import_module(face), PAGES[BUILDER["file_of"](face)]
    assert [name for name in module.__all__ if not inspect.getdoc(getattr(module, name))] == []
    assert [name for name in module.__all__ if f"\n## {name}\n" not in page] == []


def public_methods(cls: Any) -> list[str]:
    return [name for name, member in vars(cls).items() if inspect.isfunction(member) and name[0] != "_"]


@pytest.mark.parametrize("face", FACES)
def test_each_public_method_is_documented(face: str) -> None:
    module = import_module(face)
    classes = [value for name in module.__all__ if inspect.isclass(value := getattr(module, name))]
    missing = {
        f"{cls.__name__}.{method}"
        for cls in classes
        for method in public_methods(cls)
        if not inspect.getdoc(getattr(cls, method)) and method not in BUILDER["SEE_PROTOCOL"]
    }
    assert missing == set()


def test_errors_stand_beside_what_raises_them() -> None:
    chain = PAGES["stepgraph.md"].partition("\n## chain\n")[2].partition("\n## ")[0]
    assert "DefinitionError" in chain
    fork = PAGES["tracing.md"].partition("\n## fork\n")[2].partition("\n## ")[0]
    assert "Raises InputError" in fork


def test_units_and_types_stand_beside_parameters() -> None:
    vote = PAGES["stepgraph.md"].partition("\n## vote\n")[2]
    assert "| `timeout_s` | `float \\| None`, seconds | `None` |" in vote.partition("\n## ")[0]
