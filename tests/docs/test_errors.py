"""The index of errors has each one, with the exit code that the command line gives it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stepgraph import errors
from stepgraph.cli.exit_codes import exit_code

PAGE = (Path(__file__).parents[2] / "docs/errors.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| (.+) \| (\d) \| (.+) \|$", PAGE, re.MULTILINE)


def test_none_is_missing_or_twice() -> None:
    assert sorted(name for name, *_ in ROWS) == errors.__all__


@pytest.mark.parametrize(("name", "_when", "code", "_advice"), ROWS, ids=lambda part: part[:30])
def test_the_exit_code_is_right(name: str, _when: str, code: str, _advice: str) -> None:
    kind = getattr(errors, name)
    assert exit_code(kind.__new__(kind)) == int(code)
