"""Every fenced example in the README and in docs/ runs, in the order in which it stands.

The Python blocks of one page share one module, as a reader would type them. A block with a title is
a file that later commands use. Commands run for real, but for those that set a machine up. A drawing is that
of the workflow that its title names.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from stepgraph.graphs.drawing import to_mermaid
from stepgraph.providers.settings import read_file
from stepgraph.state.session.budget_rules import read_rules
from stepgraph.state.settings_file import read_tables

from ..warm import run_python

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = [page for page in PAGES if page.name != "tutorial.md"]  # which has a test of its own
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SET_UP = ("make ", "pip ", "git ", "cd ")

pytestmark = [pytest.mark.local, pytest.mark.xdist_group("local")]


@pytest.fixture(autouse=True)
def _modules_of_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a page import the files that it has written, and no other page."""
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(f"page_{page.stem.lower()}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    text = page.read_text(encoding="utf-8")
    for language, title, code in FENCE.findall(text):
        if language == "mermaid":
            drawn = to_mermaid(vars(module)[title].compile().get_graph(xray=True))
            assert code == drawn + "\n", f"{page.name}: the drawing of {title}"
            continue
        if title:
            (tmp_path / title).write_text(code, encoding="utf-8")
        if language == "python":
            exec(compile(code, f"{page.name}:{title or 'python'}", "exec"), vars(module))
        elif language == "toml":
            tables = read_tables(tmp_path / title)
            rules = read_rules(tables.get("budgets", {}), title)
            assert read_file(tmp_path / title) or rules or tables.keys() & {"session", "tracing"}
        elif language == "json":
            json.loads(code)
        elif language == "yaml":
            assert yaml.safe_load(code)
        elif language == "dockerfile":
            check_dockerfile(code)
        elif language == "sql":
            # tests/tracing/record/test_postgres_query.py runs it
            assert page.name in ("security.md", "postgres.md")
        elif language == "sh":
            for line in code.splitlines():
                run_command(line, tmp_path)
        else:
            pytest.fail(f"{page.name}: a fence in {language or 'no language'} is not run by anything")


def check_dockerfile(code: str) -> None:
    lines = code.splitlines()
    assert lines[0].startswith("FROM ")
    for line in lines:
        instruction, _, rest = line.partition(" ")
        assert instruction in {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "VOLUME", "EXPOSE", "CMD"}, (
            line
        )
        assert rest.strip(), line
        assert instruction != "COPY" or len(rest.split()) > 1, line
        assert instruction != "CMD" or all(isinstance(word, str) for word in json.loads(rest)), line


def run_command(line: str, folder: Path) -> None:
    if line.startswith("make "):
        targets = subprocess.run(
            ["make", "-n", *line.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert targets.returncode == 0, targets.stderr
    if line.startswith(SET_UP):
        return
    words = shlex.split(line)
    assert words[0] == "stepgraph", f"unknown command in the docs: {line}"
    done = run_python("-m", "stepgraph", *words[1:], cwd=folder)
    # Now and then a small model gives no answer that fits: the command says so and ends with 1.
    no_answer = "local" in words and done.returncode == 1 and " gave no valid " in done.stdout + done.stderr
    assert no_answer or done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
