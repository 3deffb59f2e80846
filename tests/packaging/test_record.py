"""One room reads the record: no other module has a SELECT in a string."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("state", "coding", "tracing", "providers", "nodes", "graphs", "runners", "evals", "ui", "cli")
READERS = ("state/journal", "tracing/record")
OTHERS = {
    "graphs/ready/support_desk/shop.py",  # the desk's own shop, which is no record of runs
    "state/session/fingerprint.py",  # a session asks for the shape that its thread began with
}


def selects_in(source: str) -> Iterator[int]:
    """Yield the lines of strings with a SELECT in them; docstrings may speak of one."""
    tree = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
        if is_text and re.search(r"\bSELECT\s", node.value):
            yield node.lineno


@pytest.mark.parametrize("folder", FOLDERS)
def test_only_the_record_is_read_with_sql(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = {
        path: lines
        for file in files
        if not (path := file.relative_to(ROOT).as_posix()).startswith(READERS)
        and path not in OTHERS
        and (lines := list(selects_in(file.read_text(encoding="utf-8"))))
    }
    assert found == {}


def test_a_select_is_found_and_prose_is_not() -> None:
    assert list(selects_in('x = f"SELECT {y} FROM runs"')) == [1]
    assert list(selects_in('rows = query(\n    "INSERT INTO runs SELECT ? FROM runs")')) == [2]
    assert not list(selects_in('def f():\n    """Run one SELECT on the record."""'))
    assert not list(selects_in('metavar = "SELECT"'))
