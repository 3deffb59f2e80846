"""The workers on code as tools: what they answer and refuse, and that nothing leads out of the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import ToolException

from stepgraph.nodes.code_tools import code_tools
from stepgraph.state.errors import InputError

CODE = "def total(items):\n    return sum(items)\n\n\ndef greet(name):\n    return name\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "totals.py").write_text(CODE)
    (folder / "secret.env").write_text("KEY=1\n")
    (folder / ".gitignore").write_text("*.env\n")
    (tmp_path / "outside.py").write_text(CODE)
    (folder / "link.py").symlink_to(tmp_path / "outside.py")
    (folder / "up").symlink_to(tmp_path)
    return folder


async def call(folder: Path, name: str, *, write: bool = False, **arguments: Any) -> str:
    tools = {tool.name: tool for tool in code_tools(folder, write=write)}
    return str(await tools[name].ainvoke(arguments))


async def test_an_agent_finds_reads_and_changes_code(shop: Path) -> None:
    found = await call(shop, "search_code", query="where is the total of the items?")
    assert "totals.py:" in found
    read = await call(shop, "compress_code", query="total", places=["totals.py:1-2"])
    assert "    return sum(items)" in read
    assert "greet" not in read
    snippet = "def total(items):\n    return 2 * sum(items)\n\n# ... existing code ...\n"
    shown = await call(shop, "apply_edit", file="totals.py", snippet=snippet)
    assert shown.startswith("Not written")
    assert (shop / "totals.py").read_text() == CODE
    written = await call(shop, "apply_edit", write=True, file="totals.py", snippet=snippet)
    assert "+    return 2 * sum(items)" in written
    assert (shop / "totals.py").read_text() == CODE.replace("sum(", "2 * sum(")


OUTSIDE = ["../outside.py", "link.py", "up/outside.py", "/etc/passwd", "a/../../outside.py", ".git/config"]


@pytest.mark.parametrize("file", [*OUTSIDE, "secret.env", "a\0b", "up"])
async def test_nothing_leads_out_of_the_folder_or_to_what_is_ignored(shop: Path, file: str) -> None:
    before = {path: path.read_bytes() for path in shop.parent.rglob("*") if path.is_file()}
    with pytest.raises(ToolException):
        await call(shop, "compress_code", query="x", places=[file])
    with pytest.raises(ToolException):
        await call(shop, "apply_edit", write=True, file=file, snippet="x = 1\n")
    assert {path: path.read_bytes() for path in shop.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("places", "told"),
    [
        (["totals.py:90-99"], "has 6 lines"),
        (["totals.py:5-2"], "names none of them"),
        (["total.py"], "Find its name with search_code"),
    ],
)
async def test_a_wrong_place_is_told_so_that_a_model_can_act(
    shop: Path, places: list[str], told: str
) -> None:
    with pytest.raises(ToolException, match=told):
        await call(shop, "compress_code", query="x", places=places)


async def test_a_refused_edit_says_what_would_fit(shop: Path) -> None:
    block = "<<<<<<< SEARCH\nnothing of it\n=======\nx\n>>>>>>> REPLACE\n"
    with pytest.raises(ToolException, match="does not stand in the file"):
        await call(shop, "apply_edit", write=True, file="totals.py", snippet=block)


def test_a_folder_that_is_none_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        code_tools(tmp_path / "none")


async def test_lines_have_the_numbers_that_search_gives_them_whatever_signs_stand_in_them(shop: Path) -> None:
    (shop / "totals.py").write_text("A = 1\x0c\u2028\nB = 2\r\n" + CODE, newline="")
    read = await call(shop, "compress_code", query="total", places=["totals.py:3-4"])
    assert read == "## totals.py\n@3\ndef total(items):\n    return sum(items)"
