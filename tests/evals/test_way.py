"""The way of an eval case from YAML to the report is the one in docs/architecture.md, and it stays short."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..warm import run_python

ROOT = Path(__file__).parents[2]
MOST = 31


def calls_of(folder: Path, cases: int) -> dict[str, int]:
    done = run_python("-m", "tests.evals.way", folder, str(cases), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    calls: dict[str, int] = json.loads(done.stdout)
    return calls


def test_the_way_of_a_case_is_the_one_in_the_docs(tmp_path: Path) -> None:
    one, three = calls_of(tmp_path, 1), calls_of(tmp_path, 3)
    passed = {name for name in three if three[name] > one.get(name, 0)}
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(evals/[\w/]+)\.py` \| `([\w.]+)` \|", page, flags=re.M)
    listed = [f"stepgraph.{file.replace('/', '.')}:{name}" for file, name in rows]
    assert passed == set(listed)
    assert len(listed) == len(passed) <= MOST
