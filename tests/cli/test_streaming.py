"""What `stepgraph run --stream` prints, here and at workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepgraph.cli.support.streaming import Printer
from stepgraph.runners.streams.wire import broken, chunk_of

from .conftest import Command

PLACE = {"langgraph_checkpoint_ns": "letter:1|write:2"}
PARTS: list[Any] = [
    {"type": "status", "ns": (), "data": {"status": "running", "again": []}},
    {"type": "nodes", "ns": (), "data": {"node": "letter", "path": "letter", "event": "begins"}},
    {"type": "messages", "ns": (), "data": (chunk_of("m", "Dear "), PLACE)},
    {"type": "messages", "ns": (), "data": (chunk_of("m", "Ada\x1b[2J"), PLACE)},
    {"type": "messages", "ns": (), "data": (broken("m", "its worker ended"), PLACE)},
    {"type": "nodes", "ns": (), "data": {"node": "letter", "path": "letter", "event": "begins again"}},
    {"type": "updates", "ns": (), "data": {"letter": {"text": "Dear Ada"}}},
]


def test_words_are_printed_behind_their_path(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer("one", as_json=False)
    for part in PARTS:
        printer(part)
    printer.end()
    words, void, again = capsys.readouterr().out.splitlines()
    assert words.startswith("    letter/write: Dear Ada")
    assert "\x1b" not in words
    assert (void, again) == ("    letter/write: void, because its worker ended", "    letter begins again")


def test_as_json_each_part_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer("one", as_json=True)
    for part in PARTS:
        printer(part)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["type"] for line in lines] == ["status", "node", "words", "words", "void", "node"]
    assert {line["thread"] for line in lines} == {"one"}


def test_what_is_run_here_streams_too(command: Command, memo: Any) -> None:
    done = command("run", "memo.py:graph", "-i", "text=tea", "--stream", "--json")
    *words, ended = done.rows
    assert done.code == 0
    assert memo.bodies[-1]["stream"] is True
    assert {(row["type"], row["path"]) for row in words} == {("words", "shorten")}
    assert "".join(row["text"] for row in words).strip() == ended["output"]["short"]
    waits = command("run", "memo.py:reviewed", "-i", "text=tea", "--thread", "r", "--stream")
    assert f"    shorten: {ended['output']['short']} \n    shorten  " in waits.out
    asked = len(memo.bodies)
    assert command("run", "memo.py:graph", "-i", "text=tea").code == 0
    assert not memo.bodies[asked].get("stream")


def test_only_one_thread_can_stream(command: Command, memo: Any, tmp_path: Path) -> None:
    (tmp_path / "two.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    done = command("run", "memo.py:graph", "-i", "two.jsonl", "--stream")
    assert (done.code, memo.calls) == (2, 0)
    assert "give one input" in done.err


def test_a_resumed_thread_streams(command: Command, memo: Any) -> None:
    assert command("run", "memo.py:graph", "-i", "text=tea", "--thread", "t", "--budget", "calls=0").code
    done = command("resume", "t", "--stream", "--json", "--budget", "calls=1")
    *words, ended = done.rows
    assert "".join(row["text"] for row in words).strip() == ended["output"]["short"]
