"""`code apply` on what is no file, or is another one by the time it is written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stepgraph.cli.app import main
from stepgraph.coding.applying import file_bytes
from stepgraph.coding.applying.file_bytes import read_bytes, write_bytes
from stepgraph.errors import ApplyRefused


def applied(file: Path, snippet: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return why an edit is refused; it is what the command says."""
    with pytest.raises(SystemExit) as ended:
        main(["code", "apply", str(file), "--snippet", str(snippet), "--write", "--json"])
    assert ended.value.code == 1
    refused: str = json.loads(capsys.readouterr().out)["refused"]
    return refused


@pytest.fixture
def snippet(tmp_path: Path) -> Path:
    place = tmp_path / "snippet.txt"
    place.write_text("x = 2\n")
    return place


def test_a_pipe_is_not_waited_for(tmp_path: Path, snippet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "link.py").symlink_to("pipe.py")
    for name in ("pipe.py", "link.py"):
        assert "no file" in applied(tmp_path / name, snippet, capsys)


def test_a_device_is_neither_read_nor_replaced(
    tmp_path: Path, snippet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    assert "no file" in applied(tmp_path / "zero.py", snippet, capsys)
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(ApplyRefused, match="no file"):
        write_bytes(tmp_path / "pipe.py", "x = 2\n", "utf-8", "")
    assert (tmp_path / "pipe.py").is_fifo()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pipe.py", "snippet.txt", "zero.py"]


@pytest.mark.parametrize("content", [b"\xff\xfea", b"\xfe\xff\xd8\x00"])
def test_half_of_utf_16_is_no_text(
    content: bytes, tmp_path: Path, snippet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "half.py").write_bytes(content)
    assert "UTF-16" in applied(tmp_path / "half.py", snippet, capsys)


def test_what_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, snippet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "large.py").open("wb") as file:
        file.truncate(file_bytes.MOST_BYTES + 1)
    assert "more than" in applied(tmp_path / "large.py", snippet, capsys)


def test_an_edit_without_an_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(SystemExit) as ended:
        main(["code", "apply", str(tmp_path / "a.py"), "--snippet", "/dev/zero"])
    assert ended.value.code == 2
    assert "more than" in capsys.readouterr().err


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    text, encoding = read_bytes(file)
    file.write_text("x = 3\n")
    with pytest.raises(ApplyRefused, match="meanwhile"):
        write_bytes(file, "x = 2\n", encoding, text)
    assert file.read_text() == "x = 3\n"
    assert [each.name for each in tmp_path.iterdir()] == ["a.py"]


def test_a_name_as_long_as_a_name_can_be_is_written(tmp_path: Path) -> None:
    file = tmp_path / f"{'a' * 252}.py"
    file.write_text("x = 1\n")
    write_bytes(file, "x = 2\n", "utf-8", "x = 1\n")
    assert file.read_text() == "x = 2\n"
