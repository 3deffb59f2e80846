"""`stepgraph code compress`: files, standard input, and JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepgraph.cli.app import cli

LINES = [f"row {number}: nothing to see" for number in range(200)]
LINES[120] = "row 120: the invoice was refused"


def test_files_are_compressed_to_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("\n".join(LINES))
    done = CliRunner().invoke(cli, ["code", "compress", "refused invoice", str(file), "--keep", "0.1"])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"## {file}\n@")
    assert "row 120: the invoice was refused" in done.stdout
    assert len(done.stdout.split("\n")) < 40


def test_standard_input_is_compressed_too() -> None:
    arguments = ["code", "compress", "refused invoice", "--tokens", "60", "--json"]
    done = CliRunner().invoke(cli, arguments, input="\n".join(LINES))
    found = json.loads(done.stdout)
    assert any(range_["start"] <= 121 <= range_["end"] for range_ in found["ranges"])
    assert found["removed"] > 0.9


def test_programs_give_and_get_json() -> None:
    asked = {"query": "invoice", "reads": [{"file": "a.txt", "start": 11, "text": "\n".join(LINES)}]}
    done = CliRunner().invoke(cli, ["code", "compress", "--keep", "0.1"], input=json.dumps(asked))
    found = json.loads(done.stdout)
    assert {range_["file"] for range_ in found["ranges"]} == {"a.txt"}
    assert any(range_["start"] <= 131 <= range_["end"] for range_ in found["ranges"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"query": "x"}',
        '{"query": "x", "reads": [1]}',
        '{"query": "x", "reads": [{"file": 1}]}',
    ],
)
def test_what_is_no_request_is_told(text: str) -> None:
    done = CliRunner().invoke(cli, ["code", "compress"], input=text)
    assert "Expected a JSON object" in str(done.exception or done.output)
    assert done.exit_code != 0
