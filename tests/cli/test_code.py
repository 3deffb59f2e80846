"""`stepgraph code search`, as people and programs call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Command


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "cart.py").write_text(
        "class Cart:\n    def total_price(self):\n        return sum(self.prices)\n"
    )
    (root / "cart.md").write_text("# Cart\nThe total price.\n")
    return root


def test_it_prints_the_lines_and_why(command: Command, shop: Path) -> None:
    done = command("code", "search", "total price of the cart", str(shop))
    assert done.code == 0
    assert "cart.py:" in done.out
    assert "     2     def total_price(self):" in done.out
    assert "cart.md" not in done.out


def test_for_programs_it_prints_ranges_and_files(command: Command, shop: Path) -> None:
    done = command("code", "search", "total price", str(shop), "--json", "--kind", "doc", "--tokens", "500")
    found = json.loads(done.out)
    assert found["files"] == ["cart.md"]
    assert found["ranges"][0].keys() == {"file", "start", "end", "reason", "score"}
    assert 0 < found["tokens"] <= 500


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("total", "gone"), "'gone' cannot be read"),
        ((" ", "."), "question of a search is empty"),
        (("total", ".", "--tokens", "0"), "--tokens"),
        (("total", ".", "--kind", "docs"), "--kind"),
        (("total", ".", "--index", "./here"), "outside of"),
    ],
)
def test_what_cannot_be_searched_is_told(
    command: Command, shop: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(shop)
    done = command("code", "search", *words)
    assert done.code == 2
    assert told in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("where", ["record", "cache", "elsewhere", "nowhere", "small"])
def test_the_index_of_a_large_folder_is_kept_beside_the_record(
    command: Command, shop: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    record = (shop if where == "cache" else shop.parent) / "runs.sqlite"
    record.write_bytes(b"")
    places = {
        "record": shop.parent / "runs.sqlite.code-index",
        "cache": shop.parent / "cache/stepgraph/code-index",
        "elsewhere": shop.parent / "mine",
    }
    monkeypatch.setenv("STEPGRAPH_DB", str(record))
    monkeypatch.setenv("XDG_CACHE_HOME", str(shop.parent / "cache"))
    monkeypatch.setattr("stepgraph.coding.searching.code_index.SMALL", 450 if where == "small" else 0)
    more = {"elsewhere": ["--index", str(places["elsewhere"])], "nowhere": ["--no-index"]}.get(where, [])
    for _ in range(2):
        assert "cart.py:" in command("code", "search", "total price", str(shop), *more).out
    kept = {path.parent for path in shop.parent.rglob("*.code-index") if path.is_file()}
    assert kept == ({places[where]} if where in places else set())


def test_where_nothing_fits_it_says_so(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = command("code", "search", "anything", str(tmp_path / "empty"))
    assert done.code == 0
    assert "Nothing in this folder" in done.out
