from __future__ import annotations

import json.decoder
from pathlib import Path

import pytest

from stepgraph.errors import InputError
from stepgraph.runners.user_code import find_object


def test_an_installed_module_is_not_hidden_by_a_file_beside_the_suite(tmp_path: Path) -> None:
    for name in ("json.py", "json.decoder.py"):
        (tmp_path / name).write_text("JSONDecoder = 'of the folder'\n")
    assert find_object("json:JSONDecoder", tmp_path) is json.JSONDecoder
    assert find_object("json.decoder:JSONDecoder", tmp_path) is json.decoder.JSONDecoder


def test_a_file_beside_the_suite_serves_by_its_name_and_by_its_path(tmp_path: Path) -> None:
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
