"""The table in the docs is the one that the tests make; `UPDATE_DOCS=1` rewrites it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from .cases import CASES
from .table import COLUMNS, PAGES, cell, table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "patterns" / "README.md"
BETWEEN = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end -->)", re.DOTALL)


def test_the_docs_have_this_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    if os.environ.get("UPDATE_DOCS"):
        text = BETWEEN.sub(lambda _: table(), text)
        PAGE.write_text(text, encoding="utf-8")
    found = BETWEEN.search(text)
    assert found is not None
    assert found.group() == table()


@pytest.mark.parametrize("name", CASES)
def test_no_cell_is_blank(name: str) -> None:
    assert all(cell(name, heading) for heading in COLUMNS)


@pytest.mark.parametrize("name", CASES)
def test_each_pattern_has_a_page_an_example_and_a_drawing(name: str) -> None:
    page = PAGES.get(name, name)
    text = (ROOT / "docs" / "patterns" / f"{page}.md").read_text(encoding="utf-8")
    assert "```python" in text
    assert "```mermaid" in text
    assert "## Costs" in text
    assert "## When things go wrong" in text
    assert (ROOT / "examples" / "patterns" / f"{page.replace('-', '_')}.py").exists()
    assert page in PAGE.read_text(encoding="utf-8")
