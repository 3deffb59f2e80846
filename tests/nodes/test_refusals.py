"""What nodes refuse, by errors that name the node and say what it should give instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session, chain, effect
from stepgraph.nodes import sandboxes
from stepgraph.state.errors import DefinitionError, InputError

from .shop import Order


def receipt(order: Order) -> Any:
    return ["receipt"]


def text_for(order: Order) -> Any:
    return "receipt"


def misspelled(order: Order) -> Any:
    return {"reciept": "r1"}


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (receipt, r"Effect 'receipt' returned list; expected a state update \(a dict\) or None"),
        (text_for, "Effect 'text_for' returned str; expected a state update"),
        (misspelled, "Effect 'misspelled'.*'reciept'.*Did you mean 'receipt'"),
    ],
)
def test_an_effect_returns_an_update(session: Session, function: Callable[[Order], Any], told: str) -> None:
    app = chain(effect(function)).compile()
    with pytest.raises(DefinitionError, match=told):
        app.invoke(Order(), session.config("t"))


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/outside.txt", "a/../../outside.txt"])
def test_files_stay_in_the_sandbox(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    with pytest.raises(InputError, match="lies outside the sandbox's folder"):
        sandboxes._write(folder, {"fine.txt": "1", name: "2"})
    sandboxes._write(folder, {"deep/er/fine.txt": "é"})
    assert (folder / "deep/er/fine.txt").read_text("utf-8") == "é"
    assert not (tmp_path / "outside.txt").exists()
