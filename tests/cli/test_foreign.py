"""A file or an input from elsewhere: it may not run code, send keys, or split where JSON does not."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from .conftest import Command


@pytest.fixture
def planted(command: Command, memo: Any, tmp_path: Path) -> Any:
    """Change the record of a failed thread as somebody could who hands the file on."""
    (tmp_path / "stepgraph.toml").rename(tmp_path / "off.toml")
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "t")

    def plant(**columns: str) -> None:
        file = sqlite3.connect(tmp_path / "stepgraph.sqlite")
        for name, value in columns.items():
            file.execute(f"UPDATE runs SET {name} = ?", (value,))
        file.commit()
        file.close()

    return plant


@pytest.mark.sqlite_file("a file from elsewhere")
def test_a_recorded_endpoint_gets_no_key(
    command: Command, memo: Any, planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-users-own-key")
    planted(models=json.dumps({"*": {"base_url": memo.url, "model": "m", "api_key_env": "OPENAI_API_KEY"}}))
    assert command("resume", "t").code == 2
    assert memo.calls == 0


@pytest.mark.sqlite_file("a file from elsewhere")
@pytest.mark.parametrize("graph", ["os:abort", "builtins:exit", "json:dumps"])
def test_a_recorded_graph_cannot_be_any_callable(command: Command, planted: Any, graph: str) -> None:
    planted(graph=graph)
    done = command("resume", "t")
    assert done.code == 2
    assert "--graph" in done.err


@pytest.mark.sqlite_file("a file from elsewhere")
def test_a_recorded_graph_file_lies_in_this_folder_or_is_named(
    command: Command, memo: Any, planted: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "memo.py"
    elsewhere.write_text((tmp_path / "memo.py").read_text())
    planted(graph=f"{elsewhere}:graph")
    assert "lies outside this folder" in command("resume", "t").err
    (tmp_path / "off.toml").rename(tmp_path / "stepgraph.toml")
    from stepgraph.providers.settings import file_bindings
    from stepgraph.state.settings_file import working_folders_file

    file_bindings.cache_clear()
    working_folders_file.cache_clear()
    assert command("resume", "t", "--graph", f"{elsewhere}:graph").code == 0


def test_two_graph_files_of_one_name_are_not_mixed_up(command: Command, memo: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flow.py").write_text((tmp_path / "memo.py").read_text())
        command("run", f"{name}/flow.py:broken", "-i", "text=x", "--thread", name)
    done = command("resume", "--all")
    assert "1 failed, 1 refused" in done.out
    assert "has the name of another module, 'flow'" in done.out


def test_a_json_line_ends_at_a_newline_only(command: Command, memo: Any, tmp_path: Path) -> None:
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in ("a\u2028b", "c\u0085d")]
    (tmp_path / "in.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    done = command("run", "memo.py:graph", "-i", "in.jsonl", "--json")
    assert [row["output"]["text"] for row in done.rows] == ["a\u2028b", "c\u0085d"]


@pytest.mark.parametrize("text", ['{"count": ' + "9" * 6000 + "}", "[" * 100_000])
def test_json_that_python_cannot_read_is_refused_and_stops_no_other_line(
    command: Command, memo: Any, tmp_path: Path, text: str
) -> None:
    (tmp_path / "in.jsonl").write_text(text + '\n{"text": "fine"}\n')
    done = command("run", "memo.py:graph", "-i", "in.jsonl", "--json")
    assert [row["status"] for row in done.rows] == ["refused", "done"]


def test_json_output_is_json_whatever_a_model_writes(command: Command, memo: Any) -> None:
    memo.will('cut \\ud83d "quoted" \x07')
    (row,) = command("run", "memo.py:graph", "-i", "text=x", "--json").rows
    assert row["status"] == "done"


def test_a_thread_name_with_control_characters_stays_text(command: Command, memo: Any) -> None:
    out = command("run", "memo.py:graph", "-i", "text=x", "--thread", "x\x1b]0;pwned\x07; rm -rf").out
    assert "\x1b" not in out
    assert "stepgraph show 'x" in out
