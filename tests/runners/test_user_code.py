from __future__ import annotations

import json.decoder
import sys
from pathlib import Path

import pytest

from stepgraph.errors import InputError
from stepgraph.runners.user_code import find_object, import_file, other_checkout


def test_an_installed_module_is_not_hidden_by_a_file_beside_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # the processes of other tests import from it, too
    for name in ("json.py", "json.decoder.py"):
        (tmp_path / name).write_text("JSONDecoder = 'of the folder'\n")
    assert find_object("json:JSONDecoder", tmp_path) is json.JSONDecoder
    assert find_object("json.decoder:JSONDecoder", tmp_path) is json.decoder.JSONDecoder


def test_a_file_beside_the_suite_serves_by_its_name_and_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "marks_of_mine.py").write_text("class Marks:\n    best = 5\n")
    assert find_object("marks_of_mine:Marks.best", tmp_path) == 5
    assert find_object("marks_of_mine.py:Marks.best", tmp_path) == 5


@pytest.mark.parametrize("reference", ["", "name", ":name", "place:", "json:"])
def test_a_reference_names_a_place_and_a_thing(reference: str) -> None:
    with pytest.raises(InputError, match="names no code"):
        find_object(reference)


def test_a_misspelled_name_is_told_with_its_neighbour() -> None:
    with pytest.raises(InputError, match=r"has no 'JSONDecodr'. Did you mean 'JSONDecode"):
        find_object("json:JSONDecodr")


def test_another_checkout_brings_modules_of_the_same_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    for folder in (new, old):
        folder.mkdir()
        (folder / "words_of_mine.py").write_text(f"WORD = {folder.name!r}\n")
        (folder / "flow_of_mine.py").write_text("from words_of_mine import WORD\n")
    monkeypatch.chdir(new)
    monkeypatch.syspath_prepend(str(new))
    ours = import_file(new / "flow_of_mine.py", again=True)
    try:
        with other_checkout(old):
            assert import_file(old / "flow_of_mine.py", again=True).WORD == "old"
        assert (ours.WORD, sys.modules["flow_of_mine"]) == ("new", ours)
        assert sys.modules["words_of_mine"].WORD == "new"
    finally:
        for name in ("flow_of_mine", "words_of_mine"):
            sys.modules.pop(name, None)


def test_another_checkout_that_would_import_from_this_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if this folder's package were installed as one that can be edited."""
    source, old = tmp_path / "new" / "src", tmp_path / "old"
    for folder in (source, old):
        folder.mkdir(parents=True)
    (source / "installed_of_mine.py").write_text("WORD = 'new'\n")
    (old / "flow_of_mine.py").write_text("from installed_of_mine import WORD\n")
    monkeypatch.chdir(tmp_path / "new")
    monkeypatch.syspath_prepend(str(source))
    with pytest.raises(InputError, match="imports installed_of_mine from this folder"), other_checkout(old):
        import_file(old / "flow_of_mine.py", again=True)
    assert "flow_of_mine" not in sys.modules
    assert "installed_of_mine" not in sys.modules
