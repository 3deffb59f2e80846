"""`stepgraph trace`: the waterfall, one step, the first difference, masked export, and pushing."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stepgraph.cli.exit_codes import ExitCode

from ..servers import unused_url
from ..tracing.receivers import Receiver
from .conftest import Command


@pytest.fixture
def two_runs(command: Command, memo: Any) -> None:
    memo.will("a draft", "another draft")
    for thread in ("one", "two"):
        assert (
            command("run", "memo.py:graph", "-i", "text=mail ada@example.org", "--thread", thread).code == 0
        )


def test_list_and_show(command: Command, two_runs: None) -> None:
    listed = command("trace", "list").out
    assert [line.split()[0] for line in listed.splitlines()] == ["two", "one"]
    shown = command("trace", "show", "one").out
    assert "━" in shown
    assert "wrote" in shown
    assert "→ served-2026" in shown
    step = next(row["path"] for row in spans(command, "one") if row["kind"] == "node")
    assert "a draft" in command("trace", "show", "one", "--step", step).out


def spans(command: Command, thread: str) -> list[dict[str, Any]]:
    lines = command("trace", "show", thread, "--json").out.splitlines()
    rows = [json.loads(line) for line in lines]
    return [{**row, "path": row["attributes"].get("stepgraph.path")} for row in rows]


def test_an_unknown_step_is_told_with_those_there_are(command: Command, two_runs: None) -> None:
    done = command("trace", "show", "one", "--step", "nothing")
    assert done.code == 2
    assert "It has: " in done.err


def test_diff_names_the_first_step_that_differs(command: Command, two_runs: None) -> None:
    told = command("trace", "diff", "one", "two").out
    assert told.startswith("first difference: ")
    assert "a draft" in told
    assert "another draft" in told
    (first, *_) = command("trace", "diff", "one", "two", "--json").out.splitlines()
    assert "output" in json.loads(first)["first_difference"]["what"]


def test_export_is_masked(command: Command, two_runs: None, tmp_path: Path) -> None:
    assert command("trace", "export", "one", "--to", "spans.jsonl").code == 0
    text = (tmp_path / "spans.jsonl").read_text()
    assert "ada@example.org" not in text
    assert "[email]" in text


def test_push_sends_once_and_says_where_to(
    command: Command, two_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "LANGFUSE_PUBLIC_KEY" in command("trace", "push").err
    with Receiver() as receiver:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-test")
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-test")
        monkeypatch.setenv("LANGFUSE_BASE_URL", receiver.url)
        assert command("trace", "push", "one").code == 0
        number = len(receiver.spans)
        assert f"{number} spans sent" in command("trace", "push").out
        assert "0 spans sent" in command("trace", "push", "--since", "7d").out
        assert len(receiver.spans) == 2 * number
    monkeypatch.setenv("LANGFUSE_BASE_URL", unused_url())
    done = command("trace", "push")
    assert done.code == ExitCode.NOT_SENT
    assert "cannot be reached" in done.out


def test_a_run_sends_its_trace_by_itself(
    command: Command, memo: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Receiver() as receiver:
        monkeypatch.setenv("STEPGRAPH_TEST_KEY", "secret")
        settings = tmp_path / "stepgraph.toml"
        settings.write_text(
            settings.read_text() + "\n[tracing]\nenvironment = 'test'\n"
            f"[[tracing.otlp]]\nurl = '{receiver.url}/v1/traces'\n"
            "headers_env = { x-key = 'STEPGRAPH_TEST_KEY' }\n"
        )
        assert command("run", "memo.py:graph", "-i", "text=x", "--thread", "t").code == 0
        assert {headers["x-key"] for _, headers, _ in receiver.requests} == {"secret"}
        assert receiver.spans
    file = sqlite3.connect(tmp_path / "stepgraph.sqlite")
    assert file.execute("SELECT environment FROM invocations").fetchall() == [("test",)]
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.glob("stepgraph.sqlite*"))


def test_full_shows_every_step_whole(command: Command, memo: Any) -> None:
    command("run", "memo.py:graph", "-i", f"text={'long ' * 200}the end", "--thread", "t")
    short, full = command("trace", "show", "t").out, command("trace", "show", "t", "--full").out
    assert "wrote short = ok" in short
    assert "the end" not in short
    assert "Shorten: long" in full
    assert "the end" in full
