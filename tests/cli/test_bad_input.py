"""Bad input of every kind: one clear message, the right exit code, nothing paid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..servers import Fault
from .conftest import Command

RUN = ("run", "memo.py:graph", "-i", "text=x")
NAMED = pytest.mark.sqlite_file("its name is told")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("run", "suport-desk"), 2, "There is no ready graph 'suport-desk'. Did you mean 'support-desk'?"),
        (("run", "memo.py:grap", "-i", "text=x"), 2, "memo.py has no 'grap'. Did you mean 'graph'?"),
        (("run", "memo.py", "-i", "text=x"), 2, "Its graphs: memo.py:graph, memo.py:reviewed"),
        (("run", "nowhere.py:graph"), 2, "There is no file"),
        (("run", "no_such_module:graph"), 2, "There is no module 'no_such_module'"),
        (("run", "memo.py:shorten"), 2, "expected a pattern"),
        (
            ("run", "memo.py:graph", "-i", "txt=x"),
            2,
            "a field 'txt', which Memo does not have. Did you mean 'text'?",
        ),
        (("run", "memo.py:graph"), 2, "text: Field required"),
        (
            ("run", "memo.py:graph", "-i", "text=x", "-i", "count=many"),
            2,
            "count: Input should be a valid integer",
        ),
        (("run", "memo.py:graph", "-i", "{"), 2, "is not JSON"),
        (("run", "memo.py:graph", "-i", "missing.json"), 2, "'missing.json' is neither JSON"),
        (("run", "memo.py:graph", "-i", "text=x", "-i", "{}"), 2, "not both"),
        (("run", "support-desk", "-i", "body="), 2, "body: String should have at least 1 character"),
        ((*RUN, "--model", "opnai:gpt"), 2, "unknown provider 'opnai'. Did you mean 'openai'?"),
        ((*RUN, "--model", "openai"), 2, "no model is named"),
        pytest.param(("show", "x"), 2, "There is no file stepgraph.sqlite", marks=NAMED),
        pytest.param(("resume", "x"), 2, "nothing to resume", marks=NAMED),
        (("resume",), 2, "Name the threads to resume"),
        (("shwo",), 2, "No such command"),
        (("graph", "support-desk", "--format", "png"), 2, "--output graph.png"),
        (("graph", "support-desk", "-o", "desk.gif"), 2, "say which --format"),
    ],
)
def test_refused(command: Command, memo: Any, words: tuple[str, ...], code: int, told: str) -> None:
    done = command(*words)
    assert (done.code, told in done.err) == (code, True), done.err
    assert memo.calls == 0


def test_no_model_bound(command: Command, memo: Any, tmp_path: Path) -> None:
    (tmp_path / "stepgraph.toml").unlink()
    done = command(*RUN, "--json")
    assert done.code == 2
    assert "Step 'shorten': No model is bound to the role 'writer'" in done.rows[0]["error"]
    assert "STEPGRAPH_MODEL_WRITER" in done.rows[0]["error"]


def test_endpoint_down(command: Command, memo: Any, tmp_path: Path) -> None:
    toml = '[models]\nwriter = { base_url = "http://127.0.0.1:9/v1", model = "served", retries = 0 }\n'
    (tmp_path / "stepgraph.toml").write_text(toml)
    done = command(*RUN, "--json")
    assert done.code == 3
    error = done.rows[0]["error"]
    assert "Step 'shorten': served at http://127.0.0.1:9/v1 cannot be reached" in error


@pytest.mark.parametrize(("status", "told"), [(401, "rejects the key"), (404, "is not there")])
def test_wrong_key_and_missing_model(command: Command, memo: Any, status: int, told: str) -> None:
    memo.always = Fault(status=status)
    done = command(*RUN, "--json")
    assert done.code == 3
    assert told in done.rows[0]["error"]
    assert f"served at {memo.url}" in done.rows[0]["error"]


def test_key_variable_not_set(command: Command, memo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = command(*RUN, "--model", "openai:gpt-5-mini", "--json")
    assert (done.code, done.out) == (2, "")
    assert "OPENAI_API_KEY" in done.err


def test_settings_file_with_a_mistake(command: Command, memo: Any, tmp_path: Path) -> None:
    (tmp_path / "stepgraph.toml").write_text('[models]\nwriter = { modle = "x" }\n')
    done = command(*RUN, "--json")
    assert done.code == 2
    assert "stepgraph.toml, model role 'writer': unknown setting 'modle'. Did you mean 'model'?" in done.err


@pytest.mark.sqlite_file("the file itself")
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    command: Command, memo: Any, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("my notes, which are no database " * 100)
    done = command(*RUN, "--db", "notes.txt")
    assert done.code == 4
    assert "notes.txt is not a SQLite database" in done.err
    assert (tmp_path / "notes.txt").read_text().startswith("my notes")
    assert memo.calls == 0


@pytest.mark.sqlite_file("the file itself")
@pytest.mark.parametrize("place", ["/proc/nowhere/runs.sqlite", "/dev/null/runs.sqlite", "."])
def test_a_place_that_cannot_be_written(command: Command, memo: Any, place: str) -> None:
    assert command(*RUN, "--db", place).code in (2, 4)
    assert memo.calls == 0


def test_a_broken_graph_file_names_the_line(command: Command, memo: Any, tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text("x = 1\n\ny = 1 / 0\n")
    done = command("run", "half.py:graph")
    assert done.code == 2
    assert "ZeroDivisionError" in done.err
    assert "line 3" in done.err


def test_a_misspelt_field_in_a_step_is_told_with_the_nearest_name(
    command: Command, memo: Any, tmp_path: Path
) -> None:
    source = (tmp_path / "memo.py").read_text().replace('@step("short"', '@step("shrot"')
    (tmp_path / "misspelt.py").write_text(source)
    done = command("run", "misspelt.py:graph", "-i", "text=x")
    assert done.code == 2
    assert "Step 'shorten' writes 'shrot', which Memo does not have. Did you mean 'short'?" in done.err
