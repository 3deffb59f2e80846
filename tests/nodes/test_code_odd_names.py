"""Names and folders that a file system does not take: told in words, and never another file's text."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from langchain_core.tools import BaseTool, ToolException

from stepgraph.nodes import code_writes
from stepgraph.nodes.code_folders import NotAllowed, checked
from stepgraph.nodes.code_tools import code_tools
from stepgraph.nodes.code_writes import write_files


def tool_of(folder: Path, name: str) -> BaseTool:
    return next(tool for tool in code_tools(folder, write=True) if tool.name == name)


@pytest.mark.parametrize("name", ["x" * 256 + ".py", "\u754c" * 90 + ".py"])
def test_a_name_that_is_too_long_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotAllowed, match="too long"):
        checked(tmp_path, name, frozenset())
    with pytest.raises(ToolException, match="too long"):
        asyncio.run(tool_of(tmp_path, "apply_edit").ainvoke({"file": name, "snippet": "x = 1\n"}))


def test_a_folder_that_this_user_may_not_look_into_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_symlink", refuse)
    with pytest.raises(NotAllowed, match="Permission denied"):
        checked(tmp_path, "closed/a.py", frozenset())


def test_what_cannot_be_written_is_told_to_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(code_writes, "_stage", refuse)
    with pytest.raises(ToolException, match=r"No space left on device\. Nothing was written"):
        asyncio.run(tool_of(tmp_path, "apply_edit").ainvoke({"file": "a.py", "snippet": "x = 1\n"}))
    assert not list(tmp_path.iterdir())


def test_names_that_begin_alike_keep_their_own_texts(tmp_path: Path) -> None:
    names = [f"{'a' * 240}{end}.py" for end in ("1", "2")] + ["\u754c" * 84 + ".p"]
    write_files(tmp_path, dict.fromkeys(names), {name: f"x = {name[-4:]!r}\n" for name in names}, "key")
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        name: f"x = {name[-4:]!r}\n" for name in names
    }
