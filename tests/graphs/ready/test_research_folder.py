"""The folder of sources: what is read, what is refused, what is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepgraph.graphs.ready.research import folder
from stepgraph.graphs.ready.research.folder import read_sources, search
from stepgraph.state.errors import InputError


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "tea.md").write_text("# Tea\n\nTea grows in Assam.\n\n# Price\n\nTea costs four dollars.")
    (tmp_path / "deep" / "coffee.txt").write_text("Coffee grows in Kenya.")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_passages_have_labels_titles_and_places(texts: Path) -> None:
    found = read_sources(str(texts))
    assert [(source.label, source.title) for source in found] == [
        ("deep/coffee.txt:1", "coffee"),
        ("tea.md:1", "Tea"),
        ("tea.md:2", "Price"),
    ]
    assert found[1].place == "tea.md, Tea, characters 0-26"


def test_a_single_file(texts: Path) -> None:
    assert [source.label for source in read_sources(str(texts / "tea.md"))] == ["tea.md:1", "tea.md:2"]


def test_a_link_that_leads_out_of_the_folder_is_passed_over(
    texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("other") / "secret.txt"
    secret.write_text("The password.")
    (texts / "link.txt").symlink_to(secret)
    assert all("password" not in source.text for source in read_sources(str(texts)))


def test_rare_words_count_most_and_what_shares_none_is_not_found(texts: Path) -> None:
    sources = read_sources(str(texts))
    assert [source.label for source in search("What does tea cost, in dollars?", sources, 5)] == [
        "tea.md:2",
        "tea.md:1",
    ]
    assert search("Who won the match?", sources, 5) == []


def test_what_cannot_be_read(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for where in ("", "nowhere"):
        with pytest.raises(InputError, match="There is no file or folder"):
            read_sources(where)
    (texts / "empty").mkdir()
    with pytest.raises(InputError, match="holds no texts"):
        read_sources(str(texts / "empty"))
    (texts / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bad\.txt cannot be read as UTF-8"):
        read_sources(str(texts))
    monkeypatch.setattr(folder, "MAX_FILES", 1)
    with pytest.raises(InputError, match="more than 1"):
        read_sources(str(texts))
    monkeypatch.setattr(folder, "MAX_BYTES", 10)
    with pytest.raises(InputError, match=r"tea\.md has more than"):
        read_sources(str(texts / "tea.md"))
