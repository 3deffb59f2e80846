"""`stepgraph sql`, `export` and `prune`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Command


@pytest.fixture
def runs(command: Command, memo: Any) -> Any:
    for number in range(3):
        command("run", "memo.py:graph", "-i", f"text={'x' * 5000}", "--thread", f"t{number}")
    return memo


def test_sql_prints_a_table_or_json(command: Command, runs: Any) -> None:
    query = "SELECT thread_id, calls, cost_usd FROM run_costs ORDER BY thread_id"
    lines = command("sql", query).out.splitlines()
    assert lines[0].split() == ["thread_id", "calls", "cost_usd"]
    assert lines[1].split() == ["t0", "1", "0.00014"]
    assert command("sql", query, "--json").rows[2] == {"thread_id": "t2", "calls": 1, "cost_usd": 0.00014}


def test_sql_says_when_there_is_more_and_shows_bytes_as_a_size(command: Command, runs: Any) -> None:
    done = command("sql", "SELECT checkpoint FROM checkpoints", "--limit", "2")
    assert len(done.out.splitlines()) == 3
    assert done.out.splitlines()[1].endswith("bytes>")
    assert "more than 2 rows" in done.err


def test_sql_refuses_to_write(command: Command, runs: Any) -> None:
    done = command("sql", "DELETE FROM runs")
    assert done.code == 2
    assert "Only one SELECT" in done.err
    assert command("sql", "SELECT 1 FROM nowhere").code == 2
    assert len(command("threads", "--json").rows) == 3


def test_export_writes_json_lines(command: Command, runs: Any, tmp_path: Path) -> None:
    done = command("export", "t1", "--to", "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert done.out == f"{len(rows)} records in out.jsonl.\n"
    assert {row["thread_id"] for row in rows} == {"t1"}
    assert {row["record"] for row in rows} == {"run", "invocation", "call", "node_run", "decision"}
    assert next(row for row in rows if row["record"] == "call")["messages"][0]["role"] == "user"
    assert len(command("export").rows) == 3 * len(rows)
    assert command("export", "--to", str(tmp_path / "none" / "x.jsonl")).code == 2
    assert command("export", "nope").code == 2


def test_spans_are_exported_masked(command: Command, memo: Any, tmp_path: Path) -> None:
    command("run", "memo.py:graph", "-i", "text=mail ada@example.org", "--thread", "one")
    done = command("export", "one", "--spans", "--to", "spans.jsonl")
    lines = (tmp_path / "spans.jsonl").read_text().splitlines()
    assert done.out == f"{len(lines)} spans in spans.jsonl.\n"
    assert {json.loads(line)["kind"] for line in lines} == {"run", "node", "call"}
    assert not [line for line in lines if "ada@example.org" in line]
    assert [line for line in lines if "[email]" in line]
    assert command("export", "one", "--spans", "--html").code == 2


@pytest.mark.sqlite_file("its size")
def test_prune_does_nothing_until_told(command: Command, runs: Any) -> None:
    done = command("prune", "--keep", "1")
    assert "t0  done" in done.out
    assert "2 threads would be deleted. Nothing was done; --yes does it." in done.out
    assert len(command("threads", "--json").rows) == 3

    done = command("prune", "--keep", "1", "--yes")
    assert "2 threads deleted." in done.out
    sizes = done.out.split("stepgraph.sqlite: ")[1].split()
    before, after = (int(word.replace(",", "")) for word in sizes if word[0].isdigit())
    assert after < before
    assert [row["thread_id"] for row in command("threads", "--json").rows] == ["t2"]


@pytest.mark.sqlite_file("its size")
def test_prune_tells_programs_what_it_would_do_and_did(command: Command, runs: Any) -> None:
    (would,) = command("prune", "--keep", "1", "--json").rows
    (did,) = command("prune", "--keep", "1", "--yes", "--json").rows
    assert (would["done"], did["done"]) == (False, True)
    assert would["threads"] == did["threads"] != []
    assert did["bytes"]["after"] <= did["bytes"]["before"]


def test_prune_can_keep_the_record_and_drop_old_checkpoints(command: Command, runs: Any) -> None:
    done = command("prune", "--checkpoints-only", "--yes")
    assert "checkpoints of 3 threads deleted" in done.out
    assert command("show", "t0").code == 0
    assert len(command("history", "t0", "--json").rows) == 1
    assert command("resume", "t0", "--json").rows[0]["output"]["short"] == "ok"


def test_prune_wants_to_know_which(command: Command, runs: Any) -> None:
    done = command("prune", "--yes")
    assert done.code == 2
    assert "--older-than" in done.err
    assert command("prune", "--older-than", "soon").code == 2
    assert command("prune", "--older-than", "30d").out.startswith("0 threads")
