"""`stepgraph run`, against a real server on the wire."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from stepgraph.cli.support import outcomes
from stepgraph.cli.support.outcomes import read_calls

from .conftest import Command


def test_a_run_prints_steps_tokens_cost_and_where_to_look_next(command: Command, memo: Any) -> None:
    memo.will("Short.")
    done = command("run", "memo.py:graph", "-i", "text=A long text")
    assert done.code == 0
    assert "shorten" in done.out
    assert "100+20 tokens, $0.000140" in done.out
    assert "short: Short." in done.out
    assert "1 done; 1 model calls, 100+20 tokens, $0.000140" in done.out
    assert "stepgraph show memo-" in done.out


def test_json_is_one_object_a_run_and_nothing_else(command: Command, memo: Any) -> None:
    memo.will("Short.")
    (row,) = command("run", "memo.py:graph", "-i", '{"text": "x"}', "--thread", "m1", "--json").rows
    assert row.pop("seconds") > 0
    assert row == {
        "thread": "m1",
        "status": "done",
        "output": {"text": "x", "count": 0, "short": "Short.", "approved": False},
        "error": None,
        "calls": 1,
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_usd": pytest.approx(0.00014),
    }


def test_field_values_are_text_where_the_field_is_text_and_json_elsewhere(
    command: Command, memo: Any
) -> None:
    memo.will("s")
    (row,) = command("run", "memo.py:graph", "-i", "text=12", "-i", "count=12", "--json").rows
    assert (row["output"]["text"], row["output"]["count"]) == ("12", 12)


def test_a_jsonl_file_is_one_thread_a_line_and_a_bad_line_stops_no_other(
    command: Command, memo: Any, tmp_path: Path
) -> None:
    memo.will("a", "b")
    (tmp_path / "in.jsonl").write_text('{"text": "1"}\n{"txt": "2"}\n\nnot json\n{"text": "3"}\n')
    done = command("run", "memo.py:graph", "-i", "in.jsonl", "--json")
    assert [row["status"] for row in done.rows] == ["done", "refused", "refused", "done"]
    assert "line 2" in done.rows[1]["error"]
    assert "Did you mean 'text'?" in done.rows[1]["error"]
    assert "line 4" in done.rows[2]["error"]
    assert done.code == 2
    assert memo.calls == 2


def test_jobs_run_at_a_time_and_each_is_printed_whole(command: Command, memo: Any, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": str(n)}) + "\n" for n in range(6)))
    done = command("run", "memo.py:graph", "-i", "in.jsonl", "--jobs", "3")
    assert done.code == 0
    assert "6 done; 6 model calls" in done.out
    assert memo.most_in_flight <= 3


def test_a_database_that_reads_slowly_makes_no_call_an_earlier_one(
    command: Command, memo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*args: Any) -> Any:
        time.sleep(1)
        return read_calls(*args)

    monkeypatch.setattr(outcomes, "read_calls", slowly)
    done = command("run", "memo.py:graph", "-i", "text=x")
    assert "1 done; 1 model calls" in done.out
    assert "before" not in done.out


def test_limit_takes_the_first_inputs(command: Command, memo: Any, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "1"}\n{"text": "2"}\n')
    assert len(command("run", "memo.py:graph", "-i", "in.jsonl", "--limit", "1", "--json").rows) == 1


def test_a_gate_that_stops_is_exit_code_1(command: Command, memo: Any) -> None:
    memo.will("so rude")
    done = command("run", "memo.py:graph", "-i", "text=x")
    assert done.code == 1
    assert "Gate 'not_rude' stopped the chain after 'shorten': it is rude." in done.out


def test_an_error_in_a_node_names_file_and_line(command: Command, memo: Any) -> None:
    done = command("run", "memo.py:broken", "-i", "text=x", "--json")
    assert done.code == 1
    assert done.rows[0]["error"].startswith("ZeroDivisionError (memo.py, line ")


def test_control_characters_from_a_model_do_not_reach_the_terminal(command: Command, memo: Any) -> None:
    memo.will("red \x1b[31malert\x1b]0;title\x07")
    assert "\x1b" not in command("run", "memo.py:graph", "-i", "text=x").out


def test_a_thread_name_is_taken_once(command: Command, memo: Any) -> None:
    assert command("run", "memo.py:graph", "-i", "text=x", "--thread", "one").code == 0
    again = command("run", "memo.py:graph", "-i", "text=x", "--thread", "one")
    assert again.code == 2
    assert "stepgraph resume one" in again.err
    assert memo.calls == 1


def test_standard_input(command: Command, memo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO('{"text": "1"}\n{"text": "2"}\n'))
    assert len(command("run", "memo.py:graph", "-i", "-", "--json").rows) == 2


def test_a_model_on_the_command_line_wins_over_the_settings(command: Command, memo: Any) -> None:
    done = command("run", "memo.py:graph", "-i", "text=x", "--model", "writer=vllm:nothing-there", "--json")
    assert done.code == 3
    assert "nothing-there" in done.rows[0]["error"]
    assert memo.calls == 0


def test_models_that_a_graph_was_compiled_with_answer(command: Command, tmp_path: Path) -> None:
    (tmp_path / "bound.py").write_text(
        "from dataclasses import dataclass\n"
        "from stepgraph import Ask, ScriptedModel, chain, step\n"
        "@dataclass\n"
        "class Post:\n    text: str = ''\n"
        "@step('text')\n"
        "def write(post: Post) -> Ask[str]:\n    return Ask('Write.')\n"
        "graph = chain(write).compile(models=ScriptedModel(['Written.', 'Written.']))\n"
    )
    done = command("run", "bound.py:graph", "-i", "text=", "--thread", "t", "--json")
    assert [row["status"] for row in done.rows] == ["done"], done
    assert "Written." in done.out
    assert command("run", "bound.py:graph", "-i", "text=", "--model", "openai:none").code != 0
