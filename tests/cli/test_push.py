"""`stepgraph trace push`, and runs that send their traces by themselves."""

from __future__ import annotations

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
        assert f"{number} spans and scores sent" in command("trace", "push").out
        assert "0 spans and scores sent" in command("trace", "push", "--since", "7d").out
        assert len(receiver.spans) == 2 * number
    monkeypatch.setenv("LANGFUSE_BASE_URL", unused_url())
    done = command("trace", "push")
    assert done.code == ExitCode.NOT_SENT
    assert "cannot be reached" in done.out


@pytest.mark.sqlite_file("it is read from outside")
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
