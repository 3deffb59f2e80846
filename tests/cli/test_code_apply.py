"""`stepgraph code apply`: shown, and written only if asked, at once and with nothing else changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepgraph.cli.app import cli
from stepgraph.coding.applying import file_bytes
from stepgraph.errors import ApplyRefused

EDIT = "# ...\nb = 2\nadded = 0\nc = 3\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.py"
    path.write_bytes(b"a = 1\r\nb = 2\r\nc = 3")
    return path


def test_nothing_is_written_without_write(file: Path) -> None:
    done = CliRunner().invoke(cli, ["code", "apply", str(file)], input=EDIT)
    assert done.exit_code == 0
    assert "+added = 0" in done.stdout
    assert "--write" in done.stderr
    assert file.read_bytes() == b"a = 1\r\nb = 2\r\nc = 3"


def test_a_file_is_written_with_its_mode_and_line_ends_and_a_link_stays(file: Path, tmp_path: Path) -> None:
    file.chmod(0o751)
    link = tmp_path / "link.py"
    link.symlink_to(file)
    edit = tmp_path / "edit.txt"
    edit.write_text(EDIT)
    done = CliRunner().invoke(cli, ["code", "apply", str(link), "--snippet", str(edit), "--write", "--json"])
    assert json.loads(done.stdout)["written"] is True
    assert file.read_bytes() == b"a = 1\r\nb = 2\r\nadded = 0\r\nc = 3"
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o751
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.py", "edit.txt", "link.py"]


def test_a_refusal_ends_with_code_1_and_says_what_to_do(file: Path) -> None:
    before = file.read_bytes()
    edit = "nothing like it\nat = all\nin_the = file\n"
    done = CliRunner().invoke(cli, ["code", "apply", str(file), "--write", "--json"], input=edit)
    assert done.exit_code == 1
    assert {"file", "refused", "hint"} == set(json.loads(done.stdout))
    assert CliRunner().invoke(cli, ["code", "apply", str(file)], input=edit).exit_code == 1
    assert CliRunner().invoke(cli, ["code", "apply", str(file.parent / "none.py")]).exit_code == 2
    assert file.read_bytes() == before


def test_a_crash_while_writing_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    before = file.read_bytes()
    with pytest.raises(ApplyRefused, match="no space"):
        file_bytes.write_bytes(file, "new", "utf-8", "old")
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["a.py"]


def test_bytes_that_are_no_utf8_stay(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("one\nzwölf\ntwo = 2\nthree = 3\n".encode("latin-1"))
    edit = "two = 2\nadded = 0\nthree = 3\n"
    assert CliRunner().invoke(cli, ["code", "apply", str(file), "--write"], input=edit).exit_code == 0
    assert file.read_bytes() == "one\nzwölf\ntwo = 2\nadded = 0\nthree = 3\n".encode("latin-1")
    mixed = CliRunner().invoke(
        cli, ["code", "apply", str(file), "--write"], input=edit.replace("added", "größe")
    )
    assert mixed.exit_code == 1
    wide = tmp_path / "b.txt"
    wide.write_bytes("\ufeffone = 1\r\ntwo = 2\r\nthree = 3\r\n".encode("utf-16-le"))
    assert CliRunner().invoke(cli, ["code", "apply", str(wide), "--write"], input=edit).exit_code == 0
    assert wide.read_bytes().decode("utf-16-le") == "\ufeffone = 1\r\ntwo = 2\r\nadded = 0\r\nthree = 3\r\n"
    binary = tmp_path / "c.bin"
    binary.write_bytes(b"a\0b")
    assert CliRunner().invoke(cli, ["code", "apply", str(binary)], input=edit).exit_code == 1
