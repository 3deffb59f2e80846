"""`stepgraph eval add` and `stepgraph eval push`, and suites that ship by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepgraph.cli.exit_codes import ExitCode

from ..evals.langfuse_server import LangfuseServer
from ..servers import unused_url
from .conftest import Command

RUN = ("run", "memo.py:graph", "-i", "text=A long memo.", "--thread", "memo-1")


@pytest.fixture
def langfuse(monkeypatch: pytest.MonkeyPatch) -> Iterator[LangfuseServer]:
    """A Langfuse that the environment names."""
    with LangfuseServer() as server:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-test")
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-test")
        monkeypatch.setenv("LANGFUSE_BASE_URL", server.url)
        yield server


@pytest.fixture
def ran(command: Command, memo: Any) -> Command:
    """A run on record."""
    memo.will("Short.")
    assert command(*RUN).code == 0
    memo.always = memo.always.__class__("Short.")
    return command


def test_a_run_begins_a_suite_that_passes(ran: Command, tmp_path: Path) -> None:
    done = ran("eval", "add", "memo-1", "--suite", "memo.eval.yaml")
    assert (done.code, done.out) == (0, "memo.eval.yaml: the case 'memo-1' of the run 'memo-1'.\n")
    text = (tmp_path / "memo.eval.yaml").read_text()
    assert text.startswith("suite: memo\ngraph: memo.py:graph\n"), "who shares it has other folders"
    assert "input: {text: A long memo.}" in text
    done = ran("eval", "run", "memo.eval.yaml", "--run", "main")
    assert done.code == 0, done.out + done.err


def test_the_same_run_is_not_added_twice(ran: Command, tmp_path: Path) -> None:
    ran("eval", "add", "memo-1", "--suite", "memo.eval.yaml", "--expect", "path")
    before = (tmp_path / "memo.eval.yaml").read_bytes()
    done = ran("eval", "add", "memo-1", "--suite", "memo.eval.yaml")
    assert (done.code, "a case 'memo-1' already, on line 5" in done.err) == (2, True)
    done = ran("eval", "add", "memo-1", "--suite", "memo.eval.yaml", "--case", "other")
    assert (done.code, "has this input already" in done.err) == (2, True)
    assert (tmp_path / "memo.eval.yaml").read_bytes() == before


def test_an_output_that_is_to_be_filled_in(ran: Command) -> None:
    done = ran("eval", "add", "memo-1", "--suite", "memo.eval.yaml", "--expect", "fill", "--json")
    assert done.rows[0]["expect"] == {"output": "TO BE FILLED IN"}
    done = ran("eval", "check", "memo.eval.yaml")
    assert (done.code, "still to be filled in" in done.err) == (2, True)


def test_a_suite_of_another_graph_does_not_take_it(ran: Command, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(
        "from dataclasses import dataclass\nfrom stepgraph import chain\n"
        "@dataclass\nclass State:\n    name: str\n"
        "def greet(state: State) -> dict[str, str]:\n    return {}\ngraph = chain(greet)\n"
    )
    suite = tmp_path / "other.yaml"
    suite.write_text("suite: other\ngraph: other.py:graph\ncases:\n  - { id: a, input: { name: Ada } }\n")
    before = suite.read_text()
    done = ran("eval", "add", "memo-1", "--suite", "other.yaml")
    assert (done.code, suite.read_text()) == (2, before)
    assert "line 5: case 'memo-1': " in done.err


def test_a_run_goes_to_langfuse_and_again_by_push(
    ran: Command, langfuse: LangfuseServer, tmp_path: Path
) -> None:
    ran("eval", "add", "memo-1", "--suite", "memo.eval.yaml")
    done = ran("eval", "run", "memo.eval.yaml", "--run", "main", "--langfuse", "--json")
    assert (done.code, len(done.rows)) == (0, 1)
    assert "Langfuse: the dataset 'memo' has 1 items, 1 traces, 3 scores of this run." in done.err
    assert "sk-lf" not in done.out + done.err
    (item,) = langfuse.bodies("/api/public/dataset-items")
    assert item["input"] == {"text": "A long memo."}
    scores = langfuse.scores
    done = ran("eval", "push", "memo.eval.yaml", "--run", "main", "--json")
    assert (done.code, done.rows[0]["traces"], done.rows[0]["problem"]) == (0, 1, None)
    means = [score for score in scores if "datasetRunId" in score]
    assert langfuse.scores == [*scores, *means], "what has arrived is not sent again"


def test_langfuse_never_changes_how_a_run_ends(
    ran: Command, langfuse: LangfuseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran("eval", "add", "memo-1", "--suite", "memo.eval.yaml")
    monkeypatch.setenv("LANGFUSE_BASE_URL", unused_url().removesuffix("/v1"))
    done = ran("eval", "run", "memo.eval.yaml", "--run", "main", "--langfuse")
    assert (done.code, "cannot be reached" in done.err) == (0, True)
    assert "stepgraph eval push memo.eval.yaml --run main" in done.err
    monkeypatch.setenv("LANGFUSE_BASE_URL", langfuse.url)
    langfuse.refuses, langfuse.status = "/traces", 401
    done = ran("eval", "push", "memo.eval.yaml", "--run", "main")
    assert (done.code, "answered 401" in done.out) == (ExitCode.NOT_SENT, True)


def test_without_keys_nothing_is_run(ran: Command, memo: Any) -> None:
    ran("eval", "add", "memo-1", "--suite", "memo.eval.yaml")
    calls = memo.calls
    done = ran("eval", "run", "memo.eval.yaml", "--langfuse")
    assert (done.code != 0, "LANGFUSE_PUBLIC_KEY" in done.err, memo.calls) == (True, True, calls)


def test_a_suite_that_ships_goes_by_its_name(command: Command) -> None:
    done = command("eval", "check", "code")
    assert (done.code, done.out) == (0, "code: 21 cases, 21 trials, 1 gates. It fits its graph.\n")
    done = command("eval", "check", "cod")
    assert (done.code, "Did you mean 'code'" in done.err) == (2, True)


def test_the_case_is_told_as_json(ran: Command) -> None:
    done = ran("eval", "add", "memo-1", "--suite", "memo.jsonl", "--field", "short", "--json")
    assert json.loads(done.out)["expect"]["output"] == {"short": "Short."}
